// The fine index against hnswlib, and the coarse one beside it: build time, bytes, and
// what share of the DIPR set a search finds for what share of tokens scored.
//
//   graph_bench [--tiny] [--alone] [--tokens N] [--from N] [--heads N]
//
// (--alone: without hnswlib; heads from the one of that number in kHeads on)
//
// One kv head of several layers of the synthetic workload at a time: window 128 + 512,
// alpha 0.012, queries sampled at every eleventh position. hnswlib (M 16, ef_construction
// 200, inner product) gets the same threads, and its answer is filtered by the true bar:
// it has no range search. "Scored" counts inner products of a query with keys, and with
// the anchors of the fine index. The last rows compare a search that sees a fifth of the
// tokens with one in an index over just them.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#ifdef ALAYA_HAS_HNSWLIB
#include <hnswlib/hnswlib.h>
#endif

#include "index/coarse/coarse_index.h"
#include "index/dipr/dipr_selection.h"
#include "index/exact_index.h"
#include "index/graph/fine_index.h"
#include "index/kernels/encoding.h"
#include "index/memory_index_blocks.h"
#include "storage/types/check.h"
#include "tests/benchmarks/benchmark_main.h"
#include "tests/support/attention_workload.h"
#include "tests/support/parallel_for.h"
#include "tests/support/quality.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 128;
constexpr size_t kGroup = 4;
constexpr size_t kBlockTokens = 256;
// Odd: some of the sampled queries must ask for needles, as every eighth position does.
constexpr uint64_t kSampleInterval = 11;
constexpr size_t kSteps = 16;
constexpr uint64_t kStepDistance = 9;
constexpr Window kWindow;
const float kScale = 1 / std::sqrt(static_cast<float>(kHeadDim));

struct HeadName {
  uint32_t layer;
  uint32_t kv_head;
};
constexpr HeadName kHeads[] = {{9, 3}, {5, 0},  {20, 6}, {30, 5}, {12, 1}, {26, 7},
                               {2, 1}, {31, 0}, {4, 5},  {27, 6}, {25, 3}, {0, 5}};

