// What an inference engine sees of Attend: latency through the real server over
// loopback, and how much of it is transport.
//
//   attend_bench [--tiny] [--awake]
//
// Sessions decode at the same time, each on a stream of its own and one request at a
// time, with the standard shape (32 query heads, 8 kv heads of 128, bf16): a request
// carries one layer's query, key and value. Overhead is what the client saw minus the
// engine's own time for the same request: the client, gRPC both ways and the handlers.
//
// Half of that overhead is threads that wake up on cores that sleep, and what a sleeping
// core costs is the machine's affair: a virtual one has to ask its host. --awake keeps
// the cores from sleeping with threads that run only when nobody else wants to.

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/client.h"
#include "client/tensor.h"
#include "storage/types/status.h"
#include "tests/benchmarks/benchmark_main.h"
#include "tests/support/attention_workload.h"
#include "tests/support/quality.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_directory.h"

namespace alaya {
namespace {

namespace pb = ::alaya::v1;

// The only layer; with diffuse_layer_count 0 its heads are typical ones, not the diffuse
// heads of first layers.
constexpr uint32_t kLayer = 0;
constexpr size_t kWarmUpSteps = 5;

struct BenchPlan {
  std::vector<uint64_t> context_tokens = {4096, 32768};
  std::vector<size_t> session_counts = {1, 4, 16};
  size_t requests = 480;  // of all sessions together
  bool keep_awake = false;
};

// Threads that take the time that nobody else wants, one a core.
class AwakeCores {
 public:
  AwakeCores() {
    for (unsigned i = 0; i < std::thread::hardware_concurrency(); ++i) {
      threads_.emplace_back([](const std::stop_token& stop) {
        const sched_param parameters{};
        if (pthread_setschedparam(pthread_self(), SCHED_IDLE, &parameters) != 0) return;
        while (!stop.stop_requested()) {
        }
      });
    }
  }

