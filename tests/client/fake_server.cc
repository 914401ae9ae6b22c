#include "tests/client/fake_server.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <thread>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace alaya::client {
namespace {

constexpr int kMessageBytesMax = 64 << 20;

pb::Context ContextOf(const std::string& context_id, const ImportedContext& imported) {
  pb::Context context;
  context.set_context_id(context_id);
  context.set_model(imported.header.model());
  context.set_token_count(static_cast<uint64_t>(imported.header.tokens_size()));
  context.set_segment_count(1);
  *context.mutable_labels() = imported.header.labels();
  context.set_pinned(imported.pinned);
  return context;
}

}  // namespace

grpc::Status NotFoundWithInfo(const std::string& message, const std::string& reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain("alayadb");
  google::rpc::Status status;
  status.set_code(grpc::NOT_FOUND);
  status.set_message(message);
  status.add_details()->PackFrom(info);
  return {grpc::NOT_FOUND, message, status.SerializeAsString()};
}

grpc::Status FakeContextService::ImportContext(grpc::ServerContext* context,
                                               grpc::ServerReader<pb::ImportContextRequest>* reader,
                                               pb::ImportContextResponse* response) {
  ImportedContext imported;
  pb::ImportContextRequest request;
  int chunk_count = 0;
  while (reader->Read(&request)) {
    if (request.has_header()) {
      imported.header = request.header();
      continue;
    }
    if (chunk_count++ == refuse_import_after_chunks) {
      return {grpc::RESOURCE_EXHAUSTED, "the disk is full"};
    }
    const auto& chunk = request.chunk();
    imported.message_bytes.push_back(request.ByteSizeLong());
    imported.keys[chunk.layer()] += chunk.key().data();
    imported.values[chunk.layer()] += chunk.value().data();
    imported.queries[chunk.layer()] += chunk.query().data();
    imported.token_counts[chunk.layer()] += static_cast<uint64_t>(chunk.key().shape(0));
  }
  if (context->IsCancelled()) return grpc::Status::CANCELLED;
  const std::lock_guard lock(mutex_);
  const std::string id = imported.header.has_context_id()
                             ? imported.header.context_id()
                             : "context-" + std::to_string(contexts_.size());
  response->set_context_id(id);
  response->set_reused_tokens(matched_tokens);
  contexts_[id] = std::move(imported);
  return grpc::Status::OK;
}

grpc::Status FakeContextService::MatchContext(grpc::ServerContext*, const pb::MatchContextRequest*,
                                              pb::MatchContextResponse* response) {
  response->set_matched_tokens(matched_tokens);
  return grpc::Status::OK;
}

grpc::Status FakeContextService::ReadContext(grpc::ServerContext*, const pb::ReadContextRequest*,
                                             grpc::ServerWriter<pb::ReadContextResponse>* writer) {
  for (const pb::ReadContextResponse& chunk : read_answer) {
    if (!writer->Write(chunk)) return grpc::Status::CANCELLED;
  }
  return read_status;
}

grpc::Status FakeContextService::GetContext(grpc::ServerContext*,
                                            const pb::GetContextRequest* request,
                                            pb::GetContextResponse* response) {
  std::this_thread::sleep_for(get_context_delay);
  if (get_context_refusals-- > 0) return {grpc::StatusCode::UNAVAILABLE, "restarting"};
  const std::lock_guard lock(mutex_);
  const auto found = contexts_.find(request->context_id());
  if (found == contexts_.end()) {
    return NotFoundWithInfo("context '" + request->context_id() + "' does not exist",
                            "CONTEXT_NOT_FOUND");
  }
  *response->mutable_context() = ContextOf(found->first, found->second);
  if (request->include_tokens()) *response->mutable_tokens() = found->second.header.tokens();
  return grpc::Status::OK;
}

