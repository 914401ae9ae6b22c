// Stores a context from keys and values that arrive piece by piece, in bounded memory.
//
// Life: Client::ImportContext -> AppendChunk, any number of times -> Commit. Nothing
// of the context is visible before Commit is answered; destruction without it makes
// the server forget what was sent.

#ifndef ALAYA_CLIENT_CONTEXT_IMPORTER_H_
#define ALAYA_CLIENT_CONTEXT_IMPORTER_H_

#include <grpcpp/channel.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "alaya/v1/context_service.pb.h"
#include "client/credentials.h"
#include "client/tensor.h"
#include "storage/types/status.h"

namespace alaya::client {

struct ContextImporterOptions {
  // Target size of one message. A single token's data is never split.
  size_t message_bytes = size_t{1} << 20;
  // Called after each message with the bytes of keys, values and queries sent so far.
  std::function<void(uint64_t sent_bytes)> progress;
};

// Keys and values of one layer for a run of tokens; all belong to the caller.
struct ContextChunk {
  uint32_t layer = 0;
  uint64_t token_begin = 0;  // position of the first token of key and value
  TensorView key;            // [T, Hkv, D], T >= 1
  TensorView value;          // of key's shape
  // [T', Hq, D]: sampled queries, for query-aware indexes.
  std::optional<TensorView> query;
};

// Not thread-safe.
class ContextImporter {
 public:
  // Opens the call and sends `header`. Client::ImportContext calls it.
  static StatusOr<ContextImporter> Begin(const std::shared_ptr<grpc::Channel>& channel,
                                         const Authorization& authorization,
                                         const pb::ImportContextRequest::Header& header,
                                         ContextImporterOptions options);
  ~ContextImporter();
  ContextImporter(ContextImporter&&) noexcept;
  ContextImporter& operator=(ContextImporter&&) noexcept;

  // Sends a run of any length, split into messages. The views may go when it returns.
  // Blocks while the server is slower than the caller.
  //
  // Errors: InvalidArgument for shapes that disagree, before anything is sent;
  //   otherwise the server's error, which every later call repeats.
  Status AppendChunk(const ContextChunk& chunk);

  // Makes the context visible and durable. Once.
  StatusOr<pb::ImportContextResponse> Commit();

  uint64_t sent_bytes() const;

 private:
  struct State;
  explicit ContextImporter(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CONTEXT_IMPORTER_H_
