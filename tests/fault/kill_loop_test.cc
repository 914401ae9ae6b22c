// kill -9 of the real server, over and over, while it imports, stores sessions, deletes,
// expires, evicts, merges, backs up and recovers.
//
//   kill_loop_test [--cycles=N] [--seed=S]
//
// Each cycle: start, sometimes killed while it recovers; compare every byte of every
// context with what was acknowledged; work from three threads; kill after a while.
// Between, the directory is read whole by alayadb-offline, and backups are compared
// with their manifests.

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "httplib.h"
#include "tests/fault/kill_worker.h"
#include "tests/integration/service_test.h"
#include "tests/support/run_program.h"

ABSL_FLAG(uint64_t, cycles, 12, "how many times the server is killed");
ABSL_FLAG(uint64_t, seed, 20'261'124, "decides what is called, and when the server is killed");

namespace alaya {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kWorkerNames[] = {"a", "b", "c"};
// Every so many cycles the directory is read whole while no server runs.
constexpr uint64_t kVerifyInterval = 5;

class KillLoopTest : public ServiceTest {
 protected:
  void SetUp() override {
    fs::create_directory(backup_directory_);
    StartServer(arguments_);
    ASSERT_OK(RegisterModel(client(), model_));
    workers_.emplace_back(KillWorkerOptions{.name = std::string(kWorkerNames[0]),
                                            .model = model_,
                                            .backup_directory = backup_directory_,
                                            .first_token = 1'000'000});
    workers_.emplace_back(KillWorkerOptions{.name = std::string(kWorkerNames[1]),
                                            .model = model_,
                                            .backup_directory = "",
                                            .first_token = 2'000'000});
    workers_.emplace_back(KillWorkerOptions{.name = std::string(kWorkerNames[2]),
                                            .model = model_,
                                            .backup_directory = "",
                                            .evictable = true,
                                            .first_token = 3'000'000});
  }

  void Work(uint64_t seed, std::chrono::microseconds lifetime) {
    const client::Client connected = client();
    std::vector<std::thread> threads;
    for (size_t i = 0; i < workers_.size(); ++i) {
      threads.emplace_back([&, i] {
        const Status ended = workers_[i].Run(connected, seed * 3 + i);
        // Anything else would be the server's fault, not its end.
        const bool died =
            ended.code() == StatusCode::kUnavailable || ended.code() == StatusCode::kCancelled;
        EXPECT_TRUE(died) << ended.ToString();
      });
    }
    std::this_thread::sleep_for(lifetime);
    CountMerges();
    server().Kill();
    for (std::thread& thread : threads) thread.join();
  }

  // As far as the server has told before it dies.
  void CountMerges() {
    const auto response = httplib::Client("http://" + server().metrics_address()).Get("/metrics");
    if (!response) return;
    constexpr std::string_view kName = "\nalaya_segment_merges_total{result=\"joined\"} ";
    const size_t found = response->body.find(kName);
    ASSERT_NE(found, std::string::npos);
    merge_count_ += std::stoul(response->body.substr(found + kName.size()));
  }

  // A server that does not even come up.
  void KillRecovery(std::chrono::milliseconds lifetime) {
    ServerProcessOptions options;
    options.data_directory = data_path();
    options.arguments = arguments_;
    options.start_timeout = lifetime;
    if (ServerProcess::Start(options).status().code() == StatusCode::kDeadlineExceeded) {
      ++killed_recoveries_;
    }
  }

  void Settle() {
    ASSERT_OK_AND_ASSIGN(const auto ids, ContextIds(client()));
    for (size_t i = 0; i < workers_.size(); ++i) {
      std::vector<std::string> own;
      std::ranges::copy_if(ids, std::back_inserter(own),
                           [&](const std::string& id) { return id.starts_with(kWorkerNames[i]); });
      ASSERT_OK(workers_[i].oracle().Settle(client(), own));
    }
    for (const auto& entry : fs::directory_iterator(data_path())) {
      // Being built by the server that runs now; a builder of indexes starts at once.
      const std::string name = entry.path().filename();
      EXPECT_TRUE(name == "LOCK" || name == "db" || name.starts_with("import-")) << name;
    }
  }

  void VerifyOffline(const std::string& directory) {
    const ProgramOutcome outcome = RunProgram(std::string(OFFLINE_PATH) + " verify " + directory);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  }

  const pb::Model model_ =
      MakeModel("fault/kill", {.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 64});
  const std::vector<std::string> arguments_ = {
      "--expiry-sweep-interval", "20ms", "--flat-index-min-tokens", "500",
      // Most chains have something to join.
      "--merge-segments-min", "2",
      // Room for all that must stay.
      "--disk-high-water", "80MiB", "--disk-eviction", "on", "--disk-low-water", "60MiB",
      "--disk-evict-label", "tier=cache"};
  const std::string backup_directory_ = directory() / "backups";
  std::vector<KillWorker> workers_;
  size_t killed_recoveries_ = 0;
  size_t merge_count_ = 0;
};

TEST_F(KillLoopTest, WhatWasAcknowledgedIsThereByteForByte) {
  const uint64_t first_seed = absl::GetFlag(FLAGS_seed);
  const uint64_t cycle_count = absl::GetFlag(FLAGS_cycles);
  fmt::print("seed {}, {} cycles\n", first_seed, cycle_count);
  for (uint64_t cycle = 1; cycle <= cycle_count; ++cycle) {
    SCOPED_TRACE("seed " + std::to_string(first_seed) + ", cycle " + std::to_string(cycle));
    std::mt19937_64 random(first_seed * 1'000'003 + cycle);
    Work(random(), std::chrono::microseconds(1000 + random() % 400'000));
    if (HasFailure()) return;
    for (KillWorker& worker : workers_) {
      for (const std::string& backup : worker.TakeBackups()) {
        VerifyOffline(backup);
        fs::remove_all(backup);
      }
    }
    if (cycle % kVerifyInterval == 0) VerifyOffline(data_path());
    if (random() % 3 == 0) KillRecovery(std::chrono::milliseconds(1 + random() % 120));
    StartServer(arguments_);
    if (HasFatalFailure()) return;
    Settle();
    if (HasFailure()) return;
  }
  size_t acknowledged = 0;
  std::map<std::string, size_t> counts;
  for (KillWorker& worker : workers_) {
    acknowledged += worker.oracle().acknowledged_count();
    for (const auto& [name, count] : worker.counts()) counts[name] += count;
  }
  EXPECT_GT(acknowledged, cycle_count);
  fmt::print("{} changes acknowledged, {} merges, {} recoveries killed;", acknowledged,
             merge_count_, killed_recoveries_);
  for (const auto& [name, count] : counts) fmt::print(" {} {}", name, count);
  fmt::print("\n");
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  absl::ParseCommandLine(argc, argv);
  return RUN_ALL_TESTS();
}
