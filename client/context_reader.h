// Reads the keys and values of a stored context back, chunk by chunk.

#ifndef ALAYA_CLIENT_CONTEXT_READER_H_
#define ALAYA_CLIENT_CONTEXT_READER_H_

#include <grpcpp/channel.h>

#include <memory>
#include <optional>

#include "alaya/v1/context_service.pb.h"
#include "client/credentials.h"
#include "storage/types/status.h"

namespace alaya::client {

namespace pb = ::alaya::v1;

// Not thread-safe. Destruction before the end cancels the call.
class ContextReader {
 public:
  // Client::ReadContext calls it.
  ContextReader(const std::shared_ptr<grpc::Channel>& channel, const Authorization& authorization,
                const pb::ReadContextRequest& request);
  ~ContextReader();
  ContextReader(ContextReader&&) noexcept;
  ContextReader& operator=(ContextReader&&) noexcept;

  // The next chunk, layer by layer in token order; none at the end.
  //
  // Errors: the server's; then what was read before is not the whole answer.
  StatusOr<std::optional<pb::ReadContextResponse>> Next();
  // The same into *chunk; false at the end. Faster for whoever passes the same message each
  // time, as its memory is used again.
  StatusOr<bool> Next(pb::ReadContextResponse* chunk);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CONTEXT_READER_H_
