// Is the synthetic attention like a trained model's? What the literature measured, on
// 100K tokens of the standard model: one kv head of each of its 32 layers.
//
// The bounds are those of the workload's recipe. Where it says "about", the interval is
// the recipe's figure and what the seeds of one head more or less make of it.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <hnswlib/hnswlib.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/support/attention_workload.h"
#include "tests/support/exact_attention.h"
#include "tests/support/parallel_for.h"
#include "tests/support/quality.h"

namespace alaya {
namespace {

constexpr uint64_t kTokens = 100'000;
constexpr TokenRange kVisible{0, kTokens};
constexpr size_t kDim = 128;
const double kScale = 1 / std::sqrt(static_cast<double>(kDim));

AttentionWorkload StandardWorkload() {
  return AttentionWorkload({.model = StandardModel(32), .token_count = kTokens, .seed = 1});
}

std::vector<float> Query(const AttentionWorkload& workload, uint32_t layer, uint32_t query_head,
                         uint64_t position) {
  const std::vector<float> all = workload.Queries(layer, position);
  const auto begin = all.begin() + static_cast<ptrdiff_t>(query_head * kDim);
  return {begin, begin + kDim};
}

struct HeadFigures {
  std::vector<double> recovery;           // of the step's own top 1000
  std::vector<double> static_recovery;    // of the first step's top 1000, at distant steps
  std::vector<double> best_is_in_window;  // 0 or 1
  std::vector<double> tokens_for_90_percent;
  double overlap_of_neighbours = 0;  // share of the top 100 in common
  std::vector<double> overlap_of_distant;
};

HeadFigures MeasureHead(const AttentionWorkload& workload, uint32_t layer) {
  const uint32_t kv_head = (5 * layer) % 8;
  const uint32_t query_head = 4 * kv_head + layer % 4;
  const std::vector<float> keys = workload.HeadKeys(layer, kv_head, kVisible);
  std::vector<uint32_t> first_1000;
  std::vector<uint32_t> first_100;
  HeadFigures figures;
  for (const uint64_t step : {0U, 1U, 64U, 128U}) {
    const std::vector<float> query = Query(workload, layer, query_head, kTokens + step);
    const auto scores = ExactScores(query, {keys.data(), kTokens, kDim});
    const auto top_1000 = CriticalTokens(scores, kScale, kVisible, TopKTarget{1000});
    const auto top_100 = CriticalTokens(scores, kScale, kVisible, TopKTarget{100});
    const auto best = CriticalTokens(scores, kScale, kVisible, TopKTarget{1});
    const auto window = WindowTokens(kVisible, {.sink = 32, .recent = 32});
    figures.recovery.push_back(MassOf(scores, kScale, kVisible, top_1000));
    figures.best_is_in_window.push_back(AllIn(best, window) ? 1 : 0);
    figures.tokens_for_90_percent.push_back(
        static_cast<double>(TokensForMass(scores, kScale, kVisible, 0.9)));
    if (step == 0) {
      first_1000 = top_1000;
      first_100 = top_100;
      continue;
    }
    const double overlap = Recall(first_100, top_100);
    if (step == 1) {
      figures.overlap_of_neighbours = overlap;
    } else {
      figures.overlap_of_distant.push_back(overlap);
      figures.static_recovery.push_back(MassOf(scores, kScale, kVisible, first_1000));
    }
  }
  return figures;
}

TEST(AttentionWorkloadAcceptanceTest, DecodingIsLikeThatOfATrainedModel) {
  const AttentionWorkload workload = StandardWorkload();
  std::vector<HeadFigures> heads(32);

  ParallelFor(heads.size(),
              [&](size_t i) { heads[i] = MeasureHead(workload, static_cast<uint32_t>(i)); });

  std::vector<double> recovery;
  std::vector<double> static_recovery;
  std::vector<double> in_window;
  std::vector<double> needed;
  std::vector<double> neighbours;
  std::vector<double> distant;
  const auto append = [](const std::vector<double>& from, std::vector<double>& to) {
    to.insert(to.end(), from.begin(), from.end());
  };
  for (const HeadFigures& head : heads) {
    append(head.recovery, recovery);
    append(head.static_recovery, static_recovery);
    append(head.best_is_in_window, in_window);
    append(head.tokens_for_90_percent, needed);
    neighbours.push_back(head.overlap_of_neighbours);
    append(head.overlap_of_distant, distant);
  }
  fmt::print(
      "arg-max in window {:.3f}; top-1000 recovery {:.3f}, static set {:.3f}; "
      "top-100 overlap {:.2f} of neighbours, {:.2f} of distant steps; tokens for 90 % "
      "{:.0f} to {:.0f}\n",
      Mean(in_window), Mean(recovery), Mean(static_recovery), Mean(neighbours), Mean(distant),
      *std::ranges::min_element(needed), *std::ranges::max_element(needed));
  EXPECT_GE(Mean(in_window), 0.9);
  EXPECT_GE(Mean(recovery), 0.85);
  EXPECT_LE(Mean(recovery), 0.93);
  EXPECT_NEAR(Mean(static_recovery), 0.7, 0.08);
  EXPECT_LT(Mean(static_recovery), Mean(recovery) - 0.08);
  EXPECT_NEAR(Mean(neighbours), 0.8, 0.1);
  EXPECT_NEAR(Mean(distant), 0.3, 0.1);
  EXPECT_LT(*std::ranges::min_element(needed), 100);
}

TEST(AttentionWorkloadAcceptanceTest, FirstLayersSpreadOverTensOfThousandsOfTokens) {
  const AttentionWorkload workload = StandardWorkload();
  std::vector<double> needed(16);

  ParallelFor(needed.size(), [&](size_t i) {
    const auto layer = static_cast<uint32_t>(i / 8);
    const auto kv_head = static_cast<uint32_t>(i % 8);
    const std::vector<float> keys = workload.HeadKeys(layer, kv_head, kVisible);
    const std::vector<float> query = Query(workload, layer, 4 * kv_head, kTokens);
    const auto scores = ExactScores(query, {keys.data(), kTokens, kDim});
    needed[i] = static_cast<double>(TokensForMass(scores, kScale, kVisible, 0.9));
  });

  fmt::print("tokens for 90 %: median {:.0f}, most {:.0f}\n", Percentile(needed, 0.5),
             Percentile(needed, 1));
  EXPECT_GT(Percentile(needed, 1), 30'000);
  EXPECT_GT(Percentile(needed, 0.5), 10'000);
}

class KeyGraph {
 public:
  explicit KeyGraph(std::span<const float> keys)
      : keys_(keys), space_(kDim), graph_(&space_, kTokens, /*M=*/16, /*ef_construction=*/200) {
    graph_.addPoint(keys.data(), 0);
    ParallelFor(kTokens - 1, [&](size_t i) { graph_.addPoint(&keys[(i + 1) * kDim], i + 1); });
    graph_.setEf(200);
  }

  // Recall@10 by inner product.
  double Recall10(std::span<const float> query) {
    const auto scores = ExactScores(query, {keys_.data(), kTokens, kDim});
    const auto expected = CriticalTokens(scores, 1, kVisible, TopKTarget{10});
    std::vector<uint32_t> found;
    for (auto result = graph_.searchKnn(query.data(), 10); !result.empty(); result.pop()) {
      found.push_back(static_cast<uint32_t>(result.top().second));
    }
    std::ranges::sort(found);
    return Recall(expected, found);
  }

 private:
  std::span<const float> keys_;
  hnswlib::InnerProductSpace space_;
  hnswlib::HierarchicalNSW<float> graph_;
};

TEST(AttentionWorkloadAcceptanceTest, AKeyGraphFindsKeysButMissesForQueries) {
  const AttentionWorkload workload = StandardWorkload();
  const uint32_t layer = 9;
  const uint32_t kv_head = 3;
  const std::vector<float> keys = workload.HeadKeys(layer, kv_head, kVisible);
  KeyGraph graph(keys);
  const RandomStream random(7);
  std::vector<double> of_keys;
  std::vector<double> of_queries;
  for (uint64_t i = 0; i < 48; ++i) {
    // A stored key, moved by a third of the noise that a topic's keys have.
    const size_t first = random.Below(i, kTokens) * kDim;
    std::vector<float> near_a_key(&keys[first], &keys[first] + kDim);
    for (size_t c = 0; c < kDim; ++c) near_a_key[c] += random.Normal((i + 1) << 20 | c) / 6;

    of_keys.push_back(graph.Recall10(near_a_key));
    const uint64_t position = kTokens + 9 * i;
    if (workload.AsksForNeedles(position)) continue;
    of_queries.push_back(graph.Recall10(
        Query(workload, layer, 4 * kv_head + static_cast<uint32_t>(i % 4), position)));
  }

  fmt::print("recall@10: {:.3f} of key-like queries, {:.3f} of real ones\n", Mean(of_keys),
             Mean(of_queries));
  EXPECT_GT(Mean(of_keys), 0.95);
  EXPECT_LT(Mean(of_queries), 0.85);
}

}  // namespace
}  // namespace alaya
