// Every limit on what runs, of a tenant and of all together: its refusal says whose limit it
// is and when to come back, and the server serves on.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "alaya/v1/admin_service.grpc.pb.h"
#include "alaya/v1/context_service.grpc.pb.h"
#include "alaya/v1/session_service.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/integration/service_test.h"

namespace alaya {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

class QuotaTest;

struct QuotaCase {
  std::string name;
  std::vector<std::string> arguments;
  std::string subject;
  std::string limit;  // as the error names it
  // Goes beyond the limit and returns the refusal.
  std::function<google::rpc::Status(QuotaTest&)> provoke;
};

void PrintTo(const QuotaCase& quota, std::ostream* out) { *out << quota.name; }

class QuotaTest : public ServiceTest, public testing::WithParamInterface<QuotaCase> {
 public:
  // An Attend stream that is known to run.
  class Stream {
   public:
    explicit Stream(const std::shared_ptr<grpc::Channel>& channel)
        : stub_(pb::SessionService::NewStub(channel)), stream_(stub_->Attend(&context_)) {}
    pb::AttendResponse Ask(const pb::AttendRequest& request) {
      pb::AttendResponse response;
      EXPECT_TRUE(stream_->Write(request) && stream_->Read(&response));
      return response;
    }
    ~Stream() {
      stream_->WritesDone();
      stream_->Finish();
    }

   private:
    grpc::ClientContext context_;
    std::unique_ptr<pb::SessionService::Stub> stub_;
    std::unique_ptr<grpc::ClientReaderWriter<pb::AttendRequest, pb::AttendResponse>> stream_;
  };

  std::shared_ptr<grpc::Channel> Channel() {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    return grpc::CreateCustomChannel(server().grpc_address(), grpc::InsecureChannelCredentials(),
                                     arguments);
  }
  google::rpc::Status ListModels() {
    grpc::ClientContext context;
    pb::ListModelsResponse response;
    return DetailsOf(pb::AdminService::NewStub(Channel())->ListModels(
        &context, pb::ListModelsRequest(), &response));
  }
  // A request of so many tokens, five bytes each.
  google::rpc::Status Match(int token_count) {
    pb::MatchContextRequest request;
    request.set_model("none");
    for (int i = 0; i < token_count; ++i) request.add_tokens(0x7FFFFFFF);
    grpc::ClientContext context;
    pb::MatchContextResponse response;
    return DetailsOf(
        pb::ContextService::NewStub(Channel())->MatchContext(&context, request, &response));
  }
  // The first refusal among many items of one request to a session.
  google::rpc::Status AttendManyItems() {
    const KvSequence known(
        MakeModel("quota", {.layers = 1, .query_heads = 4, .kv_heads = 2, .head_dim = 64}), 256,
        /*seed=*/21);
    EXPECT_OK(RegisterModel(client(), known.model()));
    EXPECT_OK(Import(client(), known, "known"));
    const auto session = OpenSession(client(), "known");
    EXPECT_OK(session);
    pb::AttendRequest request;
    for (int i = 0; i < 200; ++i) *request.add_items() = known.Ask(*session, 0, 0, 64);
    Stream stream(Channel());
    const pb::AttendResponse response = stream.Ask(request);
    for (const pb::AttendResult& result : response.results()) {
      if (result.status().code() != 0) return result.status();
    }
    return {};
  }
  google::rpc::Status OpenTwoSessions() {
    const KvSequence known(MakeModel("quota"), 8, /*seed=*/21);
    EXPECT_OK(RegisterModel(client(), known.model()));
    const auto stub = pb::SessionService::NewStub(Channel());
    pb::CreateSessionRequest request;
    request.set_model(known.model().name());
    request.add_tokens(1);
    grpc::Status status;
    for (int i = 0; i < 2; ++i) {
      grpc::ClientContext context;
      pb::CreateSessionResponse response;
      status = stub->CreateSession(&context, request, &response);
    }
    return DetailsOf(status);
  }
  google::rpc::Status CallBesideTwoStreams() {
    pb::AttendRequest request;
    request.add_items()->set_session_id("none");
    Stream first(Channel());
    Stream second(Channel());
    first.Ask(request);
    second.Ask(request);
    return ListModels();
  }
  google::rpc::Status CallUntilRefused() {
    const auto end = steady_clock::now() + seconds(60);
    google::rpc::Status status;
    while (status.code() == 0 && steady_clock::now() < end) status = ListModels();
    return status;
  }

