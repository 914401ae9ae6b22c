#include "server/telemetry/http_endpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <memory>
#include <string>

namespace alaya {
namespace {

using testing::HasSubstr;

class HttpEndpointTest : public testing::Test {
 protected:
  void SetUp() override {
    auto endpoint = HttpEndpoint::Start("127.0.0.1", 0, &metrics_, &readiness_);
    ASSERT_TRUE(endpoint.ok()) << endpoint.status();
    endpoint_ = *std::move(endpoint);
  }
  httplib::Result Get(const char* path) {
    httplib::Client client("127.0.0.1", endpoint_->port());
    return client.Get(path);
  }

  Metrics metrics_{"1.0", "test"};
  Readiness readiness_;
  std::unique_ptr<HttpEndpoint> endpoint_;
};

TEST_F(HttpEndpointTest, ReadinessFollowsTheServersState) {
  struct Case {
    Readiness::State state;
    int status;
    const char* body;
  };
  for (const Case& c : {Case{Readiness::State::kStarting, 503, "starting\n"},
                        Case{Readiness::State::kReady, 200, "ready\n"},
                        Case{Readiness::State::kDraining, 503, "draining\n"}}) {
    readiness_.Set(c.state);
    const auto reply = Get("/readyz");
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, c.status);
    EXPECT_EQ(reply->body, c.body);
    EXPECT_EQ(Get("/livez")->status, 200);
  }
}

TEST_F(HttpEndpointTest, MetricsAreServedInPrometheusFormat) {
  const auto reply = Get("/metrics");

  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 200);
  EXPECT_THAT(reply->get_header_value("Content-Type"), HasSubstr("version=0.0.4"));
  EXPECT_THAT(reply->body, HasSubstr("# TYPE alaya_build_info gauge"));
}

TEST_F(HttpEndpointTest, OtherPathsAreNotFound) { EXPECT_EQ(Get("/")->status, 404); }

TEST_F(HttpEndpointTest, APortInUseIsRefused) {
  const auto second = HttpEndpoint::Start("127.0.0.1", endpoint_->port(), &metrics_, &readiness_);

  EXPECT_EQ(second.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(std::string(Message(second.status())),
              HasSubstr("127.0.0.1:" + std::to_string(endpoint_->port())));
}

}  // namespace
}  // namespace alaya
