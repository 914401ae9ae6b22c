// One decode step of one layer by every way we have and by other libraries' indexes, at
// equal output error where a way can be tuned: time against the memory floor, quality
// against the oracle in double, build time and bytes.
//
//   index_comparison --help
//
// All ways run in turns in one process with the same threads over kv heads, each
// followed by the same exact attention over what it found.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "index/attention/cpu_backend.h"
#include "index/exact_index.h"
#include "server/engine/index_kinds.h"
#include "storage/types/check.h"
#include "tests/benchmarks/benchmark_layer.h"
#include "tests/benchmarks/our_indexes.h"
#include "tests/benchmarks/planned_steps.h"
#include "tests/benchmarks/rivals.h"
#include "tests/benchmarks/team.h"
#include "tests/support/attention_workload.h"
#include "tests/support/exact_attention.h"
#include "tests/support/quality.h"

namespace alaya {
namespace {

struct Options {
  std::vector<uint64_t> token_counts = {131072};
  uint32_t layer = 2;
  size_t step_count = 4;
  size_t run_count = 15;
  size_t prediction_count = 32;
  bool prints_predictions = false;
  size_t session_count = 1;
  size_t thread_count = std::max(1U, std::thread::hardware_concurrency());
  double error_target = 0.02;  // of ways that can be tuned
  bool with_rivals = true;
  bool pauses = false;
  std::vector<std::string> captured;
  std::vector<std::string> only;
  std::string csv;
};

// A way to compute a decode step.
struct Way {
  std::string name;
  // One per kv head; empty: no index.
  std::vector<std::shared_ptr<const TokenIndex>> indexes;
  Target target;
  bool estimate_rest = false;
  double build_seconds = 0;
  uint64_t bytes = 0;
  // The planner chooses index and target of every step.
  bool is_planned = false;
};

// What a way answered, and how good it was; over all steps and query heads.
struct Quality {
  std::vector<double> errors;
  std::vector<double> recoveries;
  std::vector<double> coverage_errors;  // of the reported covered mass
  uint64_t attended = 0;
  uint64_t scored = 0;
};

struct Step {
  std::vector<float> queries;  // [num_query_heads, head_dim]
  TokenRange visible;
  std::vector<ExactAttention> expected;  // [num_query_heads]
};

class Comparison {
 public:
  Comparison(const Options& options, const BenchmarkLayer* layer)
      : options_(options), layer_(*layer), team_(options.thread_count) {
    for (size_t i = 0; i < options.step_count; ++i) steps_.push_back(MakeStep(i));
  }

  void Run() {
    AddWays();
    if (options_.pauses) WaitForEnter();
    std::vector<Timing> timings(ways_.size());
    Timing floor;
    constexpr size_t kWarmUpRuns = 1;
    for (size_t run = 0; run < options_.run_count + kWarmUpRuns; ++run) {
      for (size_t w = 0; w < ways_.size(); ++w) {
        // Each way finds the caches as other layers leave them in a server, not with the codes that
        // the way before it read.
        const Times read = ReadLayer();
        const Times times = Attend(ways_[w], run % steps_.size());
        if (run < kWarmUpRuns) continue;
        floor.Add(read);
        timings[w].Add(times);
      }
    }
    std::vector<Quality> qualities;
    for (const Way& way : ways_) qualities.push_back(Judge(way));
    Print(floor, timings, qualities);
    if (planned_steps_ && options_.prediction_count > 0) JudgePredictions();
  }

 private:
  size_t head_count() const { return layer_.model().num_kv_heads; }
  size_t group_size() const { return layer_.model().group_size(); }
  size_t head_dim() const { return layer_.model().head_dim; }
  float scale() const { return layer_.scale(); }
  bool Wants(const std::string& name) const {
    return options_.only.empty() || std::ranges::any_of(options_.only, [&](const auto& part) {
             return name.find(part) != std::string::npos;
           });
  }

