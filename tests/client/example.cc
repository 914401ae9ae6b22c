// Stores a small context, attends over it, prints the norm of the output.
// Usage: example [host:port | unix:path]

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "client/client.h"
#include "client/tensor.h"

namespace alaya::client {
namespace {

constexpr uint32_t kTokens = 1000;
constexpr uint32_t kQueryHeads = 8;
constexpr uint32_t kKvHeads = 2;
constexpr uint32_t kHeadDim = 64;

// What an engine would have computed.
std::vector<float> Waves(size_t count, float step) {
  std::vector<float> elements(count);
  for (size_t i = 0; i < count; ++i) elements[i] = std::sin(step * static_cast<float>(i));
  return elements;
}

StatusOr<std::string> StoreContext(const Client& client) {
  pb::RegisterModelRequest registration;
  pb::Model& model = *registration.mutable_model();
  model.set_name("example");
  model.set_num_layers(1);
  model.set_num_query_heads(kQueryHeads);
  model.set_num_kv_heads(kKvHeads);
  model.set_head_dim(kHeadDim);
  model.set_dtype(pb::DTYPE_F32);
  ALAYA_RETURN_IF_ERROR(client.RegisterModel(registration).status());

  pb::ImportContextRequest::Header header;
  header.set_model("example");
  for (uint32_t token = 0; token < kTokens; ++token) header.add_tokens(token);
  const std::vector<float> keys = Waves(size_t{kTokens} * kKvHeads * kHeadDim, 0.37F);
  const std::vector<float> values = Waves(size_t{kTokens} * kKvHeads * kHeadDim, 0.11F);
  ALAYA_ASSIGN_OR_RETURN(ContextImporter importer, client.ImportContext(header));
  ContextChunk chunk;
  chunk.key = {DType::kF32, kTokens, kKvHeads, kHeadDim, AsBytes(keys)};
  chunk.value = {DType::kF32, kTokens, kKvHeads, kHeadDim, AsBytes(values)};
  ALAYA_RETURN_IF_ERROR(importer.AppendChunk(chunk));
  ALAYA_ASSIGN_OR_RETURN(const pb::ImportContextResponse stored, importer.Commit());
  return stored.context_id();
}

Status Run(const std::string& target) {
  ALAYA_ASSIGN_OR_RETURN(const Client client, Client::Connect(target));
  ALAYA_ASSIGN_OR_RETURN(const std::string context_id, StoreContext(client));
  pb::CreateSessionRequest opening;
  opening.set_model("example");
  opening.set_context_id(context_id);
  ALAYA_ASSIGN_OR_RETURN(const pb::CreateSessionResponse session, client.CreateSession(opening));

  BlockingAttendStream stream = client.AttendBlocking();
  pb::AttendItem item;
  item.set_session_id(session.session_id());
  ALAYA_ASSIGN_OR_RETURN(
      *item.mutable_query(),
      MakeTensor(Waves(size_t{kQueryHeads} * kHeadDim, 0.5F), 1, kQueryHeads, kHeadDim));
  ALAYA_ASSIGN_OR_RETURN(const pb::AttendResult result, stream.AttendOne(item));
  ALAYA_ASSIGN_OR_RETURN(const std::vector<float> output, ToFloats(result.output()));
  double square_sum = 0;
  for (const float element : output) square_sum += double{element} * double{element};
  std::printf("attended %llu tokens, output norm %.4f\n",
              static_cast<unsigned long long>(result.stats().tokens_attended()),
              std::sqrt(square_sum));
  return stream.Close();
}

}  // namespace
}  // namespace alaya::client

int main(int argc, char** argv) {
  const alaya::Status status = alaya::client::Run(argc > 1 ? argv[1] : "127.0.0.1:50600");
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
