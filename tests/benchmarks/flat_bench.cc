// The flat index against the memory floor and exact attention.
//
// One layer of the synthetic workload, one decode step per run, one thread per core over
// kv heads. Lengths and ways run in turns, so that other work on the machine, and memory
// whose speed changes, disturb all alike; in between, the floor reads all keys and values, which
// also leaves nothing of the codes in the caches. The table gives medians.
//
// Columns: wall time of search and attention of all heads; the floor's over it; the same
// of the processor time of the busiest thread; processor time of all threads for search
// and for attention; share of the DIPR set that was found
// (recall); exact scores per token of the context and query; tokens attended per query;
// error of the output against exact attention, mean over heads.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "index/attention/cpu_backend.h"
#include "index/exact_index.h"
#include "index/kernels/instruction_set.h"
#include "storage/types/check.h"
#include "storage/types/status.h"
#include "tests/benchmarks/benchmark_layer.h"
#include "tests/benchmarks/benchmark_main.h"
#include "tests/benchmarks/our_indexes.h"
#include "tests/benchmarks/team.h"
#include "tests/support/attention_workload.h"

namespace alaya {
namespace {

constexpr double kAlpha = 0.012;

uint64_t ThreadCpuNanoseconds() { return static_cast<uint64_t>(1e3 * ThreadCpuMicroseconds()); }

// An index that is always asked for the same mode.
class InMode : public TokenIndex {
 public:
  InMode(const TokenIndex* index, bool sound) : index_(index), sound_(sound) {}
  IndexKind kind() const override { return index_->kind(); }
  StatusOr<SearchResult> Search(const SearchRequest& request) const override {
    SearchRequest changed = request;
    changed.sound = sound_;
    return index_->Search(changed);
  }

 private:
  const TokenIndex* index_;
  bool sound_;
};

// A way of computing the step's attention, and what it showed.
struct Way {
  const char* name;
  enum class Kind { kFloor, kFull, kFlat } kind = Kind::kFlat;
  bool sound = true;
  bool estimate_rest = false;
  double mass = 0;         // of a mass target; 0: DIPR
  bool scans_all = false;  // without the index

  Timing timing = {};
  double found = 0;  // tokens of the DIPR set, and how many of them there are
  double wanted = 0;
  double scored = 0;
  double attended = 0;
  double search_us = 0;  // processor time of all threads
  double attend_us = 0;
  double error = 0;
  size_t queries = 0;
  double checksum = 0;
};

struct Settings {
  size_t runs = 21;
  uint32_t layer = 2;
  bool is_tiny = false;
  bool has_queries = true;
  std::vector<size_t> lengths = {4096, 16384, 32768, 131072};
  std::string csv_path;
  std::FILE* csv = nullptr;
  double rest_error = 0.01;
  std::string way;  // only this one; empty: all
};

class Layer {
 public:
  Layer(const Model& model, size_t token_count, const Settings& settings, Team& team)
      : settings_(settings),
        team_(team),
        layer_(MakeWorkloadLayer(model, token_count, settings.layer, /*seed=*/1)),
        visible_(model.group_size(), TokenRange{0, token_count}),
        indexes_(model.num_kv_heads),
        outputs_(model.num_query_heads * model.head_dim),
        full_outputs_(outputs_.size()),
        log_sum_exp_(model.num_query_heads),
        reports_(model.num_kv_heads) {
    const OurIndexKind flat = settings.has_queries ? OurIndexKinds().front() : FlatWithoutQueries();
    SampleQueries(*layer_);
    const Times times =
        team_.Run(indexes_.size(), [&](size_t h) { indexes_[h] = flat.build(*layer_, h); });
    build_ms_per_32k_ = times.cpu_us / 1e3 * 32768 / static_cast<double>(token_count) /
                        static_cast<double>((model.num_kv_heads + 1) / 2);
  }

  double build_ms_per_32k() const { return build_ms_per_32k_; }
  size_t index_bytes() const {
    size_t total = 0;
    for (const auto& index : indexes_) total += index->bytes();
    return total;
  }
  size_t kv_bytes() const { return layer_->kv_bytes(); }

  // One decode step, all ways in turns. The first one is a warm-up.
  void Measure(size_t step, std::vector<Way>& ways) {
    queries_ = layer_->Queries(step);
    for (Way& way : ways) {
      // The floor first, every time: it leaves the caches the same for all.
      if (way.kind != Way::Kind::kFloor) RunOnce({"", Way::Kind::kFloor});
      const Times times = RunOnce(way);
      if (step == 0) continue;
      way.timing.Add(times);
      if (way.kind == Way::Kind::kFull) full_outputs_ = outputs_;
      if (way.kind == Way::Kind::kFlat) Judge(way);
    }
  }

 private:
  const Model& model() const { return layer_->model(); }

  MatrixView<const float> HeadQueries(size_t head) const {
    const size_t group = model().group_size();
    return {&queries_[head * group * model().head_dim], group, model().head_dim};
  }