  Step MakeStep(size_t index) const {
    Step step;
    step.queries = layer_.Queries(index);
    step.visible = layer_.visible(index);
    for (size_t head = 0; head < head_count(); ++head) {
      const std::vector<float> keys = FloatRows(layer_.reader(head), KvKind::kKey);
      const std::vector<float> values = FloatRows(layer_.reader(head), KvKind::kValue);
      const std::vector<TokenRange> visible(group_size(), step.visible);
      const std::vector<ExactAttention> expected =
          AttendAll({&step.queries[head * group_size() * head_dim()], group_size(), head_dim()},
                    {keys.data(), layer_.token_count(), head_dim()},
                    {values.data(), layer_.token_count(), head_dim()}, double{scale()}, visible);
      step.expected.insert(step.expected.end(), expected.begin(), expected.end());
    }
    return step;
  }

  Times ReadLayer() {
    return team_.Run(head_count(), [&](size_t head) { layer_.Read(head); });
  }

  // Builds of other libraries take long, timed runs a moment: only these want the machine
  // for themselves.
  static void WaitForEnter() {
    std::fprintf(stderr, "everything is built and tuned; Enter starts the timed runs\n");
    while (true) {
      const int character = std::getchar();
      if (character == '\n' || character == EOF) return;
    }
  }

  // Builds one index per head with all threads. It took what the busiest one worked,
  // whatever else the machine did.
  template <typename Index>
  Way BuildWay(const std::string& name,
               const std::function<std::shared_ptr<Index>(size_t head)>& build) {
    Way way{.name = name, .indexes = {}, .target = {}};
    way.indexes.resize(head_count());
    std::vector<uint64_t> bytes(head_count());
    const Times times = team_.Run(head_count(), [&](size_t head) {
      const std::shared_ptr<Index> index = build(head);
      bytes[head] = index->bytes();
      way.indexes[head] = index;
    });
    way.build_seconds = times.cpu_us / 1e6;
    for (const uint64_t b : bytes) way.bytes += b;
    std::fprintf(stderr, "built %s in %.2f s\n", name.c_str(), way.build_seconds);
    return way;
  }

  void AddWays() {
    if (Wants("full")) ways_.push_back({.name = "full attention", .indexes = {}, .target = {}});
    Way exact{.name = "DIPR, exact scan", .indexes = {}, .target = DiprTarget{}};
    for (size_t head = 0; head < head_count(); ++head) {
      exact.indexes.push_back(std::make_shared<ExactIndex>(&layer_.reader(head)));
    }
    if (Wants("exact")) ways_.push_back(exact);
    SampleQueries(layer_);
    for (const OurIndexKind& kind : OurIndexKinds()) {
      if (!Wants(kind.name)) continue;
      AddOurs(kind, BuildWay<BenchmarkIndex>(
                        kind.name, [&](size_t head) { return kind.build(layer_, head); }));
    }
    if (Wants("planner")) AddPlanner(exact);
    if (Wants("window")) {
      ways_.push_back({.name = "window only", .indexes = exact.indexes, .target = TopKTarget{1}});
    }
    if (!options_.with_rivals) return;
    for (const Rival& rival : Rivals()) {
      if (!Wants(rival.name)) continue;
      std::vector<std::shared_ptr<RivalIndex>> indexes(head_count());
      Way way = BuildWay<RivalIndex>(rival.name, [&](size_t head) {
        indexes[head] = rival.build(layer_.reader(head));
        return indexes[head];
      });
      TuneRival(indexes, &way);
      ways_.push_back(std::move(way));
    }
  }

  void AddOurs(const OurIndexKind& kind, const Way& built) {
    const auto add = [&](const std::string& name, const Target& target, bool estimate_rest) {
      Way way = built;
      way.name = name;
      way.target = target;
      way.estimate_rest = estimate_rest;
      ways_.push_back(way);
    };
    if (kind.estimates) {
      add(kind.name + " sound", DiprTarget{.sound = true}, false);
      add(kind.name + " sound + rest", DiprTarget{.sound = true}, true);
    }
    add(kind.name, DiprTarget{}, false);
    if (kind.estimates) {
      add(kind.name + " + rest", DiprTarget{}, true);
      // With as many tokens as DIPR attends to.
      const Quality dipr = Judge(ways_[ways_.size() - 2]);
      const size_t heads = options_.step_count * layer_.model().num_query_heads;
      const uint64_t window = Window().sink + Window().recent;
      const uint64_t mean = dipr.attended / heads;
      const size_t k = mean > window ? mean - window : 1;
      add(kind.name + " top-" + std::to_string(k), TopKTarget{k}, false);
    }
  }

