// Everything at once: a server under normal load, hostile clients beside it and the
// machine failing under it, cycle after cycle, checked against an oracle.
//
//   chaos_test [--seed=S] [--cycles=N] [--minutes=M] [--restarts=false] [--programs=FOLDER]
//
// Cycle i of a run is decided by seed S + i - 1; it prints what it did when it fails, and
// `--seed=S --cycles=i` does the same again. In each cycle three workers import, branch,
// store, delete, expire, decode and search, every answer compared with the oracle; hostile
// clients and at most two faults strike meanwhile. Then all is healed, and within seconds
// the server must accept, answer, write, hold nothing, and have every acknowledged byte.
// --restarts=false leaves out the faults that end the server, so that a leak shows.

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "tests/fault/hostile_clients.h"
#include "tests/fault/kill_worker.h"
#include "tests/fault/recovery_check.h"
#include "tests/fault/server_faults.h"
#include "tests/integration/service_test.h"

ABSL_FLAG(uint64_t, seed, 20'261'130, "of the first cycle");
ABSL_FLAG(uint64_t, cycles, 12, "how many cycles");
ABSL_FLAG(uint64_t, minutes, 0, "go on for so long instead");
ABSL_FLAG(std::string, programs, "",
          "folder with copies of alayadb-server and libfault_shim.so; empty: those of the build");
ABSL_FLAG(std::string, between, "",
          "command to run between cycles, which may wait for better times; empty: none");
ABSL_FLAG(bool, restarts, true, "whether faults may end the server");

namespace alaya {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr size_t kKnownTokens = 900;
// Beside those of clients: listeners, the metrics port, what gRPC keeps for itself.
constexpr size_t kSocketsMax = 24;
// A cycle that takes longer hangs.
constexpr auto kCycleTimeout = std::chrono::minutes(10);
constexpr double kMebibyte = 1 << 20;

// What a fault of the machine may lead to. Never DATA_LOSS: no byte on disk is damaged, and
// never INVALID_ARGUMENT: no request is wrong.
bool MayFollowAFault(const Status& status) {
  switch (status.code()) {
    case StatusCode::kUnavailable:
    case StatusCode::kInternal:
    case StatusCode::kResourceExhausted:
    case StatusCode::kDeadlineExceeded:
    case StatusCode::kCancelled:
    case StatusCode::kNotFound:  // a session that died with its server
      return true;
    default:
      return false;
  }
}
// The workers with evictable contexts fill the disk up to its mark.
bool MayAlwaysBe(const Status& status) { return status.code() == StatusCode::kResourceExhausted; }

// Ends the process if it is not told in time that all is well.
class Watchdog {
 public:
  Watchdog(std::string what, Clock::duration timeout)
      : thread_([this, what = std::move(what), timeout] {
          std::unique_lock lock(mutex_);
          if (done_.wait_for(lock, timeout, [this] { return is_done_; })) return;
          fmt::print(stderr, "HANGS: {}\n", what);
          std::abort();
        }) {}
  ~Watchdog() {
    {
      const std::scoped_lock lock(mutex_);
      is_done_ = true;
    }
    done_.notify_all();
    thread_.join();
  }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  bool is_done_ = false;
  std::thread thread_;
};

struct Plan {
  std::vector<const HostileClient*> clients;
  std::vector<const ServerFault*> faults;
  milliseconds hold{0};  // from the first fault to healing

