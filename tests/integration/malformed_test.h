// A server with a context and a session that bad requests must leave as they are.

#ifndef ALAYA_TESTS_INTEGRATION_MALFORMED_TEST_H_
#define ALAYA_TESTS_INTEGRATION_MALFORMED_TEST_H_

#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/integration/service_test.h"

namespace alaya {

// What an error must look like: its code, and what its message must name.
struct Refusal {
  StatusCode code = StatusCode::kInvalidArgument;
  std::vector<std::string> words;
};

// bf16 bits.
inline constexpr std::string_view kNaNBits("\xc0\x7f", 2);
inline constexpr std::string_view kInfinityBits("\x80\x7f", 2);

// Replaces the last elements.
inline void Overwrite(pb::Tensor* tensor, std::string_view bits) {
  tensor->mutable_data()->replace(tensor->data().size() - bits.size(), bits.size(), bits);
}

class MalformedTest : public ServiceTest {
 protected:
  static constexpr size_t kContextTokens = 300;
  static constexpr size_t kTailTokens = 3;
  static constexpr size_t kHeldTokens = kContextTokens + kTailTokens;

  void SetUp() override {
    StartServer({"--max-message-bytes", "4MiB"});
    if (HasFatalFailure()) return;
    ASSERT_OK(RegisterModel(client(), model_));
    const KvSequence context = sequence_.Branch(kContextTokens, kContextTokens, /*seed=*/0);
    ASSERT_OK(Import(client(), context, "context"));
    ASSERT_OK_AND_ASSIGN(session_, OpenSession(client(), "context"));
    stream_.emplace(client().Attend());
    for (uint32_t layer = 0; layer < model_.num_layers(); ++layer) {
      ASSERT_OK(
          stream_->AttendOne(sequence_.AskAndAppend(session_, layer, kContextTokens, kTailTokens)));
    }
    ASSERT_OK_AND_ASSIGN(state_, ReadServerState(client()));
    channel_ = grpc::CreateChannel(server().grpc_address(), grpc::InsecureChannelCredentials());
  }

  // Checks an error, that the state is as before, and that the server and the stream
  // which stood open all the while go on working.
  void ExpectRefused(const Status& status, const Refusal& expected) {
    EXPECT_TRUE(IsError(status, expected.code, expected.words));
    ExpectUntouched();
  }

  void ExpectUntouched() {
    const auto state = ReadServerState(client());
    ASSERT_OK(state);
    EXPECT_EQ(*state, state_);
    const pb::AttendItem item = sequence_.Ask(session_, 1, kHeldTokens);
    const auto result = stream_->AttendOne(item);
    ASSERT_OK(result);
    EXPECT_TRUE(AnswersItem(sequence_, {kHeldTokens, kContextTokens}, item, *result));
  }

  client::AttendStream& stream() { return *stream_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

  const pb::Model model_ =
      MakeModel("test/malformed", {.layers = 2, .query_heads = 8, .kv_heads = 2, .head_dim = 64});
  const KvSequence sequence_{model_, kHeldTokens + 10, /*seed=*/81};
  std::string session_;

 private:
  std::optional<client::AttendStream> stream_;
  std::shared_ptr<grpc::Channel> channel_;
  ServerState state_;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_INTEGRATION_MALFORMED_TEST_H_