  // Chooses between all of ours that were built.
  void AddPlanner(const Way& exact) {
    std::vector<PlannedIndex> indexes;
    for (const Way& way : ways_) {
      if (way.bytes == 0) continue;
      const IndexKind kind = way.indexes[0]->kind();
      indexes_by_kind_[kind] = way.indexes;
      if (std::ranges::none_of(indexes, [&](const auto& known) { return known.kind == kind; })) {
        indexes.push_back({kind, way.bytes});
      }
    }
    indexes_by_kind_[IndexKind::kExact] = exact.indexes;
    planned_indexes_ = indexes;
    planned_steps_.emplace(&layer_, std::move(indexes));
    ways_.push_back({.name = "planner", .indexes = {}, .target = {}, .is_planned = true});
  }

  // The fewest tokens, about, with which a rival reaches the error: k is doubled, then
  // bisected. The last try if half of all tokens are not enough.
  void TuneRival(const std::vector<std::shared_ptr<RivalIndex>>& indexes, Way* way) {
    const auto reaches = [&](size_t k) {
      for (const auto& index : indexes) index->Tune(k);
      way->target = TopKTarget{k};
      return Mean(Judge(*way).errors) <= options_.error_target;
    };
    const size_t k_max = layer_.token_count() / 2;
    size_t enough = 64;
    while (!reaches(enough) && 2 * enough <= k_max) enough *= 2;
    if (2 * enough <= k_max) {
      constexpr int kBisections = 3;
      size_t too_few = enough / 2;
      for (int i = 0; i < kBisections; ++i) {
        const size_t middle = (too_few + enough) / 2;
        (reaches(middle) ? enough : too_few) = middle;
      }
    }
    for (const auto& index : indexes) index->Tune(enough);
    way->target = TopKTarget{enough};
    way->name += ", k " + std::to_string(enough);
  }

  StatusOr<AttentionReport> AttendHead(const Way& way, size_t head, const Step& step, bool explain,
                                       std::vector<float>* output,
                                       std::vector<float>* log_sum_exp) const {
    const std::vector<TokenRange> visible(group_size(), step.visible);
    const SequencePart part{.reader = &layer_.reader(head),
                            .index = way.indexes.empty() ? nullptr : way.indexes[head].get()};
    AttentionTask task;
    task.queries = {&step.queries[head * group_size() * head_dim()], group_size(), head_dim()};
    task.visible = visible;
    task.parts = {&part, 1};
    task.target = way.target;
    task.scale = scale();
    task.estimate_rest = way.estimate_rest;
    task.explain = explain;
    task.now_ns = [] {
      return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                       std::chrono::steady_clock::now().time_since_epoch())
                                       .count());
    };
    output->resize(group_size() * head_dim());
    log_sum_exp->resize(group_size());
    return CpuBackend().Attend(task, {{output->data(), group_size(), head_dim()}, *log_sum_exp});
  }

  // A way as the plan of the next step has it.
  Way WayOf(const AttendPlan& plan) {
    return {.name = "planner",
            .indexes = indexes_by_kind_[plan.segments[0].index],
            .target = plan.target,
            .estimate_rest = plan.estimate_rest};
  }

  std::pair<Times, PlannedStep> AttendPlanned(const Step& step, PlannedSteps* planned_steps) {
    const AttendPlan plan = planned_steps->Plan(step.visible, /*is_open=*/true);
    const Way way = WayOf(plan);
    std::vector<AttentionReport> reports(head_count());
    const Times times = team_.Run(head_count(), [&](size_t head) {
      thread_local std::vector<float> output;
      thread_local std::vector<float> log_sum_exp;
      const auto report = AttendHead(way, head, step, false, &output, &log_sum_exp);
      ALAYA_CHECK(report.ok());
      reports[head] = *report;
    });
    return {times, planned_steps->Observe(plan, reports)};
  }

