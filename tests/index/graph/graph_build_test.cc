#include "index/graph/graph_build.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <thread>
#include <vector>

#include "index/kernels/encoding.h"
#include "tests/index/graph/graph_fixture.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 32;

void ExpectWellFormed(const KeyGraph& graph, size_t token_count, size_t first_token) {
  ASSERT_EQ(graph.neighbors.size(), token_count);
  ASSERT_EQ(graph.first_token, std::min(first_token, token_count));
  for (size_t t = 0; t < token_count; ++t) {
    if (t < first_token) {
      ASSERT_TRUE(graph.neighbors[t].empty());
    }
    ASSERT_LE(graph.neighbors[t].size(), kGraphDegreeMax);
    for (const uint32_t neighbor : graph.neighbors[t]) {
      ASSERT_GE(neighbor, first_token);
      ASSERT_LT(neighbor, token_count);
    }
  }
  ASSERT_TRUE(std::ranges::is_sorted(graph.entries));
  ASSERT_LE(graph.entries.size(), kGraphEntriesMax);
  EXPECT_EQ(Reachable(graph).size(), token_count - graph.first_token);
}

struct GraphCase {
  const char* name;
  size_t token_count;
  size_t query_count;
};

class GraphBuildShapeTest : public testing::TestWithParam<GraphCase> {};

TEST_P(GraphBuildShapeTest, EveryTokenIsReachableFromTheEntries) {
  const GraphCase& c = GetParam();
  const ArrayKvReader reader = ReaderOf(RandomKeys(c.token_count, kHeadDim, /*seed=*/1), kHeadDim);
  const std::vector<float> queries = RandomFloats(c.query_count * kHeadDim, 2.0F, /*seed=*/2);

  const auto graph = BuildKeyGraph(reader, Rows(queries, kHeadDim), SmallGraphOptions());

  ASSERT_TRUE(graph.ok()) << graph.status();
  ExpectWellFormed(*graph, c.token_count, SmallGraphOptions().first_token);
  EXPECT_EQ(reader.pin_count(), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, GraphBuildShapeTest,
    testing::Values(GraphCase{"NoTokens", 0, 5}, GraphCase{"OneToken", 1, 5},
                    GraphCase{"NoTokenAfterTheFirst", 8, 5},
                    GraphCase{"OneTokenAfterTheFirst", 9, 5}, GraphCase{"FewTokens", 20, 5},
                    GraphCase{"FewQueries", 1500, 3}, GraphCase{"ManyQueries", 1500, 2000},
                    GraphCase{"NoQueries", 1500, 0}, GraphCase{"OneTokenNoQueries", 1, 0},
                    GraphCase{"FewTokensNoQueries", 10, 0}),
    [](const auto& c) { return c.param.name; });

TEST(GraphBuildTest, EqualKeysAreReachableToo) {
  const std::vector<float> same(600 * kHeadDim, 0.5F);
  const std::vector<float> zeros(600 * kHeadDim, 0.0F);
  const std::vector<float> queries = RandomFloats(50 * kHeadDim, 1.0F, /*seed=*/3);
  for (const auto& keys : {same, zeros}) {
    for (const size_t query_count : {size_t{0}, size_t{50}}) {
      const ArrayKvReader reader = ReaderOf(keys, kHeadDim);

      const auto graph = BuildKeyGraph(reader, Rows(queries, kHeadDim).rows_range(0, query_count),
                                       SmallGraphOptions());

      ASSERT_TRUE(graph.ok());
      ExpectWellFormed(*graph, 600, SmallGraphOptions().first_token);
    }
  }
}

// Keys that any number of threads may read; ArrayKvReader counts its pins for one.
class SharedKeys : public KvReader {
 public:
  explicit SharedKeys(const std::vector<float>& keys)
      : bytes_(keys.size() * ElementBytes(DType::kBF16)) {
    EncodeElements(keys, DType::kBF16, bytes_);
  }

  size_t token_count() const override { return rows().rows; }
  size_t block_tokens() const override { return 16; }
  size_t head_dim() const override { return kHeadDim; }
  StatusOr<PinnedRows> ReadBlock(KvKind /*kind*/, size_t block_index) const override {
    const size_t begin = block_index * block_tokens();
    return PinnedRows{rows().rows_range(begin, std::min(block_tokens(), token_count() - begin)),
                      BlockPin()};
  }

 private:
  EncodedMatrixView rows() const {
    return {bytes_.data(), bytes_.size() / (kHeadDim * ElementBytes(DType::kBF16)), kHeadDim,
            DType::kBF16};
  }

  std::vector<std::byte> bytes_;
};

TEST(GraphBuildTest, TheSameInputGivesTheSameGraphWhoeverRunsIt) {
  const SharedKeys reader(RandomKeys(800, kHeadDim, /*seed=*/4));
  const std::vector<float> queries = RandomFloats(300 * kHeadDim, 1.0F, /*seed=*/5);
  GraphBuildOptions backwards = SmallGraphOptions();
  backwards.parallel_for = [](size_t count, const std::function<void(size_t)>& function) {
    for (size_t i = count; i > 0; --i) function(i - 1);
  };

  GraphBuildOptions team = SmallGraphOptions();
  team.parallel_for = [](size_t count, const std::function<void(size_t)>& function) {
    std::atomic<size_t> next{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (size_t i = next++; i < count; i = next++) function(i);
      });
    }
    for (std::thread& thread : threads) thread.join();
  };

  const auto a = BuildKeyGraph(reader, Rows(queries, kHeadDim), SmallGraphOptions());
  for (const GraphBuildOptions& options : {backwards, team}) {
    const auto b = BuildKeyGraph(reader, Rows(queries, kHeadDim), options);

    ASSERT_TRUE(a.ok() && b.ok());
    EXPECT_EQ(a->entries, b->entries);
    EXPECT_EQ(a->neighbors, b->neighbors);
    EXPECT_EQ(a->anchors.weights, b->anchors.weights);
    EXPECT_EQ(a->anchors.levels, b->anchors.levels);
  }
}

