// One ReadContext call: streams stored keys and values to the client.
//
// Pool tasks produce chunks, gRPC writes them. A task stops when kChunksAheadMax wait
// to be written, or one does that was beyond a limit on bytes, and the next one continues
// where it stopped: a slow client holds a few chunks of memory and no thread. While one is
// written, the disk brings the next kChunksLoading, or as many as the limits on bytes allow.
//
// Answers are raw bytes, so that what was read is sent from where it lies (chunk_message.h).

#ifndef ALAYA_SERVER_RPC_READ_STREAM_H_
#define ALAYA_SERVER_RPC_READ_STREAM_H_

#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>

#include "alaya/v1/context_service.pb.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/engine/engine.h"
#include "server/rpc/service_context.h"

namespace alaya {

class ReadStream final : public grpc::ServerBidiReactor<v1::ReadContextRequest, grpc::ByteBuffer>,
                         public std::enable_shared_from_this<ReadStream> {
 public:
  using Reactor = grpc::ServerBidiReactor<v1::ReadContextRequest, grpc::ByteBuffer>;
  static constexpr size_t kChunksAheadMax = 4;
  static constexpr size_t kChunksLoading = 8;

  // The reactor for a new call; it owns itself. All pointers outlive it.
  static Reactor* Start(const ServiceContext& service, grpc::CallbackServerContext* call);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override { cancelled_ = true; }
  void OnDone() override { self_.reset(); }

 private:
  ReadStream(const ServiceContext& service, grpc::CallbackServerContext* call);

  // On the pool: queues chunks until enough wait, all are read or an error occurs.
  void Produce();
  // True if everything is read, false if it stopped because enough chunks wait.
  StatusOr<bool> ProduceChunks();
  // Resolves the request against the context; sets model_ and reading_.
  Status Begin();
  // As many chunks at a time as the limits on bytes allow.
  void ReadAhead();
  // Queues a chunk; false if the producer should stop.
  bool Push(const ReadChunk& chunk);

  // With mutex_ held:
  bool WantsChunks() const;
  void StartNextWrite();
  void StartProducer();
  void FinishIfDone();

  const ServiceContext& service_;
  const Deadline deadline_;
  CallRecord record_;
  v1::ReadContextRequest request_;
  std::shared_ptr<ReadStream> self_;  // from Start to OnDone
  std::atomic<bool> cancelled_{false};

  // Of the producer, of which there is one at a time:
  std::shared_ptr<const RegisteredModel> model_;
  std::unique_ptr<ContextReading> reading_;
  TenantAccount::Share loading_bytes_;  // of chunks that the disk brings

  std::mutex mutex_;
  struct Chunk {
    grpc::ByteBuffer message;
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
