// How soon a stored context answers: from CreateSession to the first Attend of every
// layer, with the context on disk only and in memory, through the real server. Beside
// it, in the same run and from the same files: how long it takes to read all of the
// context's keys and values, as a cache that brings KV back whole has to.
//
// From memory: all keys and values and the index are there. Cold: the server is started anew and
// the kernel's page cache is dropped before every run, for the server as for the plain reading.
// Without the right to drop it the cold figures mean nothing, and the program says so and ends.
//
// --crowd: sixteen sessions decode over sixteen contexts that together are four times
// the memory budget: errors, throughput, what the memory tier and the process take.
//
// --page-sizes measures the disk alone: random reads of several sizes, as one thread
// and as sixteen.

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "client/client.h"
#include "client/tensor.h"
#include "index/kernels/encoding.h"
#include "storage/types/status.h"
#include "tests/benchmarks/benchmark_main.h"
#include "tests/support/attention_workload.h"
#include "tests/support/parallel_for.h"
#include "tests/support/quality.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_directory.h"

namespace alaya {
namespace {

namespace pb = ::alaya::v1;
using std::chrono::steady_clock;

constexpr char kContext[] = "context";
constexpr std::chrono::seconds kSettleTime{1};
constexpr int kCrowdCount = 16;
constexpr uint64_t kCrowdBudgetShare = 4;
// Different steps that a session of the crowd takes in turn.
constexpr uint64_t kCrowdPositions = 8;

struct BenchPlan {
  uint64_t token_count = 131072;
  uint32_t layer_count = 4;
  int cold_runs = 5;
  int warm_runs = 20;
  std::string memory_budget = "4GiB";
  std::string data_directory;  // empty: a temporary one
  std::vector<std::string> targets = {"dipr", "dipr + rest", "open", "full"};
  int crowd_steps = 0;  // of each session, in two halves; 0: the other measurement
  bool page_sizes = false;
  bool drop_page_cache = true;  // false: cold figures mean nothing
};

double MillisecondsSince(steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(steady_clock::now() - begin).count();
}

// False without the right to do so.
bool DropPageCache() {
  sync();
  std::ofstream control("/proc/sys/vm/drop_caches");
  control << "3" << std::flush;
  return control.good();
}

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

class ColdContextBench {
 public:
  explicit ColdContextBench(BenchPlan plan)
      : plan_(std::move(plan)),
        workload_({.model = StandardModel(plan_.layer_count),
                   .token_count = plan_.token_count,
                   .seed = 7,
                   .diffuse_layer_count = 0}) {
    if (plan_.data_directory.empty()) plan_.data_directory = temporary_ / "data";
  }

  Status Run() {
    ALAYA_RETURN_IF_ERROR(StartServer());
    if (!IsStored()) ALAYA_RETURN_IF_ERROR(Import({kContext}));
    ALAYA_RETURN_IF_ERROR(WaitForIndexes());
    ALAYA_ASSIGN_OR_RETURN(steps_, MakeSteps(plan_.token_count));
    ALAYA_RETURN_IF_ERROR(StopServer());
    fmt::print("{} tokens, {} layers, {} MiB of keys and values\n", plan_.token_count,
               plan_.layer_count, kv_bytes() >> 20);
    fmt::print("{:<22} {:>10} {:>10} {:>10} {:>10} {:>10} {:>12}\n", "", "median ms", "min", "max",
               "read MiB", "whole / it", "checksum");
    ALAYA_RETURN_IF_ERROR(MeasureReading());
    for (const std::string& target : plan_.targets) ALAYA_RETURN_IF_ERROR(MeasureCold(target));
    for (const std::string& target : plan_.targets) ALAYA_RETURN_IF_ERROR(MeasureWarm(target));
    return OkStatus();
  }

