// One ImportContext call: a stream of chunks, one in memory at a time.
//
// Each message is checked and stored on the worker pool before the next one is read,
// so that memory is bounded by one message and gRPC's flow control holds a fast client
// back. Exactly one of {read, pool task, metadata, Finish} is under way at any time;
// nothing needs a lock.

#ifndef ALAYA_SERVER_RPC_IMPORT_STREAM_H_
#define ALAYA_SERVER_RPC_IMPORT_STREAM_H_

#include <atomic>
#include <chrono>
#include <memory>
#include <string_view>

#include "alaya/v1/context_service.pb.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/service_context.h"

namespace alaya {

class ImportStream final : public grpc::ServerReadReactor<v1::ImportContextRequest> {
 public:
  using Reactor = grpc::ServerReadReactor<v1::ImportContextRequest>;

  // The reactor for a new call; it owns itself. All pointers outlive it.
  static Reactor* Start(const ServiceContext& service, grpc::CallbackServerContext* call,
                        v1::ImportContextResponse* response);

  void OnReadDone(bool ok) override;
  void OnSendInitialMetadataDone(bool ok) override;
  void OnCancel() override { cancelled_ = true; }
  void OnDone() override { delete this; }

 private:
  ImportStream(const ServiceContext& service, grpc::CallbackServerContext* call,
               v1::ImportContextResponse* response);

  // On the pool.
  Status HandleMessage();
  Status Commit();
  // Drops what was not committed, then answers; the object may be gone afterwards.
  void End(const Status& status);

  const ServiceContext& service_;
  const Deadline deadline_;
  v1::ImportContextResponse* const response_;
  CallRecord record_;
  std::atomic<bool> cancelled_{false};
  v1::ImportContextRequest request_;
  StatusOr<TenantAccount::Share> bytes_ = TenantAccount::Share();  // of request_
  std::unique_ptr<ContextImport> import_;                          // null until the header came
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_IMPORT_STREAM_H_
