// Everything that the engine does at once, from many threads: imports, sessions that
// decode, fork, go back and are stored, deletions, evictions, expiry, index builds, backups
// and compaction. Answers stay right, and nothing is held in the end. What it is for is
// ThreadSanitizer.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/engine/engine_fixture.h"

namespace alaya {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr auto kDuration = milliseconds(1500);
constexpr uint64_t kStoredTokens = 600;
constexpr uint64_t kSteps = 8;

class EngineStressTest : public EngineTest {
 protected:
  EngineStressTest() : sequence_(GroupedModel(), kStoredTokens + kSteps, /*seed=*/71) {
    options_.expiry_sweep_interval = milliseconds(5);
    // Longer than a thread may sleep between two steps on a busy machine.
    options_.limits.session_idle_timeout = std::chrono::seconds(5);
    options_.indexes.flat_min_tokens = 100;
    options_.indexes.build_thread_count = 2;
    ContextStoreOptions store;
    store.directory = directory_ / "data";
    store.memory_budget_bytes = uint64_t{16} << 20;
    store.quota.high_water_bytes = uint64_t{6} << 20;
    store.quota.evicts = true;
    store.quota.evict_label = {"tier", "cache"};
    store_ = *ContextStore::Open(std::move(store));
    engine_ = *Engine::Open(options_, store_.get(), &backend_, &clock_);
    Register(sequence_.model());
    Import(sequence_, kStoredTokens, "base");
  }

  bool running() const { return steady_clock::now() < end_; }

  // Only what a limit or somebody else's deletion explains.
  static void ExpectFine(const Status& status) {
    EXPECT_TRUE(status.ok() || status.code() == StatusCode::kResourceExhausted ||
                status.code() == StatusCode::kNotFound)
        << status;
  }

  // A context that may be evicted and shares nothing with those of other numbers.
  Status ImportCached(const std::string& id, uint64_t seed, uint64_t number,
                      std::optional<milliseconds> ttl, bool gives_up) {
    const TestSequence own(GroupedModel(), 300, seed);
    ImportHeader header = Header(own, 300);
    header.context_id = id;
    header.tokens[0] += static_cast<TokenId>(number);
    header.labels = {{"tier", "cache"}};
    header.ttl = ttl;
    ALAYA_ASSIGN_OR_RETURN(const auto import, engine().BeginImport(std::move(header)));
    for (const LayerIndex layer : {kFirst, kSecond}) {
      ALAYA_RETURN_IF_ERROR(import->AddChunk(own.Chunk(layer, {0, 300})));
    }
    return gives_up ? OkStatus() : import->Finish().status();
  }

  // Contexts that expire or are deleted.
  void KeepImporting(uint64_t seed) {
    for (uint64_t i = 0; running(); ++i) {
      const std::string id = "import-" + std::to_string(seed) + "-" + std::to_string(i);
      const auto ttl = i % 3 == 0 ? std::optional(milliseconds(20)) : std::nullopt;
      const bool gives_up = i % 7 == 0;
      const Status status = ImportCached(id, seed, i, ttl, gives_up);
      ExpectFine(status);
      if (!status.ok() || gives_up) continue;
      if (i % 2 == 0) ExpectFine(engine().DeleteContext(kTenant, id).status());
    }
  }

  void DecodeOne(const std::string& session, uint64_t position, bool sparse) {
    for (const LayerIndex layer : {kFirst, kSecond}) {
      AttendItem item = DecodeItem(sequence_, session, layer, {position, position + 1});
      item.options.target =
          sparse ? Target(DiprTarget{.alpha = 0.05, .sound = true}) : Target(FullTarget());
      item.options.tail_estimate = false;
      sequence_.ExpectAttention(Attend(item), {.layer = layer,
                                               .first_query = position,
                                               .visible = CausalVisible(position, 1),
                                               .tail_begin = kStoredTokens,
                                               .options = item.options});
    }
  }