double Seconds(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Keys of the first tokens of a head.
class KeyReader : public KvReader {
 public:
  KeyReader(std::span<const std::byte> rows, size_t token_count)
      : rows_{rows.data(), token_count, kHeadDim, DType::kBF16} {}

  size_t token_count() const override { return rows_.rows; }
  size_t block_tokens() const override { return kBlockTokens; }
  size_t head_dim() const override { return kHeadDim; }
  StatusOr<PinnedRows> ReadBlock(KvKind /*kind*/, size_t block_index) const override {
    const size_t begin = block_index * kBlockTokens;
    return PinnedRows{rows_.rows_range(begin, std::min(kBlockTokens, rows_.rows - begin)),
                      BlockPin()};
  }

 private:
  EncodedMatrixView rows_;
};

// One kv head: keys, sampled queries, queries of decode steps.
class Head {
 public:
  Head(const AttentionWorkload& workload, HeadName name, size_t token_count)
      : workload_(workload), name_(name), rows_(token_count * kHeadDim * 2) {
    ParallelFor((token_count + kBlockTokens - 1) / kBlockTokens, [&](size_t i) {
      const uint64_t begin = i * kBlockTokens;
      const TokenRange range = {begin, std::min<uint64_t>(begin + kBlockTokens, token_count)};
      EncodeElements(workload.HeadKeys(name.layer, name.kv_head, range), DType::kBF16,
                     std::span(rows_).subspan(begin * kHeadDim * 2, range.size() * kHeadDim * 2));
    });
  }

  std::span<const std::byte> rows() const { return rows_; }

  // Of one position, [kGroup, kHeadDim], rounded as an engine sends them.
  std::vector<float> Queries(uint64_t position) const {
    const std::vector<float> all = workload_.Queries(name_.layer, position);
    const auto begin = all.begin() + static_cast<ptrdiff_t>(name_.kv_head * kGroup * kHeadDim);
    std::vector<float> queries(begin, begin + kGroup * kHeadDim);
    std::vector<std::byte> encoded(queries.size() * 2);
    EncodeElements(queries, DType::kBF16, encoded);
    DecodeElements(DType::kBF16, encoded, queries);
    return queries;
  }
  std::vector<float> SampledQueries(size_t token_count) const {
    const size_t positions = token_count / kSampleInterval;
    std::vector<float> samples(positions * kGroup * kHeadDim);
    ParallelFor(positions, [&](size_t i) {
      const std::vector<float> queries = Queries(i * kSampleInterval);
      std::ranges::copy(queries, samples.begin() + static_cast<ptrdiff_t>(i * kGroup * kHeadDim));
    });
    return samples;
  }

 private:
  const AttentionWorkload& workload_;
  HeadName name_;
  std::vector<std::byte> rows_;
};

// The queries of one decode step after a context of some tokens, and the exact answer.
struct Step {
  std::vector<float> queries;
  std::vector<TokenRange> visible;
  std::vector<float> best_scores;         // of the window
  std::vector<QueryCandidates> expected;  // the DIPR set outside of the window
  std::vector<float> bars;

  SearchRequest Request() const {
    SearchRequest request;
    request.queries = {queries.data(), kGroup, kHeadDim};
    request.visible = visible;
    request.target = DiprTarget{};
    request.scale = kScale;
    request.best_scores = best_scores;
    request.sound = false;
    return request;
  }
};

std::vector<Step> DecodeSteps(const Head& head, const KvReader& reader, size_t token_count) {
  std::vector<Step> steps(kSteps);
  const ExactIndex exact(&reader);
  for (size_t i = 0; i < kSteps; ++i) {
    Step& step = steps[i];
    step.queries = head.Queries(token_count + i * kStepDistance);
    step.best_scores.assign(kGroup, -std::numeric_limits<float>::infinity());
    const uint64_t recent_begin = token_count - std::min<uint64_t>(kWindow.recent, token_count);
    const uint64_t sink_end = std::min<uint64_t>(kWindow.sink, recent_begin);
    for (const TokenRange window :
         {TokenRange{0, sink_end}, TokenRange{recent_begin, token_count}}) {
      step.visible.assign(kGroup, window);
      const auto found = exact.Search(step.Request());
      ALAYA_CHECK(found.ok());
      for (size_t q = 0; q < kGroup; ++q) {
        step.best_scores[q] = std::max(step.best_scores[q], found->queries[q].best_score);
      }
    }
    step.visible.assign(kGroup, {sink_end, recent_begin});
    auto found = exact.Search(step.Request());
    ALAYA_CHECK(found.ok());
    step.expected = std::move(found->queries);
    for (size_t q = 0; q < kGroup; ++q) {
      const float best = std::max(step.best_scores[q], step.expected[q].best_score);
      step.bars.push_back(DiprBar(best, DiprTarget{}.beta(double{kScale})));
    }
  }
  return steps;
}

// Means over queries, but for the lowest recall.
struct Figures {
  double recall = 0;
  double recall_min = 1;
  double valid = 1;  // share of all tokens returned; with a worse best there are others
  double set_size = 0;
  double scored = 0;
  double microseconds = 0;
  uint64_t checksum = 0;  // of the tokens found
};

std::vector<uint32_t> TokensOf(std::span<const ScoredToken> found) {
  std::vector<uint32_t> tokens;
  for (const ScoredToken& token : found) tokens.push_back(token.token);
  return tokens;
}

// `overhead`: inner products with anything but keys, per query.
Figures Measure(std::span<const Step> steps, const TokenIndex& index, size_t overhead = 0) {
  Figures figures;
  figures.scored = static_cast<double>(overhead);
  const double count = static_cast<double>(steps.size() * kGroup);
  uint64_t returned = 0;
  int64_t valid = 0;
  for (const Step& step : steps) {
    StatusOr<SearchResult> found = SearchResult();
    double best_seconds = 1;
    for (int run = 0; run < 3; ++run) {
      best_seconds = std::min(best_seconds, Seconds([&] { found = index.Search(step.Request()); }));
    }
    ALAYA_CHECK(found.ok());
    figures.microseconds += best_seconds * 1e6 / count;
    figures.scored += static_cast<double>(found->tokens_scored) / count;
    for (size_t q = 0; q < kGroup; ++q) {
      const std::vector<uint32_t> expected = TokensOf(step.expected[q].tokens);
      const std::vector<uint32_t> tokens = TokensOf(found->queries[q].tokens);
      const double recall = Recall(expected, tokens);
      figures.recall += recall / count;
      figures.recall_min = std::min(figures.recall_min, recall);
      figures.set_size += static_cast<double>(expected.size()) / count;
      for (const uint32_t token : tokens) figures.checksum = figures.checksum * 31 + token;
      returned += tokens.size();
      valid += std::ranges::count_if(
          tokens, [&](uint32_t token) { return std::ranges::binary_search(expected, token); });
    }
  }
  if (returned > 0) figures.valid = static_cast<double>(valid) / static_cast<double>(returned);
  return figures;
}

void PrintRow(const char* name, double build_seconds, double bytes, const Figures& figures,
              double visible_count) {
  std::printf(
      "| %-22s | %8.2f | %8.1f | %6.3f | %6.2f | %5.3f | %7.1f | %7.0f | %5.2f %% | %7.0f | "
      "%016llx |\n",
      name, build_seconds, bytes, figures.recall, figures.recall_min, figures.valid,
      figures.set_size, figures.scored, 100 * figures.scored / visible_count, figures.microseconds,
      static_cast<unsigned long long>(figures.checksum));
  std::fflush(stdout);
}

// A fine index and its blocks.
struct BuiltFine {
  MemoryIndexBlocks blocks;
  std::unique_ptr<FineIndex> index;
  double seconds = 0;
};

std::unique_ptr<BuiltFine> BuildFine(const KvReader& reader, const std::vector<float>& samples) {
  auto built = std::make_unique<BuiltFine>();
  GraphBuildOptions options;
  options.parallel_for = [](size_t count, const std::function<void(size_t)>& function) {
    ParallelFor(count, function);
  };
  built->seconds = Seconds([&] {
    ALAYA_CHECK(BuildFineIndex(reader, {samples.data(), samples.size() / kHeadDim, kHeadDim},
                               options, built->blocks.Sink())
                    .ok());
  });
  auto index = FineIndex::Open(&built->blocks, &reader);
  ALAYA_CHECK(index.ok());
  built->index = *std::move(index);
  return built;
}

#ifdef ALAYA_HAS_HNSWLIB

// Counts what it computes; hnswlib's own count has links, visited or not.
class CountingSpace : public hnswlib::SpaceInterface<float> {
 public:
  static thread_local uint64_t distance_count;

  CountingSpace() : space_(kHeadDim) { distance_ = space_.get_dist_func(); }
  size_t get_data_size() override { return space_.get_data_size(); }
  hnswlib::DISTFUNC<float> get_dist_func() override {
    return [](const void* a, const void* b, const void* dimension) {
      ++distance_count;
      return distance_(a, b, dimension);
    };
  }
  void* get_dist_func_param() override { return space_.get_dist_func_param(); }

 private:
  static inline hnswlib::DISTFUNC<float> distance_ = nullptr;
  hnswlib::InnerProductSpace space_;
};
thread_local uint64_t CountingSpace::distance_count = 0;

void MeasureHnsw(const Head& head, size_t token_count, std::span<const Step> steps) {
  std::vector<float> keys(token_count * kHeadDim);
  DecodeElements(DType::kBF16, head.rows(), keys);
  CountingSpace space;
  hnswlib::HierarchicalNSW<float> graph(&space, token_count, /*M=*/16, /*ef_construction=*/200);
  const double seconds = Seconds([&] {
    graph.addPoint(keys.data(), 0);
    ParallelFor(token_count - 1,
                [&](size_t i) { graph.addPoint(&keys[(i + 1) * kHeadDim], i + 1); });
  });
  // Links of the lowest level, without the keys.
  const double bytes = static_cast<double>(graph.size_links_level0_);
  for (const size_t ef : {size_t{100}, size_t{400}, size_t{1600}}) {
    graph.setEf(ef);
    Figures figures;
    const double count = static_cast<double>(steps.size() * kGroup);
    CountingSpace::distance_count = 0;
    for (const Step& step : steps) {
      for (size_t q = 0; q < kGroup; ++q) {
        std::vector<uint32_t> tokens;
        figures.microseconds += Seconds([&] {
                                  auto found = graph.searchKnn(&step.queries[q * kHeadDim], ef);
                                  for (; !found.empty(); found.pop()) {
                                    if (1 - found.top().first < step.bars[q]) continue;
                                    tokens.push_back(static_cast<uint32_t>(found.top().second));
                                  }
                                }) *
                                1e6 / count;
        std::ranges::sort(tokens);
        const std::vector<uint32_t> expected = TokensOf(step.expected[q].tokens);
        const double recall = Recall(expected, tokens);
        figures.recall += recall / count;
        figures.recall_min = std::min(figures.recall_min, recall);
        figures.set_size += static_cast<double>(expected.size()) / count;
        for (const uint32_t token : tokens) figures.checksum = figures.checksum * 31 + token;
      }
    }
    figures.scored = static_cast<double>(CountingSpace::distance_count) / count;
    char name[32];
    std::snprintf(name, sizeof(name), "hnswlib, ef %zu", ef);
    PrintRow(name, seconds, bytes, figures, static_cast<double>(token_count));
  }
}

#else

void MeasureHnsw(const Head& /*head*/, size_t /*token_count*/, std::span<const Step> /*steps*/) {
  std::printf("| (built without hnswlib) |\n");
}

#endif  // ALAYA_HAS_HNSWLIB

void MeasureHead(const AttentionWorkload& workload, HeadName name, size_t token_count,
                 bool is_alone) {
  const Head head(workload, name, token_count);
  std::printf("\nlayer %u, kv head %u: logits of deviation %.2f\n\n", name.layer, name.kv_head,
              workload.profile(name.layer, name.kv_head).logit_deviation);
  std::printf(
      "| index | build s | bytes / token | recall | lowest | valid | DIPR set | scored | share | "
      "us / "
      "query "
      "| checksum |\n|---|---|---|---|---|---|---|---|---|---|---|\n");
  const auto all = static_cast<double>(token_count);
  const KeyReader reader(head.rows(), token_count);
  const std::vector<Step> steps = DecodeSteps(head, reader, token_count);
  const auto fine = BuildFine(reader, head.SampledQueries(token_count));
  PrintRow("fine", fine->seconds, static_cast<double>(fine->blocks.bytes()) / all,
           Measure(steps, *fine->index, fine->index->anchor_count()), all);

  MemoryIndexBlocks bounds;
  const double coarse_seconds =
      Seconds([&] { ALAYA_CHECK(BuildStretchBounds(reader, {}, bounds.Sink()).ok()); });
  const auto coarse = CoarseIndex::Open(&bounds, &reader);
  ALAYA_CHECK(coarse.ok());
  PrintRow("coarse", coarse_seconds, static_cast<double>(bounds.bytes()) / all,
           Measure(steps, **coarse), all);
  if (!is_alone) MeasureHnsw(head, token_count, steps);

  const size_t part_count = token_count / 5;
  const auto part = static_cast<double>(part_count);
  const KeyReader part_reader(head.rows(), part_count);
  const std::vector<Step> part_steps = DecodeSteps(head, part_reader, part_count);
  const auto part_fine = BuildFine(part_reader, head.SampledQueries(part_count));
  PrintRow("fine, sees a fifth", fine->seconds, static_cast<double>(fine->blocks.bytes()) / all,
           Measure(part_steps, *fine->index, fine->index->anchor_count()), part);
  PrintRow("fine, over this fifth", part_fine->seconds,
           static_cast<double>(part_fine->blocks.bytes()) / part,
           Measure(part_steps, *part_fine->index, part_fine->index->anchor_count()), part);
}

struct BenchPlan {
  size_t token_count = size_t{32} * 1024;
  size_t from = 0;
  size_t heads = 2;
  bool is_alone = false;
};

Status Run(const BenchPlan& plan) {
  WorkloadOptions options;
  options.model = StandardModel(32);
  options.token_count = plan.token_count;
  const AttentionWorkload workload(options);
  std::printf("%zu tokens, %u threads build, one searches\n", plan.token_count,
              std::thread::hardware_concurrency());
  for (const HeadName& name :
       std::span(kHeads).subspan(plan.from, std::min(plan.heads, std::size(kHeads) - plan.from))) {
    MeasureHead(workload, name, plan.token_count, plan.is_alone);
  }
  return OkStatus();
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  alaya::BenchPlan plan;
  CLI::App app("Graphs of one kv head: build, bytes, recall for tokens scored; seeing a fifth.");
  app.add_flag_callback(
      "--tiny",
      [&] {
        plan.token_count = 2048;
        plan.heads = 1;
      },
      alaya::kTinyHelp);
  app.add_option("--tokens", plan.token_count, "Of the context")
      ->capture_default_str()
      ->check(CLI::Range(size_t{5}, size_t{1} << 24));
  app.add_option("--from", plan.from, "The first head of the list")
      ->capture_default_str()
      ->check(CLI::Range(size_t{0}, std::size(alaya::kHeads)));
  app.add_option("--heads", plan.heads, "How many of them")->capture_default_str();
  app.add_flag("--alone", plan.is_alone, "Without hnswlib and the coarse index");
  return alaya::BenchmarkMain(app, argc, argv, [&] { return alaya::Run(plan); });
}