grpc::Status FakeContextService::ListContexts(grpc::ServerContext*,
                                              const pb::ListContextsRequest* request,
                                              pb::ListContextsResponse* response) {
  // Pages of one, so that a client that stops after the first is found out.
  const std::lock_guard lock(mutex_);
  auto next = contexts_.upper_bound(request->page_token());
  if (next == contexts_.end()) return grpc::Status::OK;
  *response->add_contexts() = ContextOf(next->first, next->second);
  if (std::next(next) != contexts_.end()) response->set_next_page_token(next->first);
  return grpc::Status::OK;
}

grpc::Status FakeContextService::UpdateContext(grpc::ServerContext*,
                                               const pb::UpdateContextRequest* request,
                                               pb::UpdateContextResponse* response) {
  const std::lock_guard lock(mutex_);
  ImportedContext& imported = contexts_[request->context_id()];
  if (request->has_pinned()) imported.pinned = request->pinned();
  if (request->has_labels()) *imported.header.mutable_labels() = request->labels().labels();
  *response->mutable_context() = ContextOf(request->context_id(), imported);
  return grpc::Status::OK;
}

grpc::Status FakeContextService::DeleteContext(grpc::ServerContext*,
                                               const pb::DeleteContextRequest* request,
                                               pb::DeleteContextResponse* response) {
  const std::lock_guard lock(mutex_);
  if (contexts_.erase(request->context_id()) == 0) {
    return NotFoundWithInfo("context '" + request->context_id() + "' does not exist",
                            "CONTEXT_NOT_FOUND");
  }
  response->set_freed_bytes(2048);
  return grpc::Status::OK;
}

grpc::Status FakeContextService::SearchContext(grpc::ServerContext*,
                                               const pb::SearchContextRequest* request,
                                               pb::SearchContextResponse* response) {
  for (int64_t i = 0; i < request->query().shape(0) * request->query().shape(1); ++i) {
    auto& head = *response->add_heads();
    head.add_tokens(static_cast<uint64_t>(7 + i));
    head.add_scores(2.5F);
  }
  return grpc::Status::OK;
}

std::map<std::string, ImportedContext> FakeContextService::contexts() const {
  const std::lock_guard lock(mutex_);
  return contexts_;
}

grpc::Status FakeSessionService::CreateSession(grpc::ServerContext*,
                                               const pb::CreateSessionRequest* request,
                                               pb::CreateSessionResponse* response) {
  if (create_session_refusals-- > 0) return {grpc::StatusCode::UNAVAILABLE, "restarting"};
  const std::lock_guard lock(mutex_);
  pb::Session session;
  session.set_session_id("session-" + std::to_string(sessions_.size()));
  session.set_model(request->model());
  session.set_context_id(request->context_id());
  response->set_session_id(session.session_id());
  response->set_context_id(session.context_id());
  sessions_[session.session_id()] = session;
  return grpc::Status::OK;
}

grpc::Status FakeSessionService::Attend(grpc::ServerContext* context, AttendCall* call) {
  if (attend_script) return attend_script(context, call);
  pb::AttendRequest request;
  while (call->Read(&request)) call->Write(EchoAnswer(request));
  return grpc::Status::OK;
}

pb::AttendResponse FakeSessionService::EchoAnswer(const pb::AttendRequest& request) {
  pb::AttendResponse response;
  response.set_request_id(request.request_id());
  for (const pb::AttendItem& item : request.items()) {
    pb::AttendResult& result = *response.add_results();
    if (item.session_id() == "unknown") {
      const grpc::Status status =
          NotFoundWithInfo("session 'unknown' is not open", "SESSION_NOT_FOUND");
      result.mutable_status()->ParseFromString(status.error_details());
      continue;
    }
    *result.mutable_output() = item.query();
    pb::Tensor& sums = *result.mutable_log_sum_exp();
    sums.set_dtype(pb::DTYPE_F32);
    int64_t count = 1;
    for (int i = 0; i < 2 && i < item.query().shape_size(); ++i) {
      sums.add_shape(item.query().shape(i));
      count *= item.query().shape(i);
    }
    sums.set_data(std::string(static_cast<size_t>(count) * sizeof(float), '\0'));
    result.mutable_stats()->set_tokens_attended(640);
    result.mutable_stats()->set_engine_microseconds(1);
  }
  return response;
}

