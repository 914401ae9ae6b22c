// Order within a session, independence between sessions, deadlines, and the drain.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <latch>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/engine/quota_error.h"
#include "tests/server/engine/engine_fixture.h"

namespace alaya {
namespace {

using std::chrono::steady_clock;

class AttendQueueTest : public EngineTest {
 protected:
  AttendQueueTest() : sequence_(GroupedModel(), 400, /*seed=*/41) {}

  // Returns when the engine's only worker waits for the latch: nothing is answered until then.
  void HoldTheWorker(const std::shared_ptr<std::latch>& release) {
    const auto is_held = std::make_shared<std::latch>(1);
    engine().Attend(QueryItem(sequence_, "none", kFirst, {0, 1}), Deadline::max(), nullptr,
                    [is_held, release](const AttendResult& /*result*/) {
                      is_held->count_down();
                      release->wait();
                    });
    is_held->wait();
  }

  const TestSequence sequence_;
};

// What one session's answers were, in the order they came.
struct Answers {
  std::mutex mutex;
  std::vector<AttendResult> results;
};

TEST_F(AttendQueueTest, SixteenSessionsFromEightThreadsAreAnsweredInOrder) {
  constexpr size_t kSessions = 16;
  constexpr size_t kThreads = 8;
  constexpr uint64_t kPrefix = 200;
  constexpr uint64_t kSteps = 20;
  Register(sequence_.model());
  Import(sequence_, kPrefix);
  std::vector<std::string> sessions;
  for (size_t i = 0; i < kSessions; ++i) {
    sessions.push_back(CreateSession(sequence_, kPrefix).session_id);
  }
  std::vector<Answers> answers(kSessions);
  std::latch all_answered(static_cast<ptrdiff_t>(kSessions * kSteps * 2));

  // Everything in flight at once: only the order of the calls can keep the layers legal.
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (uint64_t step = kPrefix; step < kPrefix + kSteps; ++step) {
        for (size_t i = thread; i < kSessions; i += kThreads) {
          for (const LayerIndex layer : {kFirst, kSecond}) {
            engine().Attend(DecodeItem(sequence_, sessions[i], layer, {step, step + 1}),
                            Deadline::max(), nullptr, [&, i](AttendResult result) {
                              {
                                const std::scoped_lock lock(answers[i].mutex);
                                answers[i].results.push_back(std::move(result));
                              }
                              all_answered.count_down();
                            });
          }
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  all_answered.wait();

  for (Answers& session : answers) {
    ASSERT_EQ(session.results.size(), kSteps * 2);
    for (uint64_t step = 0; step < kSteps; ++step) {
      for (const LayerIndex layer : {kFirst, kSecond}) {
        sequence_.ExpectAttention(session.results[step * 2 + ToInt(layer)],
                                  {.layer = layer,
                                   .first_query = kPrefix + step,
                                   .visible = CausalVisible(kPrefix + step, 1),
                                   .tail_begin = kPrefix,
                                   .options = {}});
      }
    }
  }
}

TEST_F(AttendQueueTest, CallsOnASessionWaitForItsItems) {
  Register(sequence_.model());
  const std::string session = CreateSession(sequence_, 0).session_id;
  std::latch answered(200);
  for (uint64_t step = 0; step < 100; ++step) {
    for (const LayerIndex layer : {kFirst, kSecond}) {
      engine().Attend(AppendItem(sequence_, session, layer, {step, step + 1}), Deadline::max(),
                      nullptr, [&answered](const AttendResult& result) {
                        EXPECT_TRUE(result.status.ok()) << Message(result.status);
                        answered.count_down();
                      });
    }
  }

  const auto fork = engine().ForkSession(kTenant, session);
  ASSERT_TRUE(engine().TruncateSession(kTenant, session, 60).ok());

  EXPECT_TRUE(answered.try_wait()) << "both calls came after the items";
  answered.wait();
  EXPECT_EQ(Info(*fork).tail_tokens, 100U);
  EXPECT_EQ(Info(session).tail_tokens, 60U);
}

TEST_F(AttendQueueTest, ItemsPastTheirDeadlineOrCancelledDoNotStart) {
  Register(sequence_.model());
  const std::string session = CreateSession(sequence_, 0).session_id;
  const auto run = [&](Deadline deadline, std::function<bool()> cancelled) {
    std::latch answered(1);
    AttendResult answer;
    engine().Attend(AppendItem(sequence_, session, kFirst, {0, 1}), deadline, std::move(cancelled),
                    [&](AttendResult result) {
                      answer = std::move(result);
                      answered.count_down();
                    });
    answered.wait();
    return answer.status.code();
  };

  EXPECT_EQ(run(steady_clock::now() - std::chrono::seconds(1), nullptr),
            StatusCode::kDeadlineExceeded);
  EXPECT_EQ(run(Deadline::max(), [] { return true; }), StatusCode::kCancelled);
  EXPECT_EQ(Info(session).tail_tokens, 0U);
  EXPECT_EQ(run(steady_clock::now() + std::chrono::hours(1), [] { return false; }),
            StatusCode::kOk);
  EXPECT_EQ(Info(session).tail_tokens, 1U);
}

// While the only worker is held up nothing is answered, so what waits is exactly known.
TEST_F(AttendQueueTest, ATenantThatFillsItsShareOfTheQueueLeavesRoomForOthers) {
  options_.worker_count = 1;
  options_.tenant_limits.all.max_attend_items_in_flight = 3;
  options_.tenant_limits.others.max_attend_items_in_flight = 2;
  Register(sequence_.model());
  const auto open = [&](const std::string& tenant) {
    return engine()
        .CreateSession({.tenant = tenant,
                        .model = "grouped",
                        .tokens = sequence_.tokens(1),
                        .context_id = {},
                        .reuse_limit = {}})
        ->session_id;
  };
  const std::vector<std::string> tenants = {"busy", "busy", "busy", "calm", "calm"};
  const std::map<std::string, std::string> sessions = {{"busy", open("busy")},
                                                       {"calm", open("calm")}};
  const auto release = std::make_shared<std::latch>(1);
  std::latch answered(static_cast<ptrdiff_t>(tenants.size()));
  std::vector<Status> statuses(tenants.size());
  HoldTheWorker(release);

  for (size_t i = 0; i < tenants.size(); ++i) {
    AttendItem item = QueryItem(sequence_, sessions.at(tenants[i]), kFirst, {0, 1});
    item.tenant = tenants[i];
    engine().Attend(std::move(item), Deadline::max(), nullptr, [&, i](const AttendResult& result) {
      statuses[i] = result.status;
      answered.count_down();
    });
  }
  release->count_down();
  answered.wait();

  EXPECT_TRUE(statuses[0].ok() && statuses[1].ok()) << Message(statuses[0]);
  EXPECT_EQ(QuotaViolationOf(statuses[2])->subject, "tenant:busy");
  EXPECT_TRUE(statuses[3].ok()) << Message(statuses[3]);
  EXPECT_EQ(QuotaViolationOf(statuses[4])->subject, "server");
  EXPECT_EQ(engine().stats().attend_items_in_flight, 0U);
}

TEST_F(AttendQueueTest, OpenSessionsAndTheirForksFollowALimitThatIsChanged) {
  options_.worker_count = 1;
  Register(sequence_.model());
  const std::string session = CreateSession(sequence_, 0).session_id;
  const auto fork = engine().ForkSession(kTenant, session);
  ASSERT_TRUE(fork.ok()) << Message(fork.status());
  const std::vector<std::string> sessions = {session, *fork, *fork};
  const auto release = std::make_shared<std::latch>(1);
  std::latch answered(static_cast<ptrdiff_t>(sessions.size()));
  std::vector<Status> statuses(sessions.size());
  HoldTheWorker(release);

  engine().tenants().SetLimits({.others = {.max_attend_items_in_flight = 2}});
  for (size_t i = 0; i < sessions.size(); ++i) {
    engine().Attend(AppendItem(sequence_, sessions[i], kFirst, {0, 1}), Deadline::max(), nullptr,
                    [&, i](const AttendResult& result) {
                      statuses[i] = result.status;
                      answered.count_down();
                    });
  }
  release->count_down();
  answered.wait();

  EXPECT_TRUE(statuses[0].ok() && statuses[1].ok()) << Message(statuses[0]);
  ASSERT_TRUE(QuotaViolationOf(statuses[2]).has_value()) << Message(statuses[2]);
  EXPECT_EQ(QuotaViolationOf(statuses[2])->subject, "tenant:" + std::string(kTenant));
}

TEST_F(AttendQueueTest, ADrainAnswersWhatWasAdmittedAndRefusesTheRest) {
  Register(sequence_.model());
  Import(sequence_, 300, "c");
  const std::string session = CreateSession(sequence_, 300).session_id;
  std::atomic<int> ok_count{0};
  for (uint64_t i = 0; i < 50; ++i) {
    engine().Attend(QueryItem(sequence_, session, kFirst, {i, i + 1}), Deadline::max(), nullptr,
                    [&ok_count](const AttendResult& result) { ok_count += result.status.ok(); });
  }

  engine().Drain();

  EXPECT_EQ(ok_count, 50);
  EXPECT_EQ(engine().stats().attend_items_in_flight, 0U);
  const auto unavailable = StatusCode::kUnavailable;
  EXPECT_EQ(Attend(QueryItem(sequence_, session, kFirst, {0, 1})).status.code(), unavailable);
  EXPECT_EQ(engine().BeginImport(Header(sequence_, 10)).status().code(), unavailable);
  EXPECT_EQ(engine().ForkSession(kTenant, session).status().code(), unavailable);
  EXPECT_EQ(engine().TruncateSession(kTenant, session, 1).code(), unavailable);
  EXPECT_EQ(engine().GetContext(kTenant, "c").status().code(), unavailable);
  EXPECT_EQ(engine().DeleteContext(kTenant, "c").status().code(), unavailable);
  EXPECT_EQ(engine().MatchContext(kTenant, "grouped", {}).status().code(), unavailable);
  EXPECT_EQ(engine()
                .CreateSession({.tenant = kTenant,
                                .model = "grouped",
                                .tokens = {},
                                .context_id = "c",
                                .reuse_limit = {}})
                .status()
                .code(),
            unavailable);
  EXPECT_TRUE(engine().CloseSession(kTenant, session).ok()) << "closing is no new work";
}

TEST_F(AttendQueueTest, ADrainWaitsForImportsUnderWay) {
  Register(sequence_.model());
  auto import = *engine().BeginImport(Header(sequence_, 50));
  std::atomic<bool> finished{false};
  std::thread importer([&] {
    for (const LayerIndex layer : {kFirst, kSecond}) {
      EXPECT_TRUE(import->AddChunk(sequence_.Chunk(layer, {0, 50})).ok());
    }
    EXPECT_TRUE(import->Finish().ok());
    finished = true;
    import.reset();
  });

  engine().Drain();

  EXPECT_TRUE(finished);
  importer.join();
}

TEST_F(AttendQueueTest, SessionsComeAndGoWhileOthersRun) {
  Register(sequence_.model());
  Import(sequence_, 300);
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int round = 0; round < 10; ++round) {
        const std::string session = CreateSession(sequence_, 300).session_id;
        AppendAllLayers(sequence_, session, {300, 340});
        const auto fork = engine().ForkSession(kTenant, session);
        ASSERT_TRUE(fork.ok());
        ASSERT_TRUE(engine().CloseSession(kTenant, session).ok());
        AppendAllLayers(sequence_, *fork, {340, 345});
        AttendItem item = QueryItem(sequence_, *fork, kSecond, {345, 346});
        item.options.target = FullTarget();
        sequence_.ExpectAttention(Attend(item), {.layer = kSecond,
                                                 .first_query = 345,
                                                 .visible = EqualVisible({0, 345}, 1),
                                                 .options = item.options});
        ASSERT_TRUE(engine()
                        .StoreSession({.tenant = kTenant,
                                       .session_id = *fork,
                                       .tokens = sequence_.tokens(345),
                                       .context_id = {},
                                       .labels = {},
                                       .ttl = {}})
                        .ok());
        ASSERT_TRUE(engine().CloseSession(kTenant, *fork).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(engine().stats().sessions, 0U);
}

}  // namespace
}  // namespace alaya