  Times RunOnce(const Way& way) {
    if (way.kind == Way::Kind::kFloor) {
      return team_.Run(indexes_.size(), [&](size_t h) { layer_->Read(h); });
    }
    return team_.Run(indexes_.size(), [&](size_t h) { Attend(way, h); });
  }

  void Attend(const Way& way, size_t head) {
    const size_t group = model().group_size();
    const InMode index(indexes_[head].get(), way.sound);
    const ExactIndex scan(&layer_->reader(head));
    const TokenIndex* chosen = &index;
    if (way.scans_all) chosen = &scan;
    const SequencePart part = {&layer_->reader(head), chosen, 0};
    AttentionTask task;
    task.queries = HeadQueries(head);
    task.visible = visible_;
    task.parts = {&part, 1};
    task.target = way.kind == Way::Kind::kFull ? Target(FullTarget{})
                  : way.mass > 0               ? Target(MassTarget{way.mass})
                                               : Target(DiprTarget{kAlpha});
    task.scale = layer_->scale();
    task.estimate_rest = way.estimate_rest;
    task.rest_error = settings_.rest_error;
    task.now_ns = ThreadCpuNanoseconds;
    const StatusOr<AttentionReport> report = CpuBackend().Attend(
        task, {{&outputs_[head * group * model().head_dim], group, model().head_dim},
               std::span(log_sum_exp_).subspan(head * group, group)});
    ALAYA_CHECK(report.ok());
    reports_[head] = *report;
  }

  // Figures of the run that was, and the DIPR set that its index finds.
  void Judge(Way& way) {
    const size_t group = model().group_size();
    for (size_t h = 0; h < model().num_kv_heads; ++h) {
      way.scored += static_cast<double>(reports_[h].tokens_scored);
      way.attended += static_cast<double>(reports_[h].tokens_attended);
      way.search_us += static_cast<double>(reports_[h].search_ns) / 1e3;
      way.attend_us += static_cast<double>(reports_[h].attend_ns) / 1e3;
    }
    for (size_t q = 0; q < model().num_query_heads; ++q) {
      double difference = 0;
      double norm = 0;
      for (size_t e = 0; e < model().head_dim; ++e) {
        const double exact = double{full_outputs_[q * model().head_dim + e]};
        const double off = double{outputs_[q * model().head_dim + e]} - exact;
        difference += off * off;
        norm += exact * exact;
      }
      way.error += std::sqrt(difference / norm);
      way.checksum += double{log_sum_exp_[q]};
    }
    way.queries += model().num_query_heads;
    if (way.mass > 0) return;
    if (++judged_ % 4 != 1) return;  // The exact sets take a while.
    for (size_t h = 0; h < model().num_kv_heads; ++h) {
      SearchRequest request;
      request.queries = HeadQueries(h);
      request.visible = visible_;
      request.target = DiprTarget{kAlpha};
      request.scale = layer_->scale();
      request.sound = way.sound;
      const auto exact = ExactIndex(&layer_->reader(h)).Search(request);
      const auto found = indexes_[h]->Search(request);
      ALAYA_CHECK(exact.ok() && found.ok());
      for (size_t q = 0; q < group; ++q) {
        const auto& all = exact->queries[q].tokens;
        way.wanted += static_cast<double>(all.size());
        for (const ScoredToken& token : found->queries[q].tokens) {
          // What is found must belong to the set.
          ALAYA_CHECK(std::ranges::binary_search(all, token.token, {}, &ScoredToken::token));
        }
        way.found += static_cast<double>(found->queries[q].tokens.size());
      }
    }
  }

