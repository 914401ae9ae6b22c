// Serialized requests of every method against their converters: whatever the bytes,
// a converter returns a value or an error, and a value keeps its promises.
//
// The first byte chooses the message, the rest is the message.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "google/protobuf/stubs/logging.h"
#include "server/rpc/convert_admin_service.h"
#include "server/rpc/convert_context_service.h"
#include "server/rpc/convert_session_service.h"
#include "server/rpc/status_details.h"
#include "storage/types/check.h"

namespace alaya {
namespace {

constexpr RequestLimits kLimits{.engine = {.max_context_tokens = 1000, .max_queries_per_item = 64},
                                .max_items_per_request = 16};

void CheckTensor(const TensorView& tensor) {
  ALAYA_CHECK(tensor.tokens > 0 && tensor.heads > 0 && tensor.dim > 0);
  ALAYA_CHECK(tensor.data.size() ==
              tensor.tokens * tensor.heads * tensor.dim * ElementBytes(tensor.dtype));
  // Touches both ends: the view must lie inside the request.
  ALAYA_CHECK(tensor.data.front() == tensor.data.front() &&
              tensor.data.back() == tensor.data.back());
}

// An error must be a clean one: a message, and details that can be sent.
void CheckError(const Status& status) {
  if (status.ok()) return;
  ALAYA_CHECK(!Message(status).empty() && Message(status).size() < 1000);
  ALAYA_CHECK(!ToGrpcStatus(status).error_details().empty());
}

template <typename Message, typename Convert>
void Try(const std::string& bytes, const Convert& convert) {
  Message message;
  if (!message.ParseFromString(bytes)) return;
  CheckError(convert(message));
}

Status ConvertAttend(const v1::AttendRequest& request) {
  ALAYA_RETURN_IF_ERROR(CheckItemCount(request, kLimits));
  for (int i = 0; i < request.items_size(); ++i) {
    const auto item = FromProto(request.items(i), i, "default", kLimits);
    CheckError(item.status());
    if (!item.ok()) continue;
    ALAYA_CHECK(item->query || item->key);
    ALAYA_CHECK(item->key.has_value() == item->value.has_value());
    if (item->query) CheckTensor(*item->query);
    if (item->key) CheckTensor(*item->key);
    if (item->value) CheckTensor(*item->value);
  }
  return OkStatus();
}

Status ConvertImport(const v1::ImportContextRequest& request) {
  if (request.has_header()) return FromProto(request.header(), "default", kLimits).status();
  const auto chunk = FromProto(request.chunk(), kLimits);
  if (!chunk.ok()) return chunk.status();
  CheckTensor(chunk->key);
  CheckTensor(chunk->value);
  if (chunk->query) CheckTensor(*chunk->query);
  return OkStatus();
}

Status ConvertSearch(const v1::SearchContextRequest& request) {
  const auto params = FromProto(request, "default", kLimits);
  if (params.ok()) CheckTensor(params->query);
  return params.status();
}

// `choice` is the kind of message.
void TryOne(uint8_t choice, const std::string& bytes) {
  constexpr uint8_t kMessageCount = 12;
  switch (choice % kMessageCount) {
    case 0:
      Try<v1::AttendRequest>(bytes, ConvertAttend);
      break;
    case 1:
      Try<v1::ImportContextRequest>(bytes, ConvertImport);
      break;
    case 2:
      Try<v1::SearchContextRequest>(bytes, ConvertSearch);
      break;
    case 3:
      Try<v1::MatchContextRequest>(bytes,
                                   [](const auto& m) { return FromProto(m, kLimits).status(); });
      break;
    case 4:
      Try<v1::ReadContextRequest>(bytes, [](const auto& m) { return FromProto(m).status(); });
      break;
    case 5:
      Try<v1::ListContextsRequest>(bytes,
                                   [](const auto& m) { return FromProto(m, "default").status(); });
      break;
    case 6:
      Try<v1::UpdateContextRequest>(bytes,
                                    [](const auto& m) { return FromProto(m, "default").status(); });
      break;
    case 7:
      Try<v1::CreateSessionRequest>(
          bytes, [](const auto& m) { return FromProto(m, "default", kLimits).status(); });
      break;
    case 8:
      Try<v1::StoreSessionRequest>(
          bytes, [](const auto& m) { return FromProto(m, "default", kLimits).status(); });
      break;
    case 9:
      Try<v1::ListSessionsRequest>(bytes, [](const auto& m) { return FromProto(m).status(); });
      break;
    case 10:
      Try<v1::RegisterModelRequest>(bytes, [](const auto& m) { return FromProto(m).status(); });
      break;
    default:
      Try<v1::CreateBackupRequest>(bytes, [](const auto& m) { return FromProto(m).status(); });
      break;
  }
}

}  // namespace
}  // namespace alaya

// The names are libFuzzer's.
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  google::protobuf::SetLogHandler(nullptr);  // it reports malformed text
  return 0;
}

// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0) alaya::TryOne(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