  Status RunCrowd() {
    const uint64_t budget_bytes = kCrowdCount * kv_bytes() / kCrowdBudgetShare;
    plan_.memory_budget = std::to_string(budget_bytes);
    ALAYA_RETURN_IF_ERROR(StartServer());
    std::vector<std::string> names;
    for (int i = 0; i < kCrowdCount; ++i) names.push_back(fmt::format("context-{}", i));
    ALAYA_RETURN_IF_ERROR(Import(names));
    ALAYA_RETURN_IF_ERROR(WaitForIndexes());
    ALAYA_RETURN_IF_ERROR(StopServer());
    ALAYA_RETURN_IF_ERROR(StartServer());
    for (uint64_t i = 0; i < kCrowdPositions; ++i) {
      ALAYA_ASSIGN_OR_RETURN(auto items, MakeSteps(plan_.token_count + i));
      crowd_steps_.push_back(std::move(items));
    }
    std::vector<std::string> sessions;
    for (const std::string& name : names) {
      pb::CreateSessionRequest create;
      create.set_context_id(name);
      ALAYA_ASSIGN_OR_RETURN(const auto session, client_->CreateSession(create));
      sessions.push_back(session.session_id());
    }
    fmt::print("{} sessions over as many contexts of {} tokens, {} layers: {} MiB, budget {} MiB\n",
               kCrowdCount, plan_.token_count, plan_.layer_count, kCrowdCount * kv_bytes() >> 20,
               budget_bytes >> 20);
    fmt::print("{:>10} {:>10} {:>10} {:>10} {:>12} {:>12} {:>12}\n", "steps", "steps / s", "p50 ms",
               "p99 ms", "tier MiB", "read MiB", "process MiB");
    for (int half = 0; half < 2; ++half) ALAYA_RETURN_IF_ERROR(DecodeTogether(sessions));
    return StopServer();
  }

 private:
  const Model& model() const { return workload_.model(); }
  uint64_t kv_bytes() const { return plan_.token_count * model().token_bytes(); }

  Status StartServer() {
    ServerProcessOptions options;
    options.data_directory = plan_.data_directory;
    options.arguments = {"--memory-budget", plan_.memory_budget};
    ALAYA_ASSIGN_OR_RETURN(server_, ServerProcess::Start(options));
    ALAYA_ASSIGN_OR_RETURN(auto client, client::Client::Connect(server_->grpc_address()));
    client_ = std::make_unique<client::Client>(std::move(client));
    return OkStatus();
  }
  Status StopServer() {
    client_.reset();
    ALAYA_ASSIGN_OR_RETURN(const int exit_status, server_->Terminate());
    server_.reset();
    if (exit_status == 0) return OkStatus();
    return Internal(fmt::format("the server ended with {}", exit_status));
  }

  client::TensorView View(const std::vector<std::byte>& rows, size_t tokens) const {
    return {model().dtype, tokens, model().num_kv_heads, model().head_dim, rows};
  }

  // By an earlier run in the same directory.
  bool IsStored() const {
    pb::GetContextRequest request;
    request.set_context_id(kContext);
    return client_->GetContext(request).ok();
  }

  // Contexts of the same keys and values, with tokens of their own.
  Status Import(const std::vector<std::string>& names) {
    pb::RegisterModelRequest request;
    *request.mutable_model() = ToProto(model());
    ALAYA_RETURN_IF_ERROR(client_->RegisterModel(request).status());
    const std::vector<uint64_t> sampled =
        workload_.SampledPositions(SampledPositionCount(plan_.token_count));
    std::vector<LayerTokens> layers;
    for (uint32_t layer = 0; layer < plan_.layer_count; ++layer) {
      layers.push_back(workload_.Layer(layer, {0, plan_.token_count}));
    }
    for (size_t i = 0; i < names.size(); ++i) {
      pb::ImportContextRequest::Header header;
      header.set_model(model().name);
      header.set_context_id(names[i]);
      const std::vector<TokenId> tokens = workload_.Tokens({i, i + plan_.token_count});
      header.mutable_tokens()->Assign(tokens.begin(), tokens.end());
      ALAYA_ASSIGN_OR_RETURN(auto importer, client_->ImportContext(header));
      for (uint32_t layer = 0; layer < plan_.layer_count; ++layer) {
        const LayerTokens& kv = layers[layer];
        const std::vector<std::byte> queries = QueriesAt(layer, sampled);
        ALAYA_RETURN_IF_ERROR(importer.AppendChunk(
            {.layer = layer,
             .token_begin = 0,
             .key = View(kv.keys, plan_.token_count),
             .value = View(kv.values, plan_.token_count),
             .query = TensorView{model().dtype, sampled.size(), model().num_query_heads,
                                 model().head_dim, queries}}));
      }
      ALAYA_RETURN_IF_ERROR(importer.Commit().status());
    }
    return OkStatus();
  }

  std::vector<std::byte> QueriesAt(uint32_t layer, std::span<const uint64_t> positions) const {
    const size_t row_bytes =
        size_t{model().num_query_heads} * model().head_dim * ElementBytes(model().dtype);
    std::vector<std::byte> queries(positions.size() * row_bytes);
    ParallelFor(positions.size(), [&](size_t i) {
      EncodeElements(workload_.Queries(layer, positions[i]), model().dtype,
                     std::span(queries).subspan(i * row_bytes, row_bytes));
    });
    return queries;
  }