grpc::Status FakeSessionService::CloseSession(grpc::ServerContext*,
                                              const pb::CloseSessionRequest* request,
                                              pb::CloseSessionResponse*) {
  const std::lock_guard lock(mutex_);
  return sessions_.erase(request->session_id()) == 1
             ? grpc::Status::OK
             : NotFoundWithInfo("session is not open", "SESSION_NOT_FOUND");
}

grpc::Status FakeSessionService::GetSession(grpc::ServerContext*,
                                            const pb::GetSessionRequest* request,
                                            pb::GetSessionResponse* response) {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(request->session_id());
  if (found == sessions_.end()) {
    return NotFoundWithInfo("session is not open", "SESSION_NOT_FOUND");
  }
  *response->mutable_session() = found->second;
  return grpc::Status::OK;
}

grpc::Status FakeSessionService::ListSessions(grpc::ServerContext*, const pb::ListSessionsRequest*,
                                              pb::ListSessionsResponse* response) {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, session] : sessions_) *response->add_sessions() = session;
  return grpc::Status::OK;
}

std::map<std::string, pb::Session> FakeSessionService::sessions() const {
  const std::lock_guard lock(mutex_);
  return sessions_;
}

grpc::Status FakeAdminService::RegisterModel(grpc::ServerContext*,
                                             const pb::RegisterModelRequest* request,
                                             pb::RegisterModelResponse* response) {
  const std::lock_guard lock(mutex_);
  response->set_created(models_.emplace(request->model().name(), request->model()).second);
  return grpc::Status::OK;
}

grpc::Status FakeAdminService::ListModels(grpc::ServerContext*, const pb::ListModelsRequest*,
                                          pb::ListModelsResponse* response) {
  const std::lock_guard lock(mutex_);
  for (const auto& [name, model] : models_) *response->add_models() = model;
  return grpc::Status::OK;
}

grpc::Status FakeAdminService::GetServerInfo(grpc::ServerContext*, const pb::GetServerInfoRequest*,
                                             pb::GetServerInfoResponse* response) {
  response->set_version("1.2.3");
  response->add_devices()->set_name("cpu");
  return grpc::Status::OK;
}

grpc::Status FakeAdminService::GetStats(grpc::ServerContext*, const pb::GetStatsRequest*,
                                        pb::GetStatsResponse* response) {
  pb::TierStats& tier = *response->add_tiers();
  tier.set_tier(pb::TIER_MEMORY);
  tier.set_used_bytes(uint64_t{3} << 30);
  tier.set_hits(3);
  tier.set_misses(1);
  pb::ModelUsage& model = *response->add_model_usage();
  model.set_model("m");
  model.set_contexts(2);
  model.set_stored_bytes(uint64_t{5} << 20);
  pb::LabelUsage& label = *response->add_label_usage();
  label.set_key("team");
  label.set_value("x");
  response->set_label_usage_left_out(7);
  return grpc::Status::OK;
}

grpc::Status FakeAdminService::SetLogLevel(grpc::ServerContext*, const pb::SetLogLevelRequest*,
                                           pb::SetLogLevelResponse* response) {
  response->set_previous_level(pb::LOG_LEVEL_INFO);
  return grpc::Status::OK;
}

FakeServer::FakeServer() {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(kMessageBytesMax);
  builder.RegisterService(&contexts);
  builder.RegisterService(&sessions);
  builder.RegisterService(&admin);
  server_ = builder.BuildAndStart();
  target_ = "127.0.0.1:" + std::to_string(port);
}

FakeServer::~FakeServer() { Kill(); }

void FakeServer::SetServing(bool serving) {
  server_->GetHealthCheckService()->SetServingStatus(serving);
}

void FakeServer::Kill() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

}  // namespace alaya::client