  // Of many steps that differ, and of planners that know nothing at first.
  void JudgePredictions() {
    constexpr size_t kPlanners = 3;
    size_t within_two_count = 0;
    for (size_t planner = 0; planner < kPlanners; ++planner) {
      PlannedSteps planned_steps(&layer_, planned_indexes_);
      for (size_t i = 0; i < options_.prediction_count; ++i) {
        const size_t index = planner * options_.prediction_count + i;
        const Step step{layer_.Queries(index), layer_.visible(index), {}};
        ReadLayer();
        const PlannedStep done = AttendPlanned(step, &planned_steps).second;
        if (done.is_within_two()) ++within_two_count;
        if (options_.prints_predictions) {
          std::printf(
              "step %zu: %s predicted %.0f us (factor %.2f), took %.0f; %.2f %% attended%s\n", i,
              IndexKindName(done.plan.index).data(), done.plan.predicted_us,
              done.plan.learnt_factor, done.plan.actual_us, 100 * done.attended_share,
              done.is_within_two() ? "" : " (off)");
        }
      }
    }
    const size_t count = kPlanners * options_.prediction_count;
    std::printf("\npredicted within a factor of 2: %.0f %% of %zu planned steps\n",
                100 * static_cast<double>(within_two_count) / static_cast<double>(count), count);
    std::fflush(stdout);
  }

  // Every session decodes a step of its own over the same layer.
  Times Attend(const Way& way, size_t first_step) {
    if (way.is_planned) {
      return AttendPlanned(steps_[first_step % steps_.size()], &*planned_steps_).first;
    }
    return team_.Run(head_count() * options_.session_count, [&](size_t task) {
      thread_local std::vector<float> output;
      thread_local std::vector<float> log_sum_exp;
      const Step& step = steps_[(first_step + task % options_.session_count) % steps_.size()];
      ALAYA_CHECK(
          AttendHead(way, task / options_.session_count, step, false, &output, &log_sum_exp).ok());
    });
  }

  Quality Judge(const Way& judged) {
    const Way way = judged.is_planned
                        ? WayOf(planned_steps_->Plan(steps_[0].visible, /*is_open=*/true))
                        : judged;
    std::vector<Quality> of_heads(head_count());
    team_.Run(head_count(), [&](size_t head) {
      for (const Step& step : steps_) JudgeHead(way, head, step, &of_heads[head]);
    });
    Quality quality;
    for (const Quality& part : of_heads) {
      quality.errors.insert(quality.errors.end(), part.errors.begin(), part.errors.end());
      quality.recoveries.insert(quality.recoveries.end(), part.recoveries.begin(),
                                part.recoveries.end());
      quality.coverage_errors.insert(quality.coverage_errors.end(), part.coverage_errors.begin(),
                                     part.coverage_errors.end());
      quality.attended += part.attended;
      quality.scored += part.scored;
    }
    return quality;
  }

  void JudgeHead(const Way& way, size_t head, const Step& step, Quality* quality) const {
    std::vector<float> output;
    std::vector<float> log_sum_exp;
    const auto report = AttendHead(way, head, step, true, &output, &log_sum_exp);
    ALAYA_CHECK(report.ok());
    quality->attended += report->tokens_attended;
    quality->scored += report->tokens_scored;
    for (size_t i = 0; i < group_size(); ++i) {
      const ExactAttention& expected = step.expected[head * group_size() + i];
      quality->errors.push_back(
          OutputError(std::span(output).subspan(i * head_dim(), head_dim()), expected.output));
      // The attended mass is the reported share of the reported total.
      const double reported = double{report->query_covered_mass[i]};
      const double total = way.estimate_rest ? double{log_sum_exp[i]} : 0;
      const double attended =
          way.estimate_rest ? std::log(reported) + total : double{log_sum_exp[i]};
      const double recovery = std::exp(attended - expected.log_sum_exp);
      quality->recoveries.push_back(recovery);
      quality->coverage_errors.push_back(std::fabs(recovery - reported));
    }
  }

