#include "server/rpc/chunk_message.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "alaya/v1/context_service.pb.h"
#include "grpcpp/impl/codegen/proto_utils.h"

namespace alaya {
namespace {

const Model kModel{.name = "m",
                   .num_layers = 80,
                   .num_query_heads = 8,
                   .num_kv_heads = 2,
                   .head_dim = 64,
                   .dtype = DType::kBF16};

// Of so many tokens; every byte follows from its place.
ReadChunk MakeChunk(uint32_t layer, uint64_t token_begin, uint64_t tokens) {
  const size_t bytes = tokens * kModel.token_bytes() / kModel.num_layers / 2;
  const auto memory = std::make_shared<std::vector<std::byte>>(2 * bytes);
  for (size_t i = 0; i < memory->size(); ++i) (*memory)[i] = static_cast<std::byte>(i * 7 / 3);
  return {.layer = LayerIndex{layer},
          .token_begin = token_begin,
          .tokens = tokens,
          .keys = std::span(*memory).first(bytes),
          .values = std::span(*memory).last(bytes),
          .memory = memory};
}

void ExpectTensor(const v1::Tensor& tensor, std::span<const std::byte> data, uint64_t tokens) {
  EXPECT_EQ(tensor.dtype(), v1::DTYPE_BF16);
  EXPECT_EQ(std::vector<int64_t>(tensor.shape().begin(), tensor.shape().end()),
            (std::vector<int64_t>{static_cast<int64_t>(tokens), 2, 64}));
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(tensor.data())), data));
}

TEST(ChunkMessageTest, ParsesAsTheMessageOfTheContract) {
  // Fields of the value 0, which are left out, and lengths of one to three bytes.
  for (const auto& [layer, token_begin, tokens] :
       {std::tuple{0U, 0UL, 1UL}, std::tuple{0U, 1UL, 2UL}, std::tuple{79U, 1UL << 40, 300UL}}) {
    const ReadChunk chunk = MakeChunk(layer, token_begin, tokens);

    grpc::ByteBuffer message = ToMessage(chunk, kModel);

    v1::ReadContextResponse parsed;
    ASSERT_TRUE(
        grpc::SerializationTraits<v1::ReadContextResponse>::Deserialize(&message, &parsed).ok());
    EXPECT_EQ(parsed.layer(), layer);
    EXPECT_EQ(parsed.token_begin(), token_begin);
    ExpectTensor(parsed.key(), chunk.keys, tokens);
    ExpectTensor(parsed.value(), chunk.values, tokens);
  }
}

TEST(ChunkMessageTest, HasTheBytesThatProtobufWouldWrite) {
  grpc::ByteBuffer message = ToMessage(MakeChunk(3, 70, 5), kModel);
  std::string bytes;
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(message.Dump(&slices).ok());
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }

  v1::ReadContextResponse parsed;
  ASSERT_TRUE(parsed.ParseFromString(bytes));
  EXPECT_EQ(parsed.SerializeAsString(), bytes);
}

TEST(ChunkMessageTest, KeepsTheMemoryAsLongAsItLives) {
  ReadChunk chunk = MakeChunk(0, 0, 100);
  const std::weak_ptr<const void> memory = chunk.memory;

  grpc::ByteBuffer message = ToMessage(chunk, kModel);
  chunk = {};

  EXPECT_FALSE(memory.expired());
  message.Clear();
  EXPECT_TRUE(memory.expired());
}

}  // namespace
}  // namespace alaya
