// What one tenant notices of another's load.
//
//   fairness_bench [--tiny] [--check FACTOR]
//
// One session decodes alone, then while 64 sessions of another tenant do the same as fast as
// they can, then while those belong to its own tenant, which is what sharing without lanes would
// be. All attend to the same number of tokens. --check fails if the p99 beside the other tenant is
// more than FACTOR times the p99 alone.

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/client.h"
#include "tests/benchmarks/benchmark_main.h"
#include "tests/integration/kv_sequence.h"
#include "tests/integration/service_calls.h"
#include "tests/support/quality.h"
#include "tests/support/run_program.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_directory.h"

namespace alaya {
namespace {

constexpr char kQuietKey[] = "alaya_quiet-tenant";
constexpr char kBusyKey[] = "alaya_busy-tenant";

struct BenchPlan {
  size_t context_tokens = 32'768;
  size_t busy_sessions = 64;
  size_t requests = 600;
  double factor_max = 0;  // 0: not checked
};

std::string KeyLine(const std::string& tenant, const std::string& key) {
  const std::string hash = RunProgram("printf %s '" + key + "' | sha256sum").output.substr(0, 64);
  return tenant + " " + tenant + " admin sha256:" + hash + "\n";
}

pb::AttendItem Question(const KvSequence& sequence, const std::string& session) {
  pb::AttendItem item = sequence.Ask(session, /*layer=*/0, sequence.token_count() - 1);
  item.mutable_options()->mutable_full();
  return item;
}

// Sessions that ask as fast as they are answered, until this goes.
class Crowd {
 public:
  Crowd(const client::Client& client, const KvSequence& sequence, size_t session_count) {
    for (size_t i = 0; i < session_count; ++i) {
      threads_.emplace_back([this, &client, &sequence] {
        const auto session = OpenSession(client, "context");
        auto stream = client.AttendBlocking();
        while (session.ok() && !stop_) {
          if (!stream.AttendOne(Question(sequence, *session)).ok()) break;
          ++answered_;
        }
        if (session.ok()) CloseSession(client, *session).IgnoreError();
      });
    }
  }
  ~Crowd() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
  }
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;

  size_t answered() const { return answered_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<size_t> answered_{0};
  std::vector<std::thread> threads_;
};

// Latencies of one session, in microseconds.
StatusOr<std::vector<double>> Measure(const client::Client& client, const KvSequence& sequence,
                                      size_t request_count) {
  ALAYA_ASSIGN_OR_RETURN(const std::string session, OpenSession(client, "context"));
  auto stream = client.AttendBlocking();
  std::vector<double> latencies_us;
  for (size_t i = 0; i < request_count; ++i) {
    pb::AttendItem item = Question(sequence, session);
    const auto start = std::chrono::steady_clock::now();
    ALAYA_RETURN_IF_ERROR(stream.AttendOne(std::move(item)).status());
    latencies_us.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
            .count());
  }
  ALAYA_RETURN_IF_ERROR(CloseSession(client, session));
  return latencies_us;
}

void Print(const char* name, const std::vector<double>& latencies_us, size_t others_answered) {
  fmt::print("{:>42} {:>10.0f} {:>10.0f} {:>12}\n", name, Percentile(latencies_us, 0.5),
             Percentile(latencies_us, 0.99), others_answered);
  std::fflush(stdout);
}

Status Run(const BenchPlan& plan) {
  const TempDirectory directory;
  std::ofstream(directory / "keys") << KeyLine("quiet", kQuietKey) << KeyLine("busy", kBusyKey);
  ALAYA_ASSIGN_OR_RETURN(
      const auto server,
      ServerProcess::Start({.data_directory = directory / "data",
                            .arguments = {"--api-key-files", directory / "keys"}}));
  client::ClientOptions quiet_options;
  quiet_options.api_key = kQuietKey;
  client::ClientOptions busy_options;
  busy_options.api_key = kBusyKey;
  ALAYA_ASSIGN_OR_RETURN(const auto quiet,
                         client::Client::Connect(server->grpc_address(), quiet_options));
  ALAYA_ASSIGN_OR_RETURN(const auto busy,
                         client::Client::Connect(server->grpc_address(), busy_options));
  const KvSequence sequence(MakeModel("bench", {.layers = 1}), plan.context_tokens, /*seed=*/3);
  ALAYA_RETURN_IF_ERROR(RegisterModel(quiet, sequence.model()));
  for (const auto* client : {&quiet, &busy}) {
    ALAYA_RETURN_IF_ERROR(Import(*client, sequence, "context").status());
  }

  fmt::print(
      "{} tokens, full attention, {} busy sessions; microseconds\n{:>42} {:>10} {:>10} {:>12}\n",
      plan.context_tokens, plan.busy_sessions, "one session decodes", "p50", "p99",
      "others' steps");
  ALAYA_RETURN_IF_ERROR(Measure(quiet, sequence, plan.requests / 10).status());  // warm
  ALAYA_ASSIGN_OR_RETURN(const auto alone, Measure(quiet, sequence, plan.requests));
  Print("alone", alone, 0);
  double beside_p99 = 0;
  {
    const Crowd crowd(busy, sequence, plan.busy_sessions);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    const size_t before = crowd.answered();
    ALAYA_ASSIGN_OR_RETURN(const auto beside, Measure(quiet, sequence, plan.requests));
    Print("beside another tenant's busy sessions", beside, crowd.answered() - before);
    beside_p99 = Percentile(beside, 0.99);
  }
  {
    const Crowd crowd(quiet, sequence, plan.busy_sessions);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    const size_t before = crowd.answered();
    ALAYA_ASSIGN_OR_RETURN(const auto among, Measure(quiet, sequence, plan.requests / 10));
    Print("among its own tenant's busy sessions", among, crowd.answered() - before);
  }
  const double factor = beside_p99 / Percentile(alone, 0.99);
  fmt::print("another tenant's sessions raise the p99 {:.1f} times\n", factor);
  if (plan.factor_max > 0 && factor > plan.factor_max) {
    return ResourceExhausted(fmt::format("{:.1f} times is more than {}", factor, plan.factor_max));
  }
  return OkStatus();
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  alaya::BenchPlan plan;
  CLI::App app("What one tenant notices of another's busy sessions.");
  app.add_option("--check", plan.factor_max, "Fail if they raise the p99 by more than this");
  app.add_flag_callback(
      "--tiny",
      [&] {
        plan.context_tokens = 2048;
        plan.busy_sessions = 4;
        plan.requests = 20;
      },
      alaya::kTinyHelp);
  return alaya::BenchmarkMain(app, argc, argv, [&] { return alaya::Run(plan); });
}
