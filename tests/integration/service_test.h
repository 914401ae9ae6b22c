// A test with a server process of its own on a fresh data directory, and a client.

#ifndef ALAYA_TESTS_INTEGRATION_SERVICE_TEST_H_
#define ALAYA_TESTS_INTEGRATION_SERVICE_TEST_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/client.h"
#include "client/rpc_status.h"
#include "storage/types/status.h"
#include "tests/integration/expected_answer.h"
#include "tests/integration/kv_sequence.h"
#include "tests/integration/service_calls.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_directory.h"

namespace alaya {

inline const Status& StatusOf(const Status& status) { return status; }
template <typename T>
const Status& StatusOf(const StatusOr<T>& result) {
  return result.status();
}

inline testing::AssertionResult IsOk(const Status& status) {
  if (status.ok()) return testing::AssertionSuccess();
  return testing::AssertionFailure() << status.ToString();
}

// True for an error of this code whose message holds every one of `words` and that
// carries a google.rpc.ErrorInfo with a reason.
inline testing::AssertionResult IsError(const Status& status, StatusCode code,
                                        const std::vector<std::string>& words = {}) {
  if (status.code() != code) {
    return testing::AssertionFailure()
           << "expected " << absl::StatusCodeToString(code) << ", got " << status.ToString();
  }
  for (const std::string& word : words) {
    if (std::string(Message(status)).find(word) == std::string::npos) {
      return testing::AssertionFailure()
             << "the message does not name \"" << word << "\": " << status.ToString();
    }
  }
  const auto info = client::ErrorInfoOf(status);
  if (!info || info->reason().empty() || info->domain().empty()) {
    return testing::AssertionFailure() << "no ErrorInfo: " << status.ToString();
  }
  return testing::AssertionSuccess();
}

#define ASSERT_OK(expression) ASSERT_TRUE(::alaya::IsOk(::alaya::StatusOf(expression)))
#define EXPECT_OK(expression) EXPECT_TRUE(::alaya::IsOk(::alaya::StatusOf(expression)))
#define ASSERT_OK_AND_ASSIGN(declaration, expression) \
  ASSERT_OK_AND_ASSIGN_(ALAYA_CONCAT_(assigned_, __LINE__), declaration, expression)
#define ASSERT_OK_AND_ASSIGN_(result, declaration, expression) \
  auto result = (expression);                                  \
  ASSERT_OK(result);                                           \
  declaration = *std::move(result)

class ServiceTest : public testing::Test {
 protected:
  // Starts the server on the test's data directory; again after it ended: a restart.
  void StartServer(std::vector<std::string> arguments = {},
                   std::string binary = DefaultServerBinary()) {
    ServerProcessOptions options;
    options.binary = std::move(binary);
    options.data_directory = data_directory_ / "data";
    options.arguments = std::move(arguments);
    options.grpc_listen = grpc_listen_;
    client_.reset();
    auto server = ServerProcess::Start(options);
    ASSERT_OK(server);
    server_ = *std::move(server);
    auto client = client::Client::Connect(server_->grpc_address());
    ASSERT_OK(client);
    client_ = *std::move(client);
    ASSERT_OK(client_->WaitUntilServing(std::chrono::seconds(30)));
  }

  // A failed test shows what the server said.
  void TearDown() override {
    if (HasFailure() && server_ != nullptr) {
      ADD_FAILURE() << "the server's log:\n" << server_->Log();
    }
  }

  const client::Client& client() const { return *client_; }
  void DropClient() { client_.reset(); }
  ServerProcess& server() { return *server_; }
  std::string data_path() const { return data_directory_ / "data"; }
  const TempDirectory& directory() const { return data_directory_; }
  void set_grpc_listen(std::string address) { grpc_listen_ = std::move(address); }

 private:
  TempDirectory data_directory_;
  std::string grpc_listen_ = "127.0.0.1:0";
  std::unique_ptr<ServerProcess> server_;
  std::optional<client::Client> client_;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_INTEGRATION_SERVICE_TEST_H_
