// An AlayaDB server in this process, without a database: it remembers what it was sent
// and answers by script. For tests of the client alone.

#ifndef ALAYA_TESTS_CLIENT_FAKE_SERVER_H_
#define ALAYA_TESTS_CLIENT_FAKE_SERVER_H_

#include <grpcpp/server.h>
#include <grpcpp/server_context.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "alaya/v1/admin_service.grpc.pb.h"
#include "alaya/v1/context_service.grpc.pb.h"
#include "alaya/v1/session_service.grpc.pb.h"

namespace alaya::client {

namespace pb = ::alaya::v1;

// NOT_FOUND with the ErrorInfo that a server attaches.
grpc::Status NotFoundWithInfo(const std::string& message, const std::string& reason);

// What an import sent, put together again: by layer, in the order of arrival.
struct ImportedContext {
  pb::ImportContextRequest::Header header;
  std::map<uint32_t, std::string> keys;
  std::map<uint32_t, std::string> values;
  std::map<uint32_t, std::string> queries;
  std::map<uint32_t, uint64_t> token_counts;
  std::vector<size_t> message_bytes;
  bool pinned = false;
};

class FakeContextService : public pb::ContextService::Service {
 public:
  grpc::Status ImportContext(grpc::ServerContext* context,
                             grpc::ServerReader<pb::ImportContextRequest>* reader,
                             pb::ImportContextResponse* response) override;
  grpc::Status MatchContext(grpc::ServerContext* context, const pb::MatchContextRequest* request,
                            pb::MatchContextResponse* response) override;
  grpc::Status ReadContext(grpc::ServerContext* context, const pb::ReadContextRequest* request,
                           grpc::ServerWriter<pb::ReadContextResponse>* writer) override;
  grpc::Status GetContext(grpc::ServerContext* context, const pb::GetContextRequest* request,
                          pb::GetContextResponse* response) override;
  grpc::Status ListContexts(grpc::ServerContext* context, const pb::ListContextsRequest* request,
                            pb::ListContextsResponse* response) override;
  grpc::Status UpdateContext(grpc::ServerContext* context, const pb::UpdateContextRequest* request,
                             pb::UpdateContextResponse* response) override;
  grpc::Status DeleteContext(grpc::ServerContext* context, const pb::DeleteContextRequest* request,
                             pb::DeleteContextResponse* response) override;
  grpc::Status SearchContext(grpc::ServerContext* context, const pb::SearchContextRequest* request,
                             pb::SearchContextResponse* response) override;

  std::map<std::string, ImportedContext> contexts() const;

  // Scripts; set them before the calls.
  uint64_t matched_tokens = 0;
  int refuse_import_after_chunks = -1;               // >= 0: then RESOURCE_EXHAUSTED
  std::vector<pb::ReadContextResponse> read_answer;  // what ReadContext streams
  grpc::Status read_status;                          // how it ends
  std::chrono::milliseconds get_context_delay{0};
  std::atomic<int> get_context_refusals = 0;  // so many calls get UNAVAILABLE first

 private:
  mutable std::mutex mutex_;
  std::map<std::string, ImportedContext> contexts_;
};

class FakeSessionService : public pb::SessionService::Service {
 public:
  using AttendCall = grpc::ServerReaderWriter<pb::AttendResponse, pb::AttendRequest>;

  grpc::Status CreateSession(grpc::ServerContext* context, const pb::CreateSessionRequest* request,
                             pb::CreateSessionResponse* response) override;
  grpc::Status Attend(grpc::ServerContext* context, AttendCall* call) override;
  grpc::Status CloseSession(grpc::ServerContext* context, const pb::CloseSessionRequest* request,
                            pb::CloseSessionResponse* response) override;
  grpc::Status GetSession(grpc::ServerContext* context, const pb::GetSessionRequest* request,
                          pb::GetSessionResponse* response) override;
  grpc::Status ListSessions(grpc::ServerContext* context, const pb::ListSessionsRequest* request,
                            pb::ListSessionsResponse* response) override;

  std::map<std::string, pb::Session> sessions() const;

  // The stream's script; default: answers each request at once with EchoAnswer.
  std::function<grpc::Status(grpc::ServerContext*, AttendCall*)> attend_script;

  std::atomic<int> create_session_refusals = 0;  // so many calls get UNAVAILABLE first

  // Every item's query as its output; an item of session "unknown" fails alone.
  static pb::AttendResponse EchoAnswer(const pb::AttendRequest& request);

 private:
  mutable std::mutex mutex_;
  std::map<std::string, pb::Session> sessions_;
};

class FakeAdminService : public pb::AdminService::Service {
 public:
  grpc::Status RegisterModel(grpc::ServerContext* context, const pb::RegisterModelRequest* request,
                             pb::RegisterModelResponse* response) override;
  grpc::Status ListModels(grpc::ServerContext* context, const pb::ListModelsRequest* request,
                          pb::ListModelsResponse* response) override;
  grpc::Status GetServerInfo(grpc::ServerContext* context, const pb::GetServerInfoRequest* request,
                             pb::GetServerInfoResponse* response) override;
  grpc::Status GetStats(grpc::ServerContext* context, const pb::GetStatsRequest* request,
                        pb::GetStatsResponse* response) override;
  grpc::Status SetLogLevel(grpc::ServerContext* context, const pb::SetLogLevelRequest* request,
                           pb::SetLogLevelResponse* response) override;

 private:
  std::mutex mutex_;
  std::map<std::string, pb::Model> models_;
};

class FakeServer {
 public:
  // Listens on a free loopback port.
  FakeServer();
  ~FakeServer();

  const std::string& target() const { return target_; }
  void SetServing(bool serving);
  // Cuts all connections off.
  void Kill();

  FakeContextService contexts;
  FakeSessionService sessions;
  FakeAdminService admin;

 private:
  std::string target_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace alaya::client

#endif  // ALAYA_TESTS_CLIENT_FAKE_SERVER_H_