 private:
  std::vector<std::jthread> threads_;
};

// One stored context and the decode steps that follow it.
struct DecodeWorkload {
  AttentionWorkload workload;
  std::string context_id;
  std::vector<pb::AttendItem> steps;  // without a session
};

struct Sample {
  double client_us = 0;
  double engine_us = 0;
  double checksum = 0;
};

pb::Model ToProto(const Model& model) {
  pb::Model proto;
  proto.set_name(model.name);
  proto.set_num_layers(model.num_layers);
  proto.set_num_query_heads(model.num_query_heads);
  proto.set_num_kv_heads(model.num_kv_heads);
  proto.set_head_dim(model.head_dim);
  proto.set_dtype(client::ToProto(model.dtype));
  return proto;
}

StatusOr<DecodeWorkload> ImportWorkload(const client::Client& client, uint64_t token_count,
                                        size_t step_count) {
  DecodeWorkload decode{AttentionWorkload({.model = StandardModel(1),
                                           .token_count = token_count,
                                           .seed = 7,
                                           .diffuse_layer_count = 0}),
                        "context-" + std::to_string(token_count),
                        {}};
  const Model& model = decode.workload.model();
  const auto view = [&](const std::vector<std::byte>& rows, size_t tokens) {
    return client::TensorView{model.dtype, tokens, model.num_kv_heads, model.head_dim, rows};
  };
  pb::RegisterModelRequest request;
  *request.mutable_model() = ToProto(model);
  ALAYA_RETURN_IF_ERROR(client.RegisterModel(request).status());

  pb::ImportContextRequest::Header header;
  header.set_model(model.name);
  header.set_context_id(decode.context_id);
  const std::vector<TokenId> tokens = decode.workload.Tokens({0, token_count});
  header.mutable_tokens()->Assign(tokens.begin(), tokens.end());
  ALAYA_ASSIGN_OR_RETURN(auto importer, client.ImportContext(header));
  const LayerTokens layer = decode.workload.Layer(kLayer, {0, token_count});
  ALAYA_RETURN_IF_ERROR(importer.AppendChunk({.layer = kLayer,
                                              .token_begin = 0,
                                              .key = view(layer.keys, token_count),
                                              .value = view(layer.values, token_count),
                                              .query = {}}));
  ALAYA_RETURN_IF_ERROR(importer.Commit().status());

  for (uint64_t position = token_count; position < token_count + step_count; ++position) {
    pb::AttendItem& item = decode.steps.emplace_back();
    item.set_layer(kLayer);
    const LayerTokens added = decode.workload.Layer(kLayer, {position, position + 1});
    ALAYA_ASSIGN_OR_RETURN(*item.mutable_query(),
                           client::MakeTensor(decode.workload.Queries(kLayer, position), 1,
                                              model.num_query_heads, model.head_dim, model.dtype));
    ALAYA_ASSIGN_OR_RETURN(*item.mutable_key(), client::MakeTensor(view(added.keys, 1)));
    ALAYA_ASSIGN_OR_RETURN(*item.mutable_value(), client::MakeTensor(view(added.values, 1)));
  }
  return decode;
}

// Decodes `step_count` steps in a session of its own.
StatusOr<std::vector<Sample>> DecodeSession(const client::Client& client,
                                            const DecodeWorkload& decode,
                                            const pb::AttendOptions& options, size_t step_count) {
  pb::CreateSessionRequest create;
  create.set_context_id(decode.context_id);
  ALAYA_ASSIGN_OR_RETURN(const auto session, client.CreateSession(create));
  client::BlockingAttendStream stream = client.AttendBlocking();
  std::vector<Sample> samples;
  for (size_t step = 0; step < kWarmUpSteps + step_count; ++step) {
    pb::AttendItem item = decode.steps[step];
    item.set_session_id(session.session_id());
    *item.mutable_options() = options;
    const auto start = std::chrono::steady_clock::now();
    ALAYA_ASSIGN_OR_RETURN(const pb::AttendResult result, stream.AttendOne(std::move(item)));
    const std::chrono::duration<double, std::micro> seen = std::chrono::steady_clock::now() - start;
    if (step < kWarmUpSteps) continue;
    ALAYA_ASSIGN_OR_RETURN(const auto log_sum_exp, client::ToFloats(result.log_sum_exp()));
    samples.push_back({seen.count(), result.stats().engine_microseconds(), log_sum_exp.front()});
  }
  pb::CloseSessionRequest close;
  close.set_session_id(session.session_id());
  ALAYA_RETURN_IF_ERROR(client.CloseSession(close).status());
  return samples;
}

// The way there and back of a request that the engine refuses at once: what overhead
// is on this machine at this moment without anybody's attention.
Status PrintRoundTrip(const client::Client& client, const DecodeWorkload& decode) {
  client::BlockingAttendStream stream = client.AttendBlocking();
  std::vector<double> round_trip_us;
  for (pb::AttendItem item : decode.steps) {
    item.set_session_id("unknown");
    const auto start = std::chrono::steady_clock::now();
    const Status status = stream.AttendOne(std::move(item)).status();
    const std::chrono::duration<double, std::micro> seen = std::chrono::steady_clock::now() - start;
    if (status.code() != StatusCode::kNotFound) return status;
    round_trip_us.push_back(seen.count());
  }
  fmt::print("round trip of a refused request: p50 {:.0f}, p99 {:.0f}\n",
             Percentile(round_trip_us, 0.5), Percentile(round_trip_us, 0.99));
  return OkStatus();
}

// Sessions at the same time; one row of the table.
Status RunRow(const client::Client& client, const DecodeWorkload& decode,
              const pb::AttendOptions& options, size_t session_count, size_t request_count) {
  const size_t step_count = std::max<size_t>(1, request_count / session_count);
  std::vector<StatusOr<std::vector<Sample>>> results(session_count, std::vector<Sample>());
  std::vector<std::thread> threads;
  const auto start = std::chrono::steady_clock::now();
  for (auto& result : results) {
    threads.emplace_back([&] { result = DecodeSession(client, decode, options, step_count); });
  }
  for (std::thread& thread : threads) thread.join();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;

  std::vector<double> client_us;
  std::vector<double> engine_us;
  std::vector<double> overhead_us;
  double checksum = 0;
  for (const auto& result : results) {
    ALAYA_RETURN_IF_ERROR(result.status());
    for (const Sample& sample : *result) {
      client_us.push_back(sample.client_us);
      engine_us.push_back(sample.engine_us);
      overhead_us.push_back(sample.client_us - sample.engine_us);
      checksum += sample.checksum;
    }
  }
  const double per_second =
      static_cast<double>(session_count * (step_count + kWarmUpSteps)) / elapsed.count();
  fmt::print(
      "{:>6} {:>8} {:>9.0f} {:>9.0f} {:>9.0f} {:>9.0f} {:>9.0f} {:>9.0f} {:>9.0f} {:>10.3f}\n",
      options.has_full() ? "full" : "dipr", session_count, Percentile(client_us, 0.5),
      Percentile(client_us, 0.99), Percentile(engine_us, 0.5), Percentile(engine_us, 0.99),
      Percentile(overhead_us, 0.5), Percentile(overhead_us, 0.99), per_second,
      checksum / static_cast<double>(client_us.size()));
  std::fflush(stdout);
  return OkStatus();
}

Status RunTransport(const std::string& name, const std::string& listen, const BenchPlan& plan) {
  const TempDirectory data;
  ServerProcessOptions options;
  options.data_directory = data / "data";
  options.arguments = {"--memory-budget", "2GiB"};
  options.grpc_listen = listen;
  ALAYA_ASSIGN_OR_RETURN(const auto server, ServerProcess::Start(options));
  ALAYA_ASSIGN_OR_RETURN(const auto client, client::Client::Connect(server->grpc_address()));

  pb::AttendOptions full;
  full.mutable_full();
  pb::AttendOptions dipr;
  dipr.mutable_dipr();
  for (const uint64_t token_count : plan.context_tokens) {
    ALAYA_ASSIGN_OR_RETURN(const DecodeWorkload decode,
                           ImportWorkload(client, token_count, plan.requests + kWarmUpSteps));
    fmt::print("\n{}, {} tokens; microseconds\n", name, token_count);
    ALAYA_RETURN_IF_ERROR(PrintRoundTrip(client, decode));
    fmt::print("{:>6} {:>8} {:>19} {:>19} {:>19} {:>9} {:>10}\n", "", "", "client p50  p99",
               "engine p50  p99", "overhead p50  p99", "attends/s", "mean lse");
    for (const pb::AttendOptions& target : {full, dipr}) {
      for (const size_t session_count : plan.session_counts) {
        ALAYA_RETURN_IF_ERROR(RunRow(client, decode, target, session_count, plan.requests));
      }
    }
  }
  ALAYA_ASSIGN_OR_RETURN(const int exit_status, server->Terminate());
  if (exit_status != 0) return Internal("the server ended with " + std::to_string(exit_status));
  return OkStatus();
}

Status Run(const BenchPlan& plan) {
  const TempDirectory sockets;
  std::optional<AwakeCores> awake;
  if (plan.keep_awake) awake.emplace();
  ALAYA_RETURN_IF_ERROR(RunTransport("TCP loopback", "127.0.0.1:0", plan));
  return RunTransport("Unix socket", "unix:" + (sockets / "socket"), plan);
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  alaya::BenchPlan plan;
  CLI::App app("Attend as a client sees it through the real server, and the share of transport.");
  app.add_flag("--awake", plan.keep_awake, "Keep the cores from halting between requests");
  app.add_flag_callback(
      "--tiny",
      [&] {
        plan.context_tokens = {1024};
        plan.session_counts = {1, 4};
        plan.requests = 16;
      },
      alaya::kTinyHelp);
  return alaya::BenchmarkMain(app, argc, argv, [&] { return alaya::Run(plan); });
}
