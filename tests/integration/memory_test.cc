// A server whose contexts exceed its memory still answers, and stays within bounds.

#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "alaya/v1/session_service.grpc.pb.h"
#include "tests/integration/service_test.h"

namespace alaya {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kBudget = 16 * kMiB;
// What the process takes beside the budget: code, gRPC, RocksDB's write buffers, thread
// stacks, and messages in flight. AddressSanitizer's shadow and quarantine come on top.
#ifdef __SANITIZE_ADDRESS__
constexpr uint64_t kOverheadMax = 1024 * kMiB;
#else
constexpr uint64_t kOverheadMax = 256 * kMiB;
#endif

class MemoryTest : public ServiceTest {
 protected:
  void SetUp() override {
    StartServer({"--memory-budget", "16MiB"});
    if (HasFatalFailure()) return;
    ASSERT_OK(RegisterModel(client(), model_));
  }

  pb::TierStats MemoryTier() {
    const auto stats = client().GetStats();
    EXPECT_OK(stats);
    if (!stats.ok()) return {};
    for (const pb::TierStats& tier : stats->tiers()) {
      if (tier.tier() == pb::TIER_MEMORY) return tier;
    }
    return {};
  }

  uint64_t ResidentBytesMax() { return server().Memory()->resident_bytes_max; }

  // 4 KiB a token and layer: keys and values of 8 heads of 128 in bf16.
  const pb::Model model_ = MakeModel("test/memory");
};

TEST_F(MemoryTest, ContextsFarBeyondTheBudgetAnswerExactly) {
  constexpr size_t kTokens = 16'000;  // 125 MiB, eight budgets
  const KvSequence sequence(model_, kTokens, /*seed=*/61);
  ASSERT_OK(Import(client(), sequence, "large"));
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "large"));
  client::AttendStream stream = client().Attend();

  for (uint32_t layer = 0; layer < model_.num_layers(); ++layer) {
    pb::AttendItem full = sequence.Ask(session, layer, kTokens - 1);
    full.mutable_options()->mutable_full();
    pb::AttendItem dipr = sequence.Ask(session, layer, kTokens - 1);
    dipr.mutable_options()->mutable_dipr()->set_alpha(0.05);
    // By the definition, whatever index there is meanwhile.
    dipr.mutable_options()->mutable_dipr()->set_sound(true);
    dipr.mutable_options()->set_tail_estimate(false);
    for (const pb::AttendItem& item : {full, dipr}) {
      ASSERT_OK_AND_ASSIGN(const pb::AttendResult result, stream.AttendOne(item));
      EXPECT_TRUE(AnswersItem(sequence, {kTokens, kTokens}, item, result));
    }
  }

  const pb::TierStats memory = MemoryTier();
  EXPECT_LE(memory.capacity_bytes(), kBudget);
  EXPECT_GE(memory.capacity_bytes(), kBudget / 2) << "the store itself takes the rest";
  EXPECT_LE(memory.used_bytes(), kBudget);
  EXPECT_GT(memory.evictions(), 0);
  EXPECT_GT(memory.misses(), 0);
  EXPECT_LE(ResidentBytesMax(), kBudget + kOverheadMax);
}

TEST_F(MemoryTest, ManyContextsTakeTurnsInMemory) {
  constexpr size_t kTokens = 2500;
  std::vector<KvSequence> sequences;
  std::vector<std::string> sessions;
  for (uint64_t i = 0; i < 6; ++i) {
    sequences.emplace_back(model_, kTokens, /*seed=*/70 + i);
    const std::string id = "context-" + std::to_string(i);
    ASSERT_OK(Import(client(), sequences.back(), id));
    ASSERT_OK_AND_ASSIGN(sessions.emplace_back(), OpenSession(client(), id));
  }
  client::AttendStream stream = client().Attend();
  for (size_t round = 0; round < 2; ++round) {
    // All at once: more pages are wanted than fit.
    std::vector<pb::AttendItem> items;
    std::vector<std::future<StatusOr<pb::AttendResponse>>> answers;
    for (size_t i = 0; i < sessions.size(); ++i) {
      items.push_back(sequences[i].Ask(sessions[i], 0, round));
      items.back().mutable_options()->mutable_full();  // an open target may be estimated
      pb::AttendRequest request;
      *request.add_items() = items.back();
      answers.push_back(stream.Send(std::move(request)));
    }
    for (size_t i = 0; i < sessions.size(); ++i) {
      ASSERT_OK_AND_ASSIGN(const pb::AttendResponse response, answers[i].get());
      EXPECT_TRUE(AnswersItem(sequences[i], {kTokens, kTokens}, items[i], response.results(0)));
    }
  }
  EXPECT_LE(MemoryTier().used_bytes(), kBudget);
}

