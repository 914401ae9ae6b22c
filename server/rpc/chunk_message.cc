#include "server/rpc/chunk_message.h"

#include <google/protobuf/io/coded_stream.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "alaya/v1/context_service.pb.h"
#include "alaya/v1/tensor.pb.h"
#include "grpcpp/support/slice.h"
#include "server/rpc/convert_tensor.h"

namespace alaya {
namespace {

using google::protobuf::io::CodedOutputStream;

// The beginning of a field of `bytes` bytes: strings, bytes and messages.
void AppendFieldBegin(int number, size_t bytes, std::string* message) {
  constexpr uint32_t kLengthDelimited = 2;
  constexpr size_t kVarintBytesMax = 5;
  std::array<uint8_t, 2 * kVarintBytesMax> begin;
  uint8_t* end = CodedOutputStream::WriteVarint32ToArray(
      (static_cast<uint32_t>(number) << 3) | kLengthDelimited, begin.data());
  end = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(bytes), end);
  message->append(reinterpret_cast<const char*>(begin.data()),
                  static_cast<size_t>(end - begin.data()));
}

// All of a tensor's field but the data, which is its last part.
void AppendTensorBegin(int number, const ReadChunk& chunk, const Model& model, size_t data_bytes,
                       std::string* message) {
  v1::Tensor tensor;
  ToProto(model.dtype, {chunk.tokens, model.num_kv_heads, model.head_dim}, {}, &tensor);
  std::string begin = tensor.SerializeAsString();
  AppendFieldBegin(v1::Tensor::kDataFieldNumber, data_bytes, &begin);
  AppendFieldBegin(number, begin.size() + data_bytes, message);
  message->append(begin);
}

grpc::Slice SliceOf(std::span<const std::byte> bytes, const std::shared_ptr<const void>& memory) {
  using Owner = std::shared_ptr<const void>;
  // gRPC does not write to what it sends.
  return {const_cast<std::byte*>(bytes.data()), bytes.size(),
          [](void* owner) { delete static_cast<Owner*>(owner); }, new Owner(memory)};
}

}  // namespace

grpc::ByteBuffer ToMessage(const ReadChunk& chunk, const Model& model) {
  v1::ReadContextResponse place;
  place.set_layer(ToInt(chunk.layer));
  place.set_token_begin(chunk.token_begin);
  std::string before_keys = place.SerializeAsString();
  AppendTensorBegin(v1::ReadContextResponse::kKeyFieldNumber, chunk, model, chunk.keys.size(),
                    &before_keys);
  std::string before_values;
  AppendTensorBegin(v1::ReadContextResponse::kValueFieldNumber, chunk, model, chunk.values.size(),
                    &before_values);
  const std::array<grpc::Slice, 4> parts = {
      grpc::Slice(before_keys), SliceOf(chunk.keys, chunk.memory), grpc::Slice(before_values),
      SliceOf(chunk.values, chunk.memory)};
  return {parts.data(), parts.size()};
}

}  // namespace alaya