TEST(GraphBuildTest, ReportsProgressThatOnlyGrowsToOne) {
  const ArrayKvReader reader = ReaderOf(RandomKeys(800, kHeadDim, /*seed=*/4), kHeadDim);
  const std::vector<float> queries = RandomFloats(300 * kHeadDim, 1.0F, /*seed=*/5);
  std::vector<double> reports;
  GraphBuildOptions options = SmallGraphOptions();
  options.progress = [&](double share) { reports.push_back(share); };

  ASSERT_TRUE(BuildKeyGraph(reader, Rows(queries, kHeadDim), options).ok());

  EXPECT_GE(reports.size(), 4);
  EXPECT_TRUE(std::ranges::is_sorted(reports));
  EXPECT_EQ(reports.back(), 1.0);
}

TEST(GraphBuildTest, StopsAtAnyOfItsQuestions) {
  const ArrayKvReader reader = ReaderOf(RandomKeys(800, kHeadDim, /*seed=*/4), kHeadDim);
  const std::vector<float> queries = RandomFloats(300 * kHeadDim, 1.0F, /*seed=*/5);
  size_t asked = 0;
  GraphBuildOptions options = SmallGraphOptions();
  options.should_stop = [&] {
    ++asked;
    return false;
  };
  ASSERT_TRUE(BuildKeyGraph(reader, Rows(queries, kHeadDim), options).ok());
  const size_t all = asked;
  ASSERT_GE(all, 10);

  for (const size_t stop_at : {size_t{1}, all / 2, all}) {
    asked = 0;
    options.should_stop = [&] { return ++asked >= stop_at; };
    EXPECT_EQ(BuildKeyGraph(reader, Rows(queries, kHeadDim), options).status().code(),
              StatusCode::kCancelled);
    EXPECT_EQ(asked, stop_at) << "once stopped it is not asked again";
  }
}

TEST(GraphBuildTest, RefusesOptionsOutsideTheirLimits) {
  const ArrayKvReader reader = ReaderOf(RandomKeys(20, kHeadDim, /*seed=*/6), kHeadDim);
  const auto expect_refused = [&](auto change) {
    GraphBuildOptions options = SmallGraphOptions();
    change(options);
    EXPECT_EQ(BuildKeyGraph(reader, {}, options).status().code(), StatusCode::kInvalidArgument);
  };
  expect_refused([](auto& options) { options.sample_share = 0; });
  expect_refused([](auto& options) { options.sample_share = 1.5; });
  expect_refused([](auto& options) { options.sample_share = std::nan(""); });
  expect_refused([](auto& options) { options.sample_count_max = 0; });
  expect_refused([](auto& options) { options.query_neighbors = 0; });
  expect_refused([](auto& options) { options.sponsored_rank = 0; });
  expect_refused([](auto& options) { options.sponsor_count = 0; });
  expect_refused([](auto& options) { options.degree_max = 0; });
  expect_refused([](auto& options) { options.degree_max = 257; });
  expect_refused([](auto& options) { options.link_count = 257; });
  expect_refused([](auto& options) { options.link_window = 0; });
  expect_refused([](auto& options) { options.anchor_tokens = 0; });
  expect_refused([](auto& options) { options.anchor_count = 257; });
  expect_refused([](auto& options) { options.entry_tokens = 0; });
}

TEST(GraphBuildTest, AnErrorOfTheReaderPassesThrough) {
  ArrayKvReader reader = ReaderOf(RandomKeys(100, kHeadDim, /*seed=*/7), kHeadDim);
  reader.FailAt(KvKind::kKey, 4);

  EXPECT_EQ(BuildKeyGraph(reader, {}, SmallGraphOptions()).status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace alaya