TEST_F(MemoryTest, AnImportLargerThanTheBudgetReadsBack) {
  const KvSequence sequence(model_, 32'000, /*seed=*/62);  // 250 MiB
  ASSERT_OK(Import(client(), sequence, "large"));

  EXPECT_LE(ResidentBytesMax(), kBudget + kOverheadMax);
  EXPECT_OK(CheckStoredBytes(client(), "large", sequence));
  EXPECT_LE(ResidentBytesMax(), kBudget + kOverheadMax);
}

TEST_F(MemoryTest, StatisticsAgreeWithTheKernel) {
  const auto stats = client().GetStats();
  ASSERT_OK(stats);
  ASSERT_OK_AND_ASSIGN(const ProcessMemory memory, server().Memory());

  EXPECT_GT(stats->process_resident_bytes(), memory.resident_bytes / 2);
  EXPECT_LT(stats->process_resident_bytes(), memory.resident_bytes * 2);
}

// The stream's own deadline and cancellation need the raw call.
class AttendCallTest : public MemoryTest {
 protected:
  static constexpr size_t kTokens = 8000;
  static constexpr int kRequestCount = 8;
  static constexpr int kItemCount = 64;  // each of 2 GFLOP

  void SetUp() override {
    MemoryTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK(Import(client(), sequence_, "context"));
    ASSERT_OK_AND_ASSIGN(session_, OpenSession(client(), "context"));
    stub_ = pb::SessionService::NewStub(
        grpc::CreateChannel(server().grpc_address(), grpc::InsecureChannelCredentials()));
  }

  // Each item is 16 queries over a context that must come from disk.
  pb::AttendRequest LongRequest() {
    pb::AttendRequest request;
    for (int i = 0; i < kItemCount; ++i) *request.add_items() = LongItem(session_);
    return request;
  }

  pb::AttendItem LongItem(const std::string& session) {
    pb::AttendItem item = sequence_.Ask(session, 0, 0, /*count=*/16);
    item.mutable_options()->mutable_full();
    return item;
  }

  // How long an item of another session takes now.
  double Seconds(const std::function<pb::AttendItem(const std::string& session)>& ask) {
    const auto session = OpenSession(client(), "context");
    const auto start = std::chrono::steady_clock::now();
    client::AttendStream stream = client().Attend();
    EXPECT_OK(stream.AttendOne(ask(*session)));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  // True if a small item waits for far less than what was queued: on a machine of any
  // speed, only what had started may still run.
  testing::AssertionResult QueueIsGone() {
    const double wait =
        Seconds([&](const std::string& session) { return sequence_.Ask(session, 1, 0); });
    const double item = Seconds([&](const std::string& session) { return LongItem(session); });
    const double queued = item * kItemCount * kRequestCount;
    if (wait < queued / 8) return testing::AssertionSuccess();
    return testing::AssertionFailure()
           << "waited " << wait << " s; all that was queued takes " << queued << " s";
  }

  const KvSequence sequence_{model_, kTokens, /*seed=*/63};
  std::string session_;
  std::unique_ptr<pb::SessionService::Stub> stub_;
};

TEST_F(AttendCallTest, APassedDeadlineEndsTheCallAndItsQueuedWork) {
  const pb::AttendRequest request = LongRequest();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  const auto call = stub_->Attend(&context);
  for (int i = 0; i < kRequestCount; ++i) call->Write(request);
  call->WritesDone();
  pb::AttendResponse response;
  int answer_count = 0;
  while (call->Read(&response)) ++answer_count;

  EXPECT_EQ(call->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_LT(answer_count, kRequestCount);
  EXPECT_TRUE(QueueIsGone());
}

TEST_F(AttendCallTest, ACancelledCallGivesItsQueuedWorkUp) {
  const pb::AttendRequest request = LongRequest();
  grpc::ClientContext context;
  const auto call = stub_->Attend(&context);
  for (int i = 0; i < kRequestCount; ++i) ASSERT_TRUE(call->Write(request));
  context.TryCancel();

  EXPECT_EQ(call->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(QueueIsGone());
  ASSERT_OK_AND_ASSIGN(const int exit_status, server().Terminate());
  EXPECT_EQ(exit_status, 0) << server().Log();
}

}  // namespace
}  // namespace alaya