  std::string text() const {
    std::string words;
    for (const HostileClient* client : clients) words += std::string(", ") + client->name;
    for (const ServerFault* fault : faults) words += std::string(", ") + fault->name;
    return words.empty() ? "nothing" : words.substr(2);
  }
  bool ends_server() const {
    return std::ranges::any_of(faults, [](const ServerFault* fault) { return fault->ends_server; });
  }
};

Plan MakePlan(std::mt19937_64& random, bool restarts) {
  const auto all_clients = HostileClients();
  const auto all_faults = ServerFaults();
  Plan plan;
  for (uint64_t i = random() % 3; i > 0; --i) {
    plan.clients.push_back(&all_clients[random() % all_clients.size()]);
  }
  for (uint64_t i = random() % 3; i > 0; --i) {
    const ServerFault& fault = all_faults[random() % all_faults.size()];
    // Nothing more can be done to a server that is gone.
    if (plan.ends_server() || (fault.ends_server && !restarts)) continue;
    plan.faults.push_back(&fault);
  }
  plan.hold = milliseconds(50 + random() % 300);
  return plan;
}

FaultyServerFiles Programs() {
  const std::string folder = absl::GetFlag(FLAGS_programs);
  if (folder.empty()) return DefaultServerFiles();
  return {folder + "/alayadb-server", folder + "/libfault_shim.so"};
}

class ChaosTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(server_.Start());
    Connect();
    ASSERT_OK(RegisterModel(*client_, model_));
    const KvSequence stored = known_.Branch(kKnownTokens, kKnownTokens, 0);
    ASSERT_OK(Import(*client_, stored, "known"));
    for (uint32_t i = 0; i < 3; ++i) {
      workers_.push_back(std::make_unique<KillWorker>(
          KillWorkerOptions{.name = std::string(1, static_cast<char>('a' + i)),
                            .model = model_,
                            .backup_directory = "",
                            .evictable = i == 2,
                            .first_token = (i + 1) * 10'000'000,
                            .tokens_max = 700}));
    }
  }
  void TearDown() override {
    if (!HasFailure()) return;
    const std::string log = server_.process().Log();
    constexpr size_t kShownBytes = 8000;
    ADD_FAILURE() << "the end of the server's log:\n"
                  << log.substr(log.size() - std::min(log.size(), kShownBytes));
  }

  void Connect() {
    client::ClientOptions options;
    options.connect_timeout = milliseconds(60'000);
    options.call_timeout = milliseconds(60'000);
    auto client = client::Client::Connect(server_.address(), options);
    ASSERT_OK(client);
    client_ = std::make_unique<client::Client>(*std::move(client));
  }

  void RunCycle(uint64_t seed, bool restarts) {
    std::mt19937_64 random(seed);
    const Plan plan = MakePlan(random, restarts);
    RunPlan(plan, seed, random);
  }
  void RunPlan(const Plan& plan, uint64_t seed, std::mt19937_64& random) {
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + plan.text());
    const Watchdog watchdog("seed " + std::to_string(seed) + ": " + plan.text(), kCycleTimeout);
    Strike(plan, random);
    if (HasFailure()) return;
    if (plan.ends_server()) {
      ASSERT_OK(server_.Start());
      Connect();
    }
    ASSERT_OK(
        CheckRecovered(server_.process(), *client_, {"known", &known_, kKnownTokens}, kSocketsMax));
    Settle();
    for (const ServerFault* fault : plan.faults) ++struck_[fault->name];
    for (const HostileClient* client : plan.clients) ++struck_[client->name];
  }

  // Load, and what the plan says; healed when it returns.
  void Strike(const Plan& plan, std::mt19937_64& random) {
    std::atomic<bool> stop = false;
    std::vector<std::thread> threads;
    for (const auto& worker : workers_) {
      threads.emplace_back([&, seed = random(), worker = worker.get()] {
        const Status ended = worker->RunUntil(stop, *client_, seed,
                                              plan.faults.empty() ? MayAlwaysBe : MayFollowAFault);
        EXPECT_OK(ended);
      });
    }
    for (const HostileClient* client : plan.clients) {
      threads.emplace_back([&, seed = random(), client] {
        client->run({server_.address(), "known"}, seed);
      });
    }
    std::this_thread::sleep_for(milliseconds(random() % 150));
    for (const ServerFault* fault : plan.faults) fault->begin(server_, random);
    std::this_thread::sleep_for(plan.hold);
    stop = true;
    server_.Heal();
    for (std::thread& thread : threads) thread.join();
  }

  void Settle() {
    ASSERT_OK_AND_ASSIGN(const auto ids, ContextIds(*client_));
    for (const auto& worker : workers_) {
      std::vector<std::string> own;
      std::ranges::copy_if(ids, std::back_inserter(own), [&](const std::string& id) {
        return id.starts_with(worker->name() + "-");
      });
      ASSERT_OK(worker->oracle().Settle(*client_, own));
      // They would fill the disk, cycle by cycle.
      ASSERT_OK(worker->RemoveLeftovers(*client_));
    }
    ASSERT_OK(CheckStoredBytes(*client_, "known", known_.Branch(kKnownTokens, kKnownTokens, 0)));
  }

  double ResidentMebibytes() {
    const auto memory = server_.process().Memory();
    return memory.ok() ? static_cast<double>(memory->resident_bytes) / kMebibyte : 0;
  }

  size_t AcknowledgedCount() const {
    size_t count = 0;
    for (const auto& worker : workers_) count += worker->oracle().acknowledged_count();
    return count;
  }

  void Report(uint64_t cycle_count) {
    std::map<std::string, size_t> counts;
    std::map<std::string, size_t> refusals;
    for (const auto& worker : workers_) {
      for (const auto& [name, count] : worker->counts()) counts[name] += count;
      for (const auto& [name, count] : worker->refusals()) refusals[name] += count;
    }
    EXPECT_GT(AcknowledgedCount(), cycle_count);
    EXPECT_GT(counts["decode"], 0);
    fmt::print("{} cycles, {} changes acknowledged;", cycle_count, AcknowledgedCount());
    for (const auto& [name, count] : counts) fmt::print(" {} {},", count, name);
    fmt::print(" resident {:.0f} MiB\nstruck:", ResidentMebibytes());
    for (const auto& [name, count] : struck_) fmt::print(" {} {},", count, name);
    fmt::print("\nrefused:\n");
    for (const auto& [name, count] : refusals) fmt::print("{:>8} {}\n", count, name);
  }

  const pb::Model model_ =
      MakeModel("fault/chaos", {.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 64});
  const KvSequence known_{model_, kKnownTokens + 1, /*seed=*/77};
  const TempDirectory directory_;
  FaultyServer server_{
      directory_ / "data",
      {"--expiry-sweep-interval", "20ms", "--flat-index-min-tokens", "300", "--memory-budget",
       "32MiB", "--disk-high-water", "40MiB", "--disk-eviction", "on", "--disk-low-water", "30MiB",
       "--disk-evict-label", std::string(kEvictLabel) + "=" + kEvictValue, "--drain-timeout", "2s"},
      Programs()};
  std::unique_ptr<client::Client> client_;
  std::vector<std::unique_ptr<KillWorker>> workers_;
  std::map<std::string, size_t> struck_;
};

