// One ReadContext call: streams stored keys and values to the client.
//
// Pool tasks produce chunks, gRPC writes them. A task stops when kChunksAheadMax wait
// to be written, or one does that was beyond a limit on bytes, and the next one continues
// where it stopped: a slow client holds a few chunks of memory and no thread.

#ifndef ALAYA_SERVER_RPC_READ_STREAM_H_
#define ALAYA_SERVER_RPC_READ_STREAM_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "alaya/v1/context_service.pb.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/convert_context_service.h"
#include "server/rpc/service_context.h"

namespace alaya {

class ReadStream final : public grpc::ServerWriteReactor<v1::ReadContextResponse>,
                         public std::enable_shared_from_this<ReadStream> {
 public:
  using Reactor = grpc::ServerWriteReactor<v1::ReadContextResponse>;
  static constexpr size_t kChunksAheadMax = 8;

  // The reactor for a new call; it owns itself. All pointers outlive it.
  static Reactor* Start(const ServiceContext& service, grpc::CallbackServerContext* call,
                        const v1::ReadContextRequest* request);

  void OnWriteDone(bool ok) override;
  void OnCancel() override { cancelled_ = true; }
  void OnDone() override { self_.reset(); }

 private:
  ReadStream(const ServiceContext& service, grpc::CallbackServerContext* call,
             const v1::ReadContextRequest* request);

  // On the pool: queues chunks until enough wait, all are read or an error occurs.
  void Produce();
  // True if everything is read, false if it stopped because enough chunks wait.
  StatusOr<bool> ProduceChunks();
  // Resolves the request against the context; sets params_, context_ and next_token_.
  Status Resolve();
  // Queues a chunk; false if the producer should stop.
  bool Push(ReadChunk chunk);

  // With mutex_ held:
  bool WantsChunks() const;
  void StartNextWrite();
  void StartProducer();
  void FinishIfDone();

  const ServiceContext& service_;
  const Deadline deadline_;
  const v1::ReadContextRequest* const request_;
  CallRecord record_;
  std::shared_ptr<ReadStream> self_;  // from Start to OnDone
  std::atomic<bool> cancelled_{false};

  // Of the producer, of which there is one at a time:
  ReadParams params_;
  std::shared_ptr<const StoredContext> context_;
  TokenRange range_;
  size_t layer_position_ = 0;  // in params_.layers
  uint64_t next_token_ = 0;

  std::mutex mutex_;
  struct Chunk {
    v1::ReadContextResponse response;
    TenantAccount::Share bytes;
  };
  std::deque<Chunk> chunks_;  // the first one is being written
  bool writing_ = false;
  bool producing_ = false;
  bool over_limits_ = false;  // the last chunk was one too many: they go one at a time
  bool finished_ = false;
  std::optional<Status> result_;  // set when nothing more will be produced
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_READ_STREAM_H_
