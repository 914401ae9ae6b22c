// A real gRPC server over the fake engine, on a free port of the loopback interface.

#ifndef ALAYA_TESTS_SERVER_RPC_RPC_FIXTURE_H_
#define ALAYA_TESTS_SERVER_RPC_RPC_FIXTURE_H_

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "alaya/v1/admin_service.grpc.pb.h"
#include "alaya/v1/context_service.grpc.pb.h"
#include "alaya/v1/session_service.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/impl/client_unary_call.h"
#include "server/rpc/rpc_server.h"
#include "tests/server/rpc/fake_engine.h"

namespace alaya {

class CountingObserver final : public RpcObserver {
 public:
  void CallStarted(const CallInfo& /*call*/) override { ++started; }
  void CallFinished(const CallInfo& call, const Status& /*status*/,
                    std::chrono::nanoseconds /*duration*/) override {
    ++finished;
    KeepTraceparent(call);
  }
  void AttendItemFinished(const CallInfo& item, const AttendResult& /*result*/,
                          std::chrono::nanoseconds /*duration*/) override {
    ++items;
    KeepTraceparent(item);
  }

  // By method, those that were not empty.
  std::map<std::string, std::string> Traceparents() const {
    const std::lock_guard lock(mutex_);
    return traceparents_;
  }

  std::atomic<int> started{0};
  std::atomic<int> finished{0};
  std::atomic<int> items{0};

 private:
  void KeepTraceparent(const CallInfo& call) {
    if (call.traceparent.empty()) return;
    const std::lock_guard lock(mutex_);
    traceparents_[std::string(call.method)] = call.traceparent;
  }

  mutable std::mutex mutex_;
  std::map<std::string, std::string> traceparents_;
};

class RpcFixture : public testing::Test {
 protected:
  using Stream = grpc::ClientReaderWriter<v1::AttendRequest, v1::AttendResponse>;
  static constexpr uint32_t kInFlightMax = 4;
  static constexpr size_t kMessageBytesMax = size_t{4} << 20;

  void SetUp() override {
    RpcOptions options;
    options.listen_addresses = {"127.0.0.1:0"};
    options.max_requests_in_flight_per_stream = kInFlightMax;
    options.max_items_per_request = 8;
    options.max_message_bytes = kMessageBytesMax;
    options.blocking_worker_count = 2;
    ServerSelf self{.version = "1.2.3",
                    .build = "test",
                    .start_time = {},
                    .resident_bytes = [] { return uint64_t{5}; },
                    .exchange_log_level = [this](int level) { return log_level_.exchange(level); }};
    auto server = RpcServer::Start(options, self, &engine_, &observer_, security_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ =
        grpc::CreateChannel(server_->addresses().front(), grpc::InsecureChannelCredentials());
    contexts_ = v1::ContextService::NewStub(channel_);
    sessions_ = v1::SessionService::NewStub(channel_);
    admin_ = v1::AdminService::NewStub(channel_);
  }

  static void FillTensor(int64_t tokens, int64_t heads, int64_t dim, v1::Tensor* tensor) {
    tensor->set_dtype(v1::DTYPE_F32);
    for (const int64_t dimension : {tokens, heads, dim}) tensor->add_shape(dimension);
    tensor->set_data(std::string(static_cast<size_t>(tokens * heads * dim) * sizeof(float), '\2'));
  }

  // One query item for each session.
  static v1::AttendRequest Request(uint64_t id, std::initializer_list<const char*> session_ids) {
    v1::AttendRequest request;
    request.set_request_id(id);
    for (const char* session_id : session_ids) {
      v1::AttendItem* item = request.add_items();
      item->set_session_id(session_id);
      FillTensor(1, 2, 8, item->mutable_query());
    }
    return request;
  }

  // The next answer's request_id; 0 at the stream's end.
  static uint64_t ReadId(Stream* stream) {
    v1::AttendResponse response;
    return stream->Read(&response) ? response.request_id() : 0;
  }

  // What grpc.health.v1.Health/Check says: 1 is SERVING, 2 is NOT_SERVING.
  int Health(const std::string& service) {
    const std::string request =
        service.empty() ? "" : std::string("\x0a") + static_cast<char>(service.size()) + service;
    const grpc::Slice slice(request);
    const grpc::ByteBuffer request_bytes(&slice, 1);
    grpc::ByteBuffer response_bytes;
    grpc::ClientContext context;
    const grpc::internal::RpcMethod method("/grpc.health.v1.Health/Check",
                                           grpc::internal::RpcMethod::NORMAL_RPC);
    const grpc::Status status = grpc::internal::BlockingUnaryCall(channel_.get(), method, &context,
                                                                  request_bytes, &response_bytes);
    EXPECT_TRUE(status.ok()) << status.error_message();
    grpc::Slice bytes;
    EXPECT_TRUE(response_bytes.DumpToSingleSlice(&bytes).ok());
    return bytes.size() == 2 ? *(bytes.begin() + 1) : -1;
  }

  RpcSecurity security_;  // as it is when SetUp runs
  FakeEngine engine_;
  CountingObserver observer_;
  std::atomic<int> log_level_{3};
  std::unique_ptr<RpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::ContextService::Stub> contexts_;
  std::unique_ptr<v1::SessionService::Stub> sessions_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_SERVER_RPC_RPC_FIXTURE_H_