TEST_F(ChaosTest, EachFaultAloneIsSurvived) {
  std::vector<Plan> plans;
  for (const HostileClient& client : HostileClients()) plans.push_back({{&client}, {}, {}});
  for (const ServerFault& fault : ServerFaults()) plans.push_back({{}, {&fault}, {}});
  uint64_t seed = absl::GetFlag(FLAGS_seed);
  for (Plan& plan : plans) {
    plan.hold = milliseconds(200);
    std::mt19937_64 random(++seed);
    RunPlan(plan, seed, random);
    if (HasFailure()) return;
  }
}

struct AfterCycle {
  double resident_mebibytes = 0;
  size_t acknowledged_count = 0;  // since the start
};

// Of one server that lived through many cycles: in their second half it holds no more than
// in the first, and still works. Nothing is said of few cycles.
void ExpectSteady(const std::vector<AfterCycle>& history) {
  constexpr size_t kEnoughCycles = 200;
  if (history.size() < kEnoughCycles) return;
  const std::span<const AfterCycle> all(history);
  const auto first = all.first(all.size() / 2);
  const auto second = all.subspan(first.size());
  const auto resident = [](std::span<const AfterCycle> half) {
    return std::ranges::max(half, {}, &AfterCycle::resident_mebibytes).resident_mebibytes;
  };
  const size_t acknowledged_first = first.back().acknowledged_count;
  const size_t acknowledged_second = second.back().acknowledged_count - acknowledged_first;
  fmt::print(
      "resident at most {:.0f} MiB in the first half, {:.0f} MiB in the second; "
      "{} and {} changes acknowledged\n",
      resident(first), resident(second), acknowledged_first, acknowledged_second);
  EXPECT_LT(resident(second), resident(first) * 1.1);
  // The machine may have become slower. What refuses for good refuses nearly everything.
  EXPECT_GT(acknowledged_second, acknowledged_first / 4);
}

TEST_F(ChaosTest, TheServerSurvivesAllAtOnceAndLosesNothing) {
  const uint64_t first_seed = absl::GetFlag(FLAGS_seed);
  const bool restarts = absl::GetFlag(FLAGS_restarts);
  const uint64_t minutes = absl::GetFlag(FLAGS_minutes);
  fmt::print("seed {}\n", first_seed);
  const auto start = Clock::now();
  const auto end = start + std::chrono::minutes(minutes);
  constexpr uint64_t kReportInterval = 100;
  std::vector<AfterCycle> history;
  uint64_t cycle = 0;
  while (minutes > 0 ? Clock::now() < end : cycle < absl::GetFlag(FLAGS_cycles)) {
    ++cycle;
    SCOPED_TRACE("--seed=" + std::to_string(first_seed) + " --cycles=" + std::to_string(cycle));
    RunCycle(first_seed + cycle - 1, restarts);
    if (HasFailure()) return;
    history.push_back({ResidentMebibytes(), AcknowledgedCount()});
    const std::string between = absl::GetFlag(FLAGS_between);
    if (!between.empty()) {
      ASSERT_EQ(std::system(between.c_str()), 0);
    }
    if (cycle % kReportInterval != 0) continue;
    fmt::print("{:.0f} s: {} cycles, {} changes acknowledged, resident {:.0f} MiB\n",
               std::chrono::duration<double>(Clock::now() - start).count(), cycle,
               history.back().acknowledged_count, history.back().resident_mebibytes);
    std::fflush(stdout);
  }
  Report(cycle);
  if (!restarts) ExpectSteady(history);
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  absl::ParseCommandLine(argc, argv);
  return RUN_ALL_TESTS();
}