 private:
  static google::rpc::Status DetailsOf(const grpc::Status& status) {
    google::rpc::Status details;
    EXPECT_TRUE(details.ParseFromString(status.error_details()));
    return details;
  }
};

TEST_P(QuotaTest, ARefusalSaysWhoseLimitItIsAndWhenToComeBack) {
  ASSERT_NO_FATAL_FAILURE(StartServer(GetParam().arguments));

  const google::rpc::Status refused = GetParam().provoke(*this);

  ASSERT_EQ(refused.code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << refused.message();
  ASSERT_EQ(refused.details_size(), 3) << refused.message();
  google::rpc::ErrorInfo info;
  google::rpc::QuotaFailure failure;
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(refused.details(0).UnpackTo(&info) && refused.details(1).UnpackTo(&failure) &&
              refused.details(2).UnpackTo(&retry));
  EXPECT_EQ(info.reason(), "QUOTA_EXCEEDED");
  EXPECT_EQ(failure.violations(0).subject(), GetParam().subject);
  EXPECT_THAT(failure.violations(0).description(), HasSubstr(GetParam().limit));
  EXPECT_GT(retry.retry_delay().seconds() + retry.retry_delay().nanos(), 0);
  // Streams end a moment after their clients; a rate allows the next call after a second.
  const auto end = steady_clock::now() + seconds(60);
  while (ListModels().code() != 0 && steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_LT(steady_clock::now(), end) << "nothing may stay counted";
}

std::vector<QuotaCase> QuotaCases() {
  constexpr char kTenant[] = "tenant:default";
  const auto streams = [](QuotaTest& test) { return test.CallBesideTwoStreams(); };
  const auto rate = [](QuotaTest& test) { return test.CallUntilRefused(); };
  const auto items = [](QuotaTest& test) { return test.AttendManyItems(); };
  const auto bytes = [](QuotaTest& test) { return test.Match(300'000); };
  return {
      {"Streams", {"--max-streams=2"}, "server", "max_streams is 2", streams},
      {"TenantStreams", {"--tenant-max-streams=2"}, kTenant, "max_streams is 2", streams},
      {"Rate", {"--max-requests-per-second=1"}, "server", "max_requests_per_second is 1", rate},
      {"TenantRate",
       {"--tenant-max-requests-per-second=1"},
       kTenant,
       "max_requests_per_second is 1",
       rate},
      {"Items",
       {"--max-attend-items-in-flight=1", "--worker-threads=1"},
       "server",
       "max_attend_items_in_flight is 1",
       items},
      {"TenantItems",
       {"--tenant-max-attend-items-in-flight=1", "--worker-threads=1"},
       kTenant,
       "max_attend_items_in_flight is 1",
       items},
      {"Bytes", {"--max-bytes-in-flight=1MiB"}, "server", "max_bytes_in_flight is 1048576", bytes},
      {"TenantBytes",
       {"--tenant-max-bytes-in-flight=64KiB"},
       kTenant,
       "max_bytes_in_flight is 65536",
       bytes},
      {"Sessions",
       {"--max-sessions=1"},
       "server",
       "max_sessions is 1",
       [](QuotaTest& test) { return test.OpenTwoSessions(); }},
  };
}

INSTANTIATE_TEST_SUITE_P(Limits, QuotaTest, testing::ValuesIn(QuotaCases()),
                         [](const auto& quota) { return quota.param.name; });

}  // namespace
}  // namespace alaya
