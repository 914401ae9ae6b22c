// What encryption and keys cost an Attend on a warm stream.
//
//   security_bench [--tiny] [--tokens N] [--query-heads N] [--f32]
//
// Servers that differ in nothing else: two take plain connections from anybody, two want
// TLS and an API key; two of each, as a process keeps the luck of the memory that it was
// given. One session on each decodes over the same context; their requests take turns in
// short rounds, so that all see the same machine, and ask for full attention, so that no
// planner decides differently for one of them. Tensors are bf16, as models send them, or
// f32. Overhead is what the client saw minus the engine's own time. Processor time is that
// of all threads: what encryption takes of the cores, beside how long it makes anybody wait.

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
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
#include "tests/support/test_certificates.h"

namespace alaya {
namespace {

constexpr char kKey[] = "alaya_key-of-the-benchmark";

struct BenchPlan {
  size_t context_tokens = 4096;
  size_t rounds = 40;
  size_t requests_per_round = 100;
  uint32_t query_heads = 32;  // four times the key-value heads
  DType dtype = DType::kBF16;
};

// What was measured at the servers of one kind.
struct Samples {
  std::string_view name;
  std::vector<double> client_us;
  std::vector<double> engine_us;
  std::vector<double> overhead_us;
  double client_cpu_us = 0;
  double server_cpu_us = 0;
};

// A server, and one session on it that decodes.
struct Side {
  Samples* samples;
  std::unique_ptr<ServerProcess> server;
  std::optional<client::Client> client;
  std::string session;
  std::optional<client::BlockingAttendStream> stream;
};

// Of this process.
double ClientCpuUs() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto us = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
  };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

// Of another one, in the clock ticks that the kernel counts: fit for many requests only.
double ServerCpuUs(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  std::istringstream words(text.substr(text.rfind(')') + 1));
  constexpr int kWordsBefore = 11;  // proc(5): utime is the 14th of all
  std::string word;
  for (int i = 0; i < kWordsBefore; ++i) words >> word;
  double user_ticks = 0;
  double system_ticks = 0;
  words >> user_ticks >> system_ticks;
  return (user_ticks + system_ticks) * 1e6 / static_cast<double>(sysconf(_SC_CLK_TCK));
}

StatusOr<Side> StartSide(Samples* samples, const std::string& directory,
                         std::vector<std::string> arguments, const client::ClientOptions& options,
                         const KvSequence& sequence, size_t context_tokens) {
  Side side{.samples = samples, .server = {}, .client = {}, .session = {}, .stream = {}};
  ALAYA_ASSIGN_OR_RETURN(side.server, ServerProcess::Start({.data_directory = directory,
                                                            .arguments = std::move(arguments)}));
  ALAYA_ASSIGN_OR_RETURN(side.client,
                         client::Client::Connect(side.server->grpc_address(), options));
  ALAYA_RETURN_IF_ERROR(RegisterModel(*side.client, sequence.model()));
  const KvSequence context = sequence.Branch(context_tokens, context_tokens, /*seed=*/1);
  ALAYA_RETURN_IF_ERROR(Import(*side.client, context, "context").status());
  ALAYA_ASSIGN_OR_RETURN(side.session, OpenSession(*side.client, "context"));
  side.stream.emplace(side.client->AttendBlocking());
  return side;
}

Status Decode(const KvSequence& sequence, size_t position, Side* side) {
  pb::AttendItem item = sequence.AskAndAppend(side->session, /*layer=*/0, position);
  item.mutable_options()->mutable_full();
  const auto start = std::chrono::steady_clock::now();
  ALAYA_ASSIGN_OR_RETURN(const pb::AttendResult result, side->stream->AttendOne(std::move(item)));
  const std::chrono::duration<double, std::micro> seen = std::chrono::steady_clock::now() - start;
  const double engine_us = result.stats().engine_microseconds();
  side->samples->client_us.push_back(seen.count());
  side->samples->engine_us.push_back(engine_us);
  side->samples->overhead_us.push_back(seen.count() - engine_us);
  return OkStatus();
}

Status Run(const BenchPlan& plan) {
  const TempDirectory directory;
  const TestAuthority authority(directory / "authority");
  const TestCertificate certificate = authority.Issue("server");
  const std::string hash =
      RunProgram("printf %s '" + std::string(kKey) + "' | sha256sum").output.substr(0, 64);
  std::ofstream(directory / "keys") << "bench default admin sha256:" << hash << "\n";
  client::ClientOptions secure;
  secure.tls.emplace().ca_file = authority.ca_file();
  secure.api_key = kKey;

  const size_t request_count = plan.rounds * plan.requests_per_round;
  const KvSequence sequence(MakeModel("bench", {.layers = 1,
                                                .query_heads = plan.query_heads,
                                                .kv_heads = plan.query_heads / 4,
                                                .dtype = plan.dtype}),
                            plan.context_tokens + request_count,
                            /*seed=*/1);
  Samples plain{.name = "plain TCP", .client_us = {}, .engine_us = {}, .overhead_us = {}};
  Samples secured{.name = "TLS and key", .client_us = {}, .engine_us = {}, .overhead_us = {}};
  std::vector<Side> sides;
  for (Samples* samples : {&plain, &secured, &secured, &plain}) {
    std::vector<std::string> arguments;
    if (samples == &secured) {
      arguments = {"--tls-cert",      certificate.certificate, "--tls-key", certificate.private_key,
                   "--api-key-files", directory / "keys"};
    }
    ALAYA_ASSIGN_OR_RETURN(
        Side side,
        StartSide(samples, directory / fmt::format("data{}", sides.size()), std::move(arguments),
                  samples == &secured ? secure : client::ClientOptions{}, sequence,
                  plan.context_tokens));
    sides.push_back(std::move(side));
  }

  for (size_t round = 0; round < plan.rounds; ++round) {
    for (Side& side : sides) {
      const double client_cpu_us = ClientCpuUs();
      const double server_cpu_us = ServerCpuUs(side.server->pid());
      for (size_t i = 0; i < plan.requests_per_round; ++i) {
        const size_t position = plan.context_tokens + round * plan.requests_per_round + i;
        ALAYA_RETURN_IF_ERROR(Decode(sequence, position, &side));
      }
      side.samples->client_cpu_us += ClientCpuUs() - client_cpu_us;
      side.samples->server_cpu_us += ServerCpuUs(side.server->pid()) - server_cpu_us;
    }
  }
  fmt::print("{} tokens, {} requests each; microseconds\n{:>12} {:>19} {:>19} {:>19} {:>22}\n",
             plan.context_tokens, plain.client_us.size(), "", "client p50  p99", "engine p50  p99",
             "overhead p50  p99", "processor: client server");
  for (const Samples* samples : {&plain, &secured}) {
    const auto requests = static_cast<double>(samples->client_us.size());
    fmt::print("{:>12}", samples->name);
    for (const auto* values : {&samples->client_us, &samples->engine_us, &samples->overhead_us}) {
      fmt::print(" {:>9.1f} {:>9.1f}", Percentile(*values, 0.5), Percentile(*values, 0.99));
    }
    fmt::print(" {:>13.1f} {:>10.1f}\n", samples->client_cpu_us / requests,
               samples->server_cpu_us / requests);
  }
  const auto added = [&](std::vector<double> Samples::*values) {
    return Percentile(secured.*values, 0.5) - Percentile(plain.*values, 0.5);
  };
  fmt::print("TLS and key add at p50: client {:.1f}, engine {:.1f}, overhead {:.1f}\n",
             added(&Samples::client_us), added(&Samples::engine_us), added(&Samples::overhead_us));
  return OkStatus();
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  alaya::BenchPlan plan;
  bool is_f32 = false;
  CLI::App app("What TLS and an API key add to an Attend on a warm stream.");
  app.add_flag_callback(
      "--tiny", [&] { plan = {.context_tokens = 512, .rounds = 2, .requests_per_round = 5}; },
      alaya::kTinyHelp);
  app.add_option("--tokens", plan.context_tokens, "Of the context")->capture_default_str();
  app.add_option("--query-heads", plan.query_heads, "Of the model; a multiple of 4")
      ->capture_default_str();
  app.add_flag("--f32", is_f32, "Tensors of f32 instead of bf16");
  return alaya::BenchmarkMain(app, argc, argv, [&] {
    if (is_f32) plan.dtype = alaya::DType::kF32;
    return alaya::Run(plan);
  });
}
