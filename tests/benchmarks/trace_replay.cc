// A trace of real conversations against the real server, at several memory budgets: how
// much of what requests share lies in memory when they come, and how soon they get
// their first answer.
//
// The trace is a line of JSON per request with `hash_ids`, one per block of 512 tokens;
// equal ids mean equal tokens after an equal prefix (the format of Mooncake's traces,
// FAST '25). The model is small, 64 bytes of KV a token and layer, so that what takes hours of
// serving passes in minutes: ratios of budget to working set are real, bytes are not. What the
// store has to know of a context is as much as of a real one, and so a larger share of memory.
//
// A request: CreateSession with its tokens, one query per layer over all that is
// reused (time to first answer), then an import of the tokens that were not stored.
// Its prefix hits in memory are counted by the server: reused tokens up to the first
// that is not in memory. Beside it: the same for an LRU cache of whole blocks, and
// without a limit, computed from the same requests. The process' memory is its largest less
// what a server has that stores nothing and whose budget is the least.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <list>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "client/client.h"
#include "client/tensor.h"
#include "storage/types/status.h"
#include "tests/benchmarks/benchmark_main.h"
#include "tests/support/quality.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_directory.h"

namespace alaya {
namespace {

namespace pb = ::alaya::v1;
using std::chrono::steady_clock;

constexpr uint64_t kBlockTokens = 512;
constexpr uint32_t kHeadDim = 16;
constexpr uint64_t kRowBytes = kHeadDim * sizeof(uint16_t);

using Request = std::vector<uint32_t>;  // numbers of blocks

StatusOr<std::vector<Request>> ReadTrace(const std::string& path, size_t request_count) {
  std::ifstream file(path);
  std::vector<Request> trace;
  std::string line;
  while (trace.size() < request_count && std::getline(file, line)) {
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object() || !json.contains("hash_ids")) {
      return InvalidArgument(fmt::format("{}, request {}: no hash_ids", path, trace.size()));
    }
    Request& request = trace.emplace_back();
    for (const auto& id : json["hash_ids"]) request.push_back(id.get<uint32_t>());
  }
  if (trace.empty()) return InvalidArgument(path + " holds no requests");
  return trace;
}

// Conversations that grow by two blocks a turn, for a run without a trace.
std::vector<Request> SmallTrace() {
  std::vector<Request> trace;
  uint32_t next_block = 0;
  std::vector<Request> conversations(8);
  for (size_t turn = 0; turn < 40; ++turn) {
    Request& conversation = conversations[turn * turn % conversations.size()];
    for (int i = 0; i < 2; ++i) conversation.push_back(next_block++);
    trace.push_back(conversation);
  }
  return trace;
}

struct TraceFacts {
  uint64_t block_count = 0;
  uint64_t unique_count = 0;
  uint64_t stored_hits = 0;  // with unlimited memory
};

TraceFacts FactsOf(const std::vector<Request>& trace) {
  TraceFacts facts;
  std::unordered_set<uint32_t> seen;
  for (const Request& request : trace) {
    facts.block_count += request.size();
    for (const uint32_t block : request) {
      if (!seen.contains(block)) break;
      ++facts.stored_hits;
    }
    seen.insert(request.begin(), request.end());
  }
  facts.unique_count = seen.size();
  return facts;
}

uint64_t LruHits(const std::vector<Request>& trace, uint64_t capacity) {
  std::list<uint32_t> order;  // the last used first
  std::unordered_map<uint32_t, std::list<uint32_t>::iterator> places;
  uint64_t hits = 0;
  for (const Request& request : trace) {
    for (const uint32_t block : request) {
      if (!places.contains(block)) break;
      ++hits;
    }
    for (const uint32_t block : request) {
      if (const auto found = places.find(block); found != places.end()) {
        order.splice(order.begin(), order, found->second);
        continue;
      }
      if (places.size() >= capacity) {
        places.erase(order.back());
        order.pop_back();
      }
      order.push_front(block);
      places[block] = order.begin();
    }
  }
  return hits;
}

// The least that the server takes.
constexpr uint64_t kBudgetBytesMin = uint64_t{16} << 20;

// Of a server that stores nothing, its memory tier left out.
StatusOr<uint64_t> ResidentBytesOfNothing() {
  const TempDirectory directory;
  ServerProcessOptions options;
  options.data_directory = directory / "data";
  options.arguments = {"--memory-budget", std::to_string(kBudgetBytesMin)};
  ALAYA_ASSIGN_OR_RETURN(const auto server, ServerProcess::Start(options));
  // It makes half of its budget ready.
  uint64_t before = 0;
  for (;;) {
    ALAYA_ASSIGN_OR_RETURN(const ProcessMemory memory, server->Memory());
    if (memory.resident_bytes == before) return before - kBudgetBytesMin / 2;
    before = memory.resident_bytes;
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

// One run of the trace at one budget.
class Replay {
 public:
  Replay(const std::vector<Request>* trace, uint32_t layer_count, uint64_t budget_bytes)
      : trace_(*trace), layer_count_(layer_count), budget_bytes_(budget_bytes) {}

  struct Report {
    uint64_t stored_hit_tokens = 0;
    uint64_t memory_hit_tokens = 0;
    std::vector<double> memory_ms;  // to the first answer; all that was reused lay in memory
    std::vector<double> disk_ms;
    uint64_t loaded_bytes = 0;
    uint64_t used_bytes_max = 0;      // of the memory tier
    uint64_t resident_bytes_max = 0;  // of the process, at the end of a request
    double seconds = 0;
  };

  StatusOr<Report> Run() {
    ServerProcessOptions options;
    options.data_directory = directory_ / "data";
    options.arguments = {"--memory-budget", std::to_string(budget_bytes_), "--index-build-threads",
                         "0"};
    ALAYA_ASSIGN_OR_RETURN(server_, ServerProcess::Start(options));
    ALAYA_ASSIGN_OR_RETURN(auto client, client::Client::Connect(server_->grpc_address()));
    // A long run may be stopped for a while to let others measure.
    client_ = std::make_unique<client::Client>(client.WithCallTimeout({}));
    pb::RegisterModelRequest model;
    model.mutable_model()->set_name("scaled");
    model.mutable_model()->set_num_layers(layer_count_);
    model.mutable_model()->set_num_query_heads(1);
    model.mutable_model()->set_num_kv_heads(1);
    model.mutable_model()->set_head_dim(kHeadDim);
    model.mutable_model()->set_dtype(pb::DTYPE_BF16);
    ALAYA_RETURN_IF_ERROR(client_->RegisterModel(model).status());
    const auto begin = steady_clock::now();
    for (const Request& request : trace_) ALAYA_RETURN_IF_ERROR(Serve(request));
    report_.seconds = std::chrono::duration<double>(steady_clock::now() - begin).count();
    client_.reset();
    ALAYA_ASSIGN_OR_RETURN(const int exit_status, server_->Terminate());
    if (exit_status != 0) return Internal(fmt::format("the server ended with {}", exit_status));
    return std::move(report_);
  }

 private:
  static std::vector<uint32_t> Tokens(const Request& request) {
    std::vector<uint32_t> tokens;
    tokens.reserve(request.size() * kBlockTokens);
    for (const uint32_t block : request) {
      for (uint32_t i = 0; i < kBlockTokens; ++i) {
        tokens.push_back(block * static_cast<uint32_t>(kBlockTokens) + i);
      }
    }
    return tokens;
  }

  Status Serve(const Request& request) {
    const std::vector<uint32_t> tokens = Tokens(request);
    ALAYA_ASSIGN_OR_RETURN(const uint64_t reused_tokens, AnswerFirst(tokens));
    if (reused_tokens == tokens.size()) return OkStatus();
    return Store(tokens, reused_tokens);
  }

  // Returns the tokens that were reused.
  StatusOr<uint64_t> AnswerFirst(const std::vector<uint32_t>& tokens) {
    pb::CreateSessionRequest create;
    create.set_model("scaled");
    create.mutable_tokens()->Assign(tokens.begin(), tokens.end());
    const auto begin = steady_clock::now();
    ALAYA_ASSIGN_OR_RETURN(const auto session, client_->CreateSession(create));
    const uint64_t reused_tokens = session.reused_tokens();
    if (reused_tokens > 0) {
      client::BlockingAttendStream stream = client_->AttendBlocking();
      for (uint32_t layer = 0; layer < layer_count_; ++layer) {
        pb::AttendItem item;
        item.set_session_id(session.session_id());
        item.set_layer(layer);
        item.mutable_options()->mutable_full();
        const std::vector<float> query(kHeadDim, 0.25F);
        ALAYA_ASSIGN_OR_RETURN(*item.mutable_query(),
                               client::MakeTensor(query, 1, 1, kHeadDim, DType::kBF16));
        ALAYA_RETURN_IF_ERROR(stream.AttendOne(std::move(item)).status());
      }
      ALAYA_RETURN_IF_ERROR(stream.Close());
    }
    const std::chrono::duration<double, std::milli> elapsed = steady_clock::now() - begin;
    pb::CloseSessionRequest close;
    close.set_session_id(session.session_id());
    ALAYA_RETURN_IF_ERROR(client_->CloseSession(close).status());
    ALAYA_RETURN_IF_ERROR(Observe(reused_tokens, elapsed.count()));
    return reused_tokens;
  }

  Status Observe(uint64_t reused_tokens, double ms) {
    ALAYA_ASSIGN_OR_RETURN(const auto stats, client_->GetStats());
    const uint64_t memory_tokens = stats.memory_hit_tokens() - report_.memory_hit_tokens;
    if (reused_tokens > 0) {
      (memory_tokens == reused_tokens ? report_.memory_ms : report_.disk_ms).push_back(ms);
    }
    report_.stored_hit_tokens += reused_tokens;
    report_.memory_hit_tokens = stats.memory_hit_tokens();
    for (const pb::TierStats& tier : stats.tiers()) {
      if (tier.tier() != pb::TIER_MEMORY) continue;
      report_.loaded_bytes = tier.loaded_bytes();
      report_.used_bytes_max = std::max<uint64_t>(report_.used_bytes_max, tier.used_bytes());
    }
    report_.resident_bytes_max =
        std::max<uint64_t>(report_.resident_bytes_max, stats.process_resident_bytes());
    return OkStatus();
  }

  Status Store(const std::vector<uint32_t>& tokens, uint64_t first_token) {
    pb::ImportContextRequest::Header header;
    header.set_model("scaled");
    header.mutable_tokens()->Assign(tokens.begin(), tokens.end());
    ALAYA_ASSIGN_OR_RETURN(auto importer, client_->ImportContext(header));
    const uint64_t count = tokens.size() - first_token;
    // Small numbers in bf16, others in every token.
    std::vector<std::byte> rows(count * kRowBytes);
    for (size_t i = 0; i + 1 < rows.size(); i += 2) {
      rows[i] = static_cast<std::byte>(size_t{tokens[first_token + i / kRowBytes]} * 37 + i);
      rows[i + 1] = std::byte{0x3D};
    }
    const client::TensorView view{DType::kBF16, count, 1, kHeadDim, rows};
    for (uint32_t layer = 0; layer < layer_count_; ++layer) {
      ALAYA_RETURN_IF_ERROR(importer.AppendChunk(
          {.layer = layer, .token_begin = first_token, .key = view, .value = view, .query = {}}));
    }
    return importer.Commit().status();
  }

  const std::vector<Request>& trace_;
  const uint32_t layer_count_;
  const uint64_t budget_bytes_;
  const TempDirectory directory_;
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<client::Client> client_;
  Report report_;
};

struct ReplayPlan {
  std::string trace_file;  // empty: a small trace
  size_t request_count = 1500;
  uint32_t layer_count = 2;
  std::string csv_file;  // empty: none
  std::vector<double> budget_percents = {5, 10, 25, 50};
};

double PercentOf(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
}

double PercentileOrZero(const std::vector<double>& values, double fraction) {
  return values.empty() ? 0 : Percentile(values, fraction);
}

Status Run(const ReplayPlan& plan) {
  std::vector<Request> trace = SmallTrace();
  if (!plan.trace_file.empty()) {
    ALAYA_ASSIGN_OR_RETURN(trace, ReadTrace(plan.trace_file, plan.request_count));
  }
  const TraceFacts facts = FactsOf(trace);
  const uint64_t block_bytes = kBlockTokens * plan.layer_count * 2 * kRowBytes;
  fmt::print("{} requests, {} blocks, {} different ({} MiB), shared prefix {:.2f} %\n",
             trace.size(), facts.block_count, facts.unique_count,
             facts.unique_count * block_bytes >> 20,
             PercentOf(facts.stored_hits, facts.block_count));
  ALAYA_ASSIGN_OR_RETURN(const uint64_t nothing_bytes, ResidentBytesOfNothing());
  constexpr char kColumns[] =
      "budget_percent,budget_mib,prefix_hit_percent,memory_hit_percent,lru_hit_percent,"
      "memory_p50_ms,memory_p99_ms,disk_p50_ms,disk_p99_ms,loaded_mib,used_percent_of_budget,"
      "process_percent_of_budget,seconds";
  std::string csv = fmt::format("{}\n", kColumns);
  fmt::print("{}\n", kColumns);
  for (const double percent : plan.budget_percents) {
    const auto blocks =
        static_cast<uint64_t>(static_cast<double>(facts.unique_count) * percent / 100);
    // That is more than a small trace has.
    const uint64_t budget_bytes = std::max<uint64_t>(blocks * block_bytes, kBudgetBytesMin);
    ALAYA_ASSIGN_OR_RETURN(const Replay::Report report,
                           Replay(&trace, plan.layer_count, budget_bytes).Run());
    const uint64_t token_count = facts.block_count * kBlockTokens;
    if (report.stored_hit_tokens != facts.stored_hits * kBlockTokens) {
      return Internal("the server found another shared prefix than the trace has");
    }
    if (report.used_bytes_max > budget_bytes) return Internal("the memory tier broke its budget");
    const std::string row = fmt::format(
        "{},{},{:.2f},{:.2f},{:.2f},{:.2f},{:.2f},{:.2f},{:.2f},{},{:.1f},{:.1f},{:.0f}", percent,
        budget_bytes >> 20, PercentOf(report.stored_hit_tokens, token_count),
        PercentOf(report.memory_hit_tokens, token_count),
        PercentOf(LruHits(trace, budget_bytes / block_bytes), facts.block_count),
        PercentileOrZero(report.memory_ms, 0.5), PercentileOrZero(report.memory_ms, 0.99),
        PercentileOrZero(report.disk_ms, 0.5), PercentileOrZero(report.disk_ms, 0.99),
        report.loaded_bytes >> 20, PercentOf(report.used_bytes_max, budget_bytes),
        PercentOf(report.resident_bytes_max - std::min(report.resident_bytes_max, nothing_bytes),
                  budget_bytes),
        report.seconds);
    fmt::print("{}\n", row);
    std::fflush(stdout);
    csv += row + "\n";
  }
  if (!plan.csv_file.empty()) std::ofstream(plan.csv_file) << csv;
  return OkStatus();
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  alaya::ReplayPlan plan;
  CLI::App app("A trace of conversations through the real server, at several memory budgets.");
  app.add_flag_callback(
      "--tiny", [&] { plan.budget_percents = {5}; }, alaya::kTinyHelp);
  app.add_option("--trace", plan.trace_file,
                 "The trace, JSON lines; without it a small one is made")
      ->check(CLI::ExistingFile);
  app.add_option("--requests", plan.request_count, "The first so many of it")
      ->capture_default_str();
  app.add_option("--layers", plan.layer_count, "Of the model, 64 bytes of KV a token each")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--budget", plan.budget_percents, "Percent of the working set, one run each")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--csv", plan.csv_file, "Write figures to this file");
  return alaya::BenchmarkMain(app, argc, argv, [&] { return alaya::Run(plan); });
}