  void Print(const Timing& floor, const std::vector<Timing>& timings,
             const std::vector<Quality>& qualities) const {
    const auto samples = static_cast<double>(steps_.size() * layer_.model().num_query_heads);
    const double floor_us = floor.wall_us() * static_cast<double>(options_.session_count);
    std::printf("\n%s, %llu tokens, %zu sessions, %zu threads; memory floor %.0f us\n\n",
                layer_.name().c_str(), static_cast<unsigned long long>(layer_.token_count()),
                options_.session_count, options_.thread_count, floor_us);
    std::printf(
        "| way | us | floor / us | error mean | error p99 | recovery mean | p10 | coverage error | "
        "attended | scored | build s | bytes / KV |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    std::optional<std::ofstream> csv;
    if (!options_.csv.empty()) csv.emplace(options_.csv, std::ios::app);
    for (size_t w = 0; w < ways_.size(); ++w) {
      const Way& way = ways_[w];
      const Quality& q = qualities[w];
      const double us = timings[w].wall_us();
      std::printf(
          "| %s | %.0f | %.2f | %.2f %% | %.2f %% | %.4f | %.4f | %.4f | %.0f | %.0f | %.2f | "
          "%.1f %% |\n",
          way.name.c_str(), us, floor_us / us, 100 * Mean(q.errors),
          100 * Percentile(q.errors, 0.99), Mean(q.recoveries), Percentile(q.recoveries, 0.1),
          Mean(q.coverage_errors), static_cast<double>(q.attended) / samples,
          static_cast<double>(q.scored) / samples, way.build_seconds,
          100 * static_cast<double>(way.bytes) / static_cast<double>(layer_.kv_bytes()));
      if (csv) {
        *csv << '"' << way.name << "\"," << layer_.token_count() << ',' << layer_.name() << ','
             << options_.session_count << ',' << us << ',' << floor_us << ',' << Mean(q.errors)
             << ',' << Mean(q.recoveries) << ',' << static_cast<double>(q.attended) / samples << ','
             << way.build_seconds << ',' << way.bytes << ',' << options_.thread_count << '\n';
      }
    }
    std::fflush(stdout);
  }

  const Options& options_;
  const BenchmarkLayer& layer_;
  Team team_;
  std::vector<Step> steps_;
  std::vector<Way> ways_;
  std::map<IndexKind, std::vector<std::shared_ptr<const TokenIndex>>> indexes_by_kind_;
  std::vector<PlannedIndex> planned_indexes_;
  std::optional<PlannedSteps> planned_steps_;
};

int Main(int argument_count, char** arguments) {
  Options options;
  bool is_tiny = false;
  CLI::App app("Compares ways to compute sparse attention: ours and other libraries'.");
  app.add_option("--tokens", options.token_counts, "Lengths of the context")->delimiter(',');
  app.add_option("--captured", options.captured,
                 "Captured attention (.npz) instead of the workload")
      ->delimiter(',');
  app.add_option("--layer", options.layer, "0 and 1 are diffuse, others typical");
  app.add_option("--steps", options.step_count, "Decode steps that quality is judged on");
  app.add_option("--runs", options.run_count, "Timed runs of each way, in turns");
  app.add_option("--predictions", options.prediction_count,
                 "Steps of each of three planners whose predictions are judged");
  app.add_flag("--print-predictions", options.prints_predictions, "Print each of them");
  app.add_option("--sessions", options.session_count, "Sessions that decode at the same time");
  app.add_option("--threads", options.thread_count, "Threads over kv heads");
  app.add_option("--error", options.error_target, "Output error that rivals are tuned to");
  app.add_option("--only", options.only, "Ways whose name contains this")->delimiter(',');
  app.add_option("--csv", options.csv, "Append figures to this file");
  app.add_flag("!--no-rivals", options.with_rivals, "Leave other libraries out");
  app.add_flag("--pause", options.pauses, "Wait for Enter between building and timed runs");
  app.add_flag("--tiny", is_tiny, "A run of a second, for ctest");
  CLI11_PARSE(app, argument_count, arguments);
  if (is_tiny) {
    options.token_counts = {2048};
    options.step_count = 1;
    options.run_count = 2;
    options.prediction_count = 4;
  }
  for (const std::string& path : options.captured) {
    Comparison(options, LoadCapturedLayer(path).get()).Run();
  }
  if (!options.captured.empty()) return 0;
  for (const uint64_t token_count : options.token_counts) {
    const auto layer = MakeWorkloadLayer(StandardModel(1), token_count, options.layer, /*seed=*/1);
    Comparison(options, layer.get()).Run();
  }
  return 0;
}

}  // namespace
}  // namespace alaya

int main(int argument_count, char** arguments) { return alaya::Main(argument_count, arguments); }