  const Settings& settings_;
  Team& team_;
  const std::unique_ptr<BenchmarkLayer> layer_;
  const std::vector<TokenRange> visible_;
  std::vector<std::shared_ptr<BenchmarkIndex>> indexes_;
  double build_ms_per_32k_ = 0;
  std::vector<float> queries_;
  std::vector<float> outputs_;
  std::vector<float> full_outputs_;
  std::vector<float> log_sum_exp_;
  std::vector<AttentionReport> reports_;
  size_t judged_ = 0;
};

void Report(size_t token_count, const Layer& layer, const std::vector<Way>& ways,
            const Settings& settings) {
  const Timing& floor = ways[0].timing;
  for (const Way& way : ways) {
    const double queries = static_cast<double>(std::max<size_t>(way.queries, 1));
    const double wall_us = way.timing.wall_us();
    const double floor_ratio = floor.wall_us() / wall_us;
    const double share = way.scored / queries / static_cast<double>(token_count);
    const double recall = way.wanted > 0 ? way.found / way.wanted : 1;
    const double runs = static_cast<double>(settings.runs);
    std::printf(
        "| %7zu | %-18s | %8.0f | %5.2f | %8.0f | %5.2f | %6.0f | %6.0f | %.5f | %7.3f %% | %8.0f "
        "| %6.2f %% | %.7g |\n",
        token_count, way.name, wall_us, floor_ratio, way.timing.cpu_us(),
        floor.cpu_us() / way.timing.cpu_us(), way.search_us / runs, way.attend_us / runs, recall,
        100 * share, way.attended / queries, 100 * way.error / queries, way.checksum);
    if (settings.csv == nullptr) continue;
    std::fprintf(settings.csv, "%zu,%u,%s,%.1f,%.3f,%.6f,%.6f,%.1f,%.6f,%.3f,%zu\n", token_count,
                 settings.layer, way.name, wall_us, floor_ratio, recall, share,
                 way.attended / queries, way.error / queries, layer.build_ms_per_32k(),
                 layer.index_bytes());
  }
  std::printf(
      "build %.1f ms per 32K keys and core; index %.1f MiB, %.1f %% of keys and values\n\n",
      layer.build_ms_per_32k(), static_cast<double>(layer.index_bytes()) / (1 << 20),
      100 * static_cast<double>(layer.index_bytes()) / static_cast<double>(layer.kv_bytes()));
  std::fflush(stdout);
}

std::vector<Way> AllWays() {
  return {{"floor", Way::Kind::kFloor},
          {"exact", Way::Kind::kFull},
          {"sound", Way::Kind::kFlat, true, false},
          {"statistical", Way::Kind::kFlat, false, false},
          {"sound + rest", Way::Kind::kFlat, true, true},
          {"statistical + rest", Way::Kind::kFlat, false, true},
          {.name = "mass 0.9", .mass = 0.9},
          {.name = "mass 0.9 by scan", .mass = 0.9, .scans_all = true}};
}

std::vector<std::string> WayNames() {
  std::vector<std::string> names;
  for (const Way& way : AllWays()) names.emplace_back(way.name);
  return names;
}

// The floor, exact attention and one other; empty: all.
std::vector<Way> Ways(const std::string& only) {
  std::vector<Way> ways = AllWays();
  std::erase_if(ways, [&](const Way& way) {
    return way.kind == Way::Kind::kFlat && !only.empty() && way.name != only;
  });
  return ways;
}

Status Run(Settings settings) {
  Model model = StandardModel(/*num_layers=*/settings.layer + 1);
  if (settings.is_tiny) {
    settings.runs = 1;
    settings.lengths = {3000};
    model.num_kv_heads = 2;
    model.num_query_heads = 8;
  }
  if (!settings.csv_path.empty()) {
    settings.csv = std::fopen(settings.csv_path.c_str(), "w");
    if (settings.csv == nullptr) {
      return InvalidArgument("--csv " + settings.csv_path + ": cannot be written");
    }
    std::fprintf(settings.csv,
                 "tokens,layer,way,us,floor_ratio,recall,scored_share,attended,error,"
                 "build_ms_per_32k,index_bytes\n");
  }
  const size_t cores = std::max(1U, std::thread::hardware_concurrency());
  Team team(cores);
  std::printf("%zu threads, %s, layer %u, medians of %zu runs in turns\n\n", cores,
              std::string(InstructionSet()).c_str(), settings.layer, settings.runs);
  std::printf(
      "| tokens | way | us | floor / way | CPU us | floor / way | search | attend | recall | "
      "scored "
      "| attended | error | checksum |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
  std::vector<std::unique_ptr<Layer>> layers;
  layers.reserve(settings.lengths.size());
  for (const size_t token_count : settings.lengths) {
    layers.push_back(std::make_unique<Layer>(model, token_count, settings, team));
  }
  std::vector<std::vector<Way>> ways(layers.size(), Ways(settings.way));
  for (size_t step = 0; step <= settings.runs; ++step) {
    for (size_t i = 0; i < layers.size(); ++i) layers[i]->Measure(step, ways[i]);
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    Report(settings.lengths[i], *layers[i], ways[i], settings);
  }
  if (settings.csv != nullptr) std::fclose(settings.csv);
  return OkStatus();
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  alaya::Settings settings;
  CLI::App app(
      "The flat index against the memory floor and exact attention, one layer, in process.");
  app.add_option("--runs", settings.runs, "Decode steps, all ways in turns")
      ->check(CLI::Range(size_t{1}, size_t{1} << 20))
      ->capture_default_str();
  app.add_option("--tokens", settings.lengths, "Lengths of the context")
      ->check(CLI::Range(size_t{1024}, size_t{1} << 24))
      ->capture_default_str();
  app.add_option("--layer", settings.layer, "Layer of the workload; the first ones are diffuse")
      ->capture_default_str();
  app.add_option("--rest-error", settings.rest_error,
                 "Error that the estimate of the rest is asked for")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--way", settings.way, "Only this row of the table, beside floor and exact")
      ->check(CLI::IsMember(alaya::WayNames()));
  app.add_flag("!--no-queries", settings.has_queries,
               "An index of a context that was imported without sampled queries");
  app.add_option("--csv", settings.csv_path, "Writes the table to this file too");
  app.add_flag("--tiny", settings.is_tiny, alaya::kTinyHelp);
  return alaya::BenchmarkMain(app, argc, argv, [&] { return alaya::Run(settings); });
}