  Status WaitForIndexes() {
    for (;;) {
      ALAYA_ASSIGN_OR_RETURN(const auto stats, client_->GetStats());
      const pb::IndexBuildStats& builds = stats.index_builds();
      if (builds.failed() > 0) return Internal("an index could not be built");
      if (builds.pending() + builds.running() == 0) return OkStatus();
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }

  // The decode step at a position, an item per layer, without a session.
  StatusOr<std::vector<pb::AttendItem>> MakeSteps(uint64_t position) const {
    std::vector<pb::AttendItem> items;
    for (uint32_t layer = 0; layer < plan_.layer_count; ++layer) {
      pb::AttendItem& item = items.emplace_back();
      item.set_layer(layer);
      const LayerTokens added = workload_.Layer(layer, {position, position + 1});
      ALAYA_ASSIGN_OR_RETURN(
          *item.mutable_query(),
          client::MakeTensor(workload_.Queries(layer, position), 1, model().num_query_heads,
                             model().head_dim, model().dtype));
      ALAYA_ASSIGN_OR_RETURN(*item.mutable_key(), client::MakeTensor(View(added.keys, 1)));
      ALAYA_ASSIGN_OR_RETURN(*item.mutable_value(), client::MakeTensor(View(added.values, 1)));
    }
    return items;
  }

  static pb::AttendOptions OptionsOf(std::string_view target) {
    pb::AttendOptions options;
    if (target == "full") options.mutable_full();
    if (target.starts_with("dipr")) {
      options.mutable_dipr();
      options.set_tail_estimate(target != "dipr");
    }
    return options;
  }

  struct FirstAnswer {
    double ms = 0;
    uint64_t loaded_bytes = 0;
    double checksum = 0;
  };

  static const pb::TierStats& MemoryTier(const pb::GetStatsResponse& stats) {
    return *std::ranges::find(stats.tiers(), pb::TIER_MEMORY, &pb::TierStats::tier);
  }
  StatusOr<uint64_t> LoadedBytes() const {
    ALAYA_ASSIGN_OR_RETURN(const auto stats, client_->GetStats());
    return MemoryTier(stats).loaded_bytes();
  }

  // From CreateSession to the answer of the last layer.
  StatusOr<FirstAnswer> AnswerFirst(const pb::AttendOptions& options) {
    FirstAnswer answer;
    ALAYA_ASSIGN_OR_RETURN(const uint64_t before, LoadedBytes());
    pb::CreateSessionRequest create;
    create.set_context_id(kContext);
    const auto begin = steady_clock::now();
    ALAYA_ASSIGN_OR_RETURN(const auto session, client_->CreateSession(create));
    client::BlockingAttendStream stream = client_->AttendBlocking();
    for (pb::AttendItem item : steps_) {
      item.set_session_id(session.session_id());
      *item.mutable_options() = options;
      ALAYA_ASSIGN_OR_RETURN(const pb::AttendResult result, stream.AttendOne(std::move(item)));
      ALAYA_ASSIGN_OR_RETURN(const auto log_sum_exp, client::ToFloats(result.log_sum_exp()));
      answer.checksum += static_cast<double>(log_sum_exp.front());
    }
    answer.ms = MillisecondsSince(begin);
    ALAYA_RETURN_IF_ERROR(stream.Close());
    pb::CloseSessionRequest close;
    close.set_session_id(session.session_id());
    ALAYA_RETURN_IF_ERROR(client_->CloseSession(close).status());
    ALAYA_ASSIGN_OR_RETURN(const uint64_t after, LoadedBytes());
    answer.loaded_bytes = after - before;
    return answer;
  }

  void Print(const std::string& name, std::vector<double> ms, uint64_t bytes, double checksum) {
    const double median = Percentile(ms, 0.5);
    if (whole_ms_ == 0) whole_ms_ = median;
    fmt::print("{:<22} {:>10.1f} {:>10.1f} {:>10.1f} {:>10} {:>10.2f} {:>12.4f}\n", name, median,
               std::ranges::min(ms), std::ranges::max(ms), bytes >> 20, whole_ms_ / median,
               checksum);
    std::fflush(stdout);
  }

  // As many bytes as the context has of keys and values, from the store's files, in
  // the way that is fastest on most disks: in order, 1 MiB at a time, by four threads.
  Status MeasureReading() {
    std::vector<double> ms;
    for (int run = 0; run < plan_.cold_runs; ++run) {
      ALAYA_RETURN_IF_ERROR(MakeCold());
      const auto begin = steady_clock::now();
      ALAYA_RETURN_IF_ERROR(ReadFiles());
      ms.push_back(MillisecondsSince(begin));
    }
    Print("plain reading, whole", ms, kv_bytes(), 0);
    return OkStatus();
  }

  Status MakeCold() const {
    if (!plan_.drop_page_cache || DropPageCache()) return OkStatus();
    return FailedPrecondition("cannot drop the kernel's page cache");
  }

  Status ReadFiles() const {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(plan_.data_directory + "/db")) {
      if (entry.path().extension() == ".sst") paths.push_back(entry.path().string());
    }
    std::ranges::sort(paths);
    std::atomic<size_t> next{0};
    std::atomic<uint64_t> bytes{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        std::vector<char> buffer(size_t{1} << 20);
        while (bytes.load() < kv_bytes()) {
          const size_t path = next.fetch_add(1);
          if (path >= paths.size()) return;
          const int file = open(paths[path].c_str(), O_RDONLY | O_CLOEXEC);
          if (file < 0) return;
          for (;;) {
            const ssize_t count = read(file, buffer.data(), buffer.size());
            if (count <= 0 || bytes.fetch_add(static_cast<uint64_t>(count)) >= kv_bytes()) break;
          }
          close(file);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    if (bytes.load() >= kv_bytes()) return OkStatus();
    return Internal("the store's files are shorter than its keys and values");
  }

  Status MeasureCold(std::string_view target) {
    std::vector<double> ms;
    FirstAnswer answer;
    for (int run = 0; run < plan_.cold_runs; ++run) {
      ALAYA_RETURN_IF_ERROR(StartServer());
      // The context is cold, not the server: it has made memory ready by then.
      std::this_thread::sleep_for(kSettleTime);
      ALAYA_RETURN_IF_ERROR(MakeCold());
      ALAYA_ASSIGN_OR_RETURN(answer, AnswerFirst(OptionsOf(target)));
      ms.push_back(answer.ms);
      ALAYA_RETURN_IF_ERROR(StopServer());
    }
    Print(fmt::format("disk, {}", target), ms, answer.loaded_bytes, answer.checksum);
    return OkStatus();
  }

  Status MeasureWarm(std::string_view target) {
    ALAYA_RETURN_IF_ERROR(StartServer());
    std::vector<double> ms;
    // All of it is in memory then; what a sparse target reads of it would be a fifth.
    ALAYA_ASSIGN_OR_RETURN(FirstAnswer answer, AnswerFirst(OptionsOf("full")));
    for (int run = 0; run < plan_.warm_runs + 2; ++run) {
      ALAYA_ASSIGN_OR_RETURN(answer, AnswerFirst(OptionsOf(target)));
      if (run >= 2) ms.push_back(answer.ms);
    }
    Print(fmt::format("memory, {}", target), ms, answer.loaded_bytes, answer.checksum);
    return StopServer();
  }

  // The decode steps of one session of the crowd; appends what each took.
  Status Decode(const std::string& session_id, std::vector<double>* ms) {
    client::BlockingAttendStream stream = client_->AttendBlocking();
    for (int step = 0; step < plan_.crowd_steps / 2; ++step) {
      const auto begin = steady_clock::now();
      for (pb::AttendItem item : crowd_steps_[static_cast<size_t>(step) % crowd_steps_.size()]) {
        item.set_session_id(session_id);
        ALAYA_RETURN_IF_ERROR(stream.AttendOne(std::move(item)).status());
      }
      ms->push_back(MillisecondsSince(begin));
    }
    return stream.Close();
  }

  // Half of the steps of all sessions at a time.
  Status DecodeTogether(const std::vector<std::string>& sessions) {
    std::vector<std::vector<double>> ms(sessions.size());
    std::vector<Status> ended(sessions.size());
    std::vector<std::thread> threads;
    const auto begin = steady_clock::now();
    for (size_t i = 0; i < sessions.size(); ++i) {
      threads.emplace_back([&, i] { ended[i] = Decode(sessions[i], &ms[i]); });
    }
    for (std::thread& thread : threads) thread.join();
    const double seconds = MillisecondsSince(begin) / 1000;
    for (const Status& status : ended) ALAYA_RETURN_IF_ERROR(status);
    std::vector<double> all;
    for (const std::vector<double>& one : ms) all.insert(all.end(), one.begin(), one.end());
    ALAYA_ASSIGN_OR_RETURN(const auto stats, client_->GetStats());
    const pb::TierStats& memory = MemoryTier(stats);
    fmt::print("{:>10} {:>10.1f} {:>10.1f} {:>10.1f} {:>12} {:>12} {:>12}\n", all.size(),
               static_cast<double>(all.size()) / seconds, Percentile(all, 0.5),
               Percentile(all, 0.99), memory.used_bytes() >> 20, memory.loaded_bytes() >> 20,
               stats.process_resident_bytes() >> 20);
    return OkStatus();
  }

  BenchPlan plan_;
  const TempDirectory temporary_;
  const AttentionWorkload workload_;
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<client::Client> client_;
  std::vector<pb::AttendItem> steps_;
  std::vector<std::vector<pb::AttendItem>> crowd_steps_;
  double whole_ms_ = 0;
};

// Random reads of a file of 2 GiB through the page cache, which is empty.
Status MeasurePageSizes() {
  constexpr uint64_t kFileBytes = uint64_t{2} << 30;
  const TempDirectory directory;
  const std::string path = directory / "file";
  {
    std::vector<uint64_t> noise((size_t{1} << 20) / sizeof(uint64_t));
    std::mt19937_64 random(1);
    std::ofstream file(path, std::ios::binary);
    for (uint64_t bytes = 0; bytes < kFileBytes; bytes += size_t{1} << 20) {
      for (uint64_t& word : noise) word = random();
      file.write(reinterpret_cast<const char*>(noise.data()), size_t{1} << 20);
    }
    if (!file.good()) return Internal("cannot write " + path);
  }
  fmt::print("{:>8} {:>8} {:>12} {:>10}\n", "KiB", "threads", "reads / s", "MB / s");
  for (const size_t bytes : {4096U, 8192U, 16384U, 32768U, 65536U}) {
    for (const int thread_count : {1, 4, 16}) {
      if (!DropPageCache()) return FailedPrecondition("cannot drop the kernel's page cache");
      const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
      posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM);
      std::atomic<uint64_t> reads{0};
      const auto begin = steady_clock::now();
      std::vector<std::thread> threads;
      for (int i = 0; i < thread_count; ++i) {
        threads.emplace_back([&, i] {
          std::vector<char> buffer(bytes);
          std::mt19937_64 random(static_cast<uint64_t>(i) * 1000 + bytes);
          while (MillisecondsSince(begin) < 500) {
            const uint64_t offset = random() % (kFileBytes / bytes) * bytes;
            if (pread(file, buffer.data(), bytes, static_cast<off_t>(offset)) > 0) reads += 1;
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
      const double seconds = MillisecondsSince(begin) / 1000;
      close(file);
      const double per_second = static_cast<double>(reads.load()) / seconds;
      fmt::print("{:>8} {:>8} {:>12.0f} {:>10.0f}\n", bytes >> 10, thread_count, per_second,
                 per_second * static_cast<double>(bytes) / 1e6);
    }
  }
  return OkStatus();
}

Status Run(BenchPlan plan) {
  if (plan.page_sizes) return MeasurePageSizes();
  if (plan.crowd_steps > 0) return ColdContextBench(std::move(plan)).RunCrowd();
  return ColdContextBench(std::move(plan)).Run();
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  alaya::BenchPlan plan;
  CLI::App app("How soon a stored context answers, from disk and from memory, against reading it.");
  app.add_flag_callback(
      "--tiny",
      [&] {
        plan.token_count = 4096;
        plan.layer_count = 2;
        plan.cold_runs = 1;
        plan.warm_runs = 1;
        plan.memory_budget = "64MiB";
        plan.drop_page_cache = false;
      },
      alaya::kTinyHelp);
  app.add_flag_callback(
      "--crowd",
      [&] {
        plan.crowd_steps = 64;
        plan.token_count = 16384;
      },
      "Instead: sixteen sessions that decode over four times the memory budget");
  app.add_flag_callback(
      "--tiny-crowd",
      [&] {
        plan.crowd_steps = 4;
        plan.token_count = 2048;
        plan.layer_count = 2;
      },
      "The same for the test suite");
  app.add_flag("--page-sizes", plan.page_sizes, "Instead: random reads of the disk alone");
  app.add_option("--data-directory", plan.data_directory,
                 "New or of an earlier run; a temporary one if not given");
  app.add_option("--target", plan.targets, "What is asked for, can be repeated")
      ->check(CLI::IsMember(plan.targets))
      ->capture_default_str();
  app.add_option("--cold-runs", plan.cold_runs, "From disk, of each target")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--warm-runs", plan.warm_runs, "From memory, of each target")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  return alaya::BenchmarkMain(app, argc, argv, [&] { return alaya::Run(plan); });
}