  void KeepDecoding(uint64_t seed) {
    for (uint64_t round = seed; running(); ++round) {
      std::string session = CreateSession(sequence_, kStoredTokens).session_id;
      for (uint64_t step = 0; step < kSteps; ++step) {
        DecodeOne(session, kStoredTokens + step, (round + step) % 2 == 0);
      }
      const auto fork = engine().ForkSession(kTenant, session);
      ASSERT_TRUE(fork.ok()) << fork.status();
      ExpectFine(engine().TruncateSession(kTenant, *fork, kStoredTokens + 1));
      DecodeOne(*fork, kStoredTokens + 1, false);
      ExpectFine(engine().CloseSession(kTenant, session));
      if (round % 4 == 0) continue;  // the fork is left behind
      ExpectFine(engine().CloseSession(kTenant, *fork));
    }
  }

  void KeepStoring() {
    for (uint64_t i = 0; running(); ++i) {
      const std::string session = CreateSession(sequence_, kStoredTokens).session_id;
      AppendAllLayers(sequence_, session, {kStoredTokens, kStoredTokens + kSteps});
      const std::string id = "stored-" + std::to_string(i);
      const auto stored = engine().StoreSession({.tenant = kTenant,
                                                 .session_id = session,
                                                 .tokens = sequence_.tokens(kStoredTokens + kSteps),
                                                 .context_id = id,
                                                 .labels = {},
                                                 .ttl = {}});
      ExpectFine(stored.status());
      ExpectFine(engine().CloseSession(kTenant, session));
      if (stored.ok()) ExpectFine(engine().DeleteContext(kTenant, id).status());
    }
  }

  void KeepLooking() {
    for (uint64_t i = 0; running(); ++i) {
      clock_.Advance(milliseconds(7));
      const auto match =
          engine().MatchContext(kTenant, sequence_.model().name, sequence_.tokens(50));
      ASSERT_TRUE(match.ok());
      EXPECT_EQ(match->matched_tokens, 50U);
      EXPECT_TRUE(engine().ListContexts({.tenant = kTenant}, "", 100).ok());
      (void)engine().ListSessions(kTenant, "", 100);
      (void)engine().usage();
      EXPECT_GE(engine().stats().store.contexts, 1U);
      if (i % 16 == 0) {
        EXPECT_TRUE(engine().CompactStorage().ok());
      }
      if (i % 32 == 0) {
        EXPECT_TRUE(engine().CreateBackup(directory_ / ("backup-" + std::to_string(i))).ok());
      }
      std::this_thread::sleep_for(milliseconds(2));
    }
  }

  const TestSequence sequence_;
  const steady_clock::time_point end_ = steady_clock::now() + kDuration;
};

TEST_F(EngineStressTest, AllAtOnceAnswersRightAndHoldsNothingInTheEnd) {
  std::vector<std::function<void()>> work = {
      [this] { KeepImporting(1001); }, [this] { KeepImporting(1002); }, [this] { KeepDecoding(0); },
      [this] { KeepDecoding(1); },     [this] { KeepDecoding(2); },     [this] { KeepStoring(); },
      [this] { KeepLooking(); }};
  std::vector<std::thread> threads;
  for (const auto& each : work) threads.emplace_back(each);
  for (std::thread& thread : threads) thread.join();

  // However few imports a slow machine came to, this one expires.
  const Status last = ImportCached("last", 1003, 0, milliseconds(20), /*gives_up=*/false);
  ASSERT_TRUE(last.ok()) << last;
  clock_.Advance(std::chrono::seconds(1));
  // Sessions that were left behind end by themselves; what of them a task still holds goes when
  // that ends.
  const auto patience = steady_clock::now() + std::chrono::seconds(60);
  EngineStats stats = engine().stats();
  const auto holds_something = [&] {
    return stats.sessions > 0 || stats.tail_bytes > 0 || stats.attend_items_in_flight > 0;
  };
  while ((holds_something() || stats.expired_contexts == 0) && steady_clock::now() < patience) {
    std::this_thread::sleep_for(milliseconds(5));
    stats = engine().stats();
  }
  EXPECT_EQ(stats.sessions, 0U);
  EXPECT_EQ(stats.tail_bytes, 0U);
  EXPECT_EQ(stats.attend_items_in_flight, 0U);
  EXPECT_GT(stats.expired_sessions, 0U);
  EXPECT_GT(stats.expired_contexts, 0U);
  const std::string session = CreateSession(sequence_, kStoredTokens).session_id;
  ExpectHolds(sequence_, session, kStoredTokens);
}

}  // namespace
}  // namespace alaya
