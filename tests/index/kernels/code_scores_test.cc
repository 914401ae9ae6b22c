#include "index/kernels/code_scores.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "index/kernels/bf16.h"
#include "index/kernels/softmax.h"
#include "tests/index/kernels/each_instruction_set.h"
#include "tests/index/kernels/random_codes.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class CodeScoresTest : public EachInstructionSetTest {};
ALAYA_EACH_INSTRUCTION_SET(CodeScoresTest);

// A filter with room of its own.
struct RoomyFilter {
  RoomyFilter(size_t begin, size_t end, float bar)
      : tokens(end - begin + kFilterPadding, 7), upper(tokens.size(), 7.0F) {
    filter.factors = {0.25F, 0.125F, 0.5F};
    filter.bar = bar;
    filter.begin = begin;
    filter.end = end;
    filter.first_token = 1000;
    filter.tokens = tokens;
    filter.upper = upper;
  }
  std::vector<uint32_t> tokens;
  std::vector<float> upper;
  ScoreFilter filter;
};

// `sees_all`: the filter's top may be a score below its bar.
void ExpectByDefinition(const ScoreFilter& filter, std::span<const float> scores,
                        const uint16_t* scales, const uint16_t* errors, bool sees_all) {
  std::vector<uint32_t> expected;
  float top = -kInfinity;
  float top_found = -kInfinity;
  for (size_t i = filter.begin; i < filter.end; ++i) {
    // Powers of two: exact but for the last addition.
    const float bound = 0.25F * BF16ToFloat(errors[i]) + 0.125F * BF16ToFloat(scales[i]) + 0.5F;
    if (scores[i] + bound >= filter.bar) {
      expected.push_back(static_cast<uint32_t>(i) + 1000);
      top_found = std::max(top_found, scores[i]);
    }
    top = std::max(top, scores[i]);
  }
  const auto found = filter.tokens.first(filter.count);
  EXPECT_EQ(std::vector<uint32_t>(found.begin(), found.end()), expected);
  if (sees_all) {
    EXPECT_EQ(filter.top, top);
  } else {
    EXPECT_GE(filter.top, top_found);
    EXPECT_LE(filter.top, top);
  }
  if (filter.top > -kInfinity) {
    EXPECT_EQ(filter.top, scores[filter.top_token - 1000]);
  }
  for (size_t i = 0; i < filter.count; ++i) {
    EXPECT_GE(filter.upper[i], filter.bar);
    EXPECT_GE(filter.upper[i], scores[filter.tokens[i] - 1000]);
  }
}

// Filters that mark tokens find those that others list.
void ExpectSameMarked(const ScoreFilter& listing, const ScoreFilter& marking) {
  std::vector<uint32_t> marked;
  for (uint32_t token = 0; token < 192; ++token) {
    if ((marking.marks[token / 64] >> token % 64 & 1) != 0) marked.push_back(1000 + token);
  }
  const auto listed = listing.tokens.first(listing.count);
  EXPECT_EQ(marked, std::vector<uint32_t>(listed.begin(), listed.end()));
  EXPECT_EQ(marking.count, listing.count);
  EXPECT_EQ(marking.top, listing.top);
  EXPECT_EQ(marking.top_token, listing.top_token);
}

TEST_P(CodeScoresTest, FiltersFindWhatMayReachTheirBars) {
  constexpr size_t kQueries = 5;
  constexpr size_t kTokens = 192;
  RandomCodes codes(64, kTokens / 64, /*seed=*/7);
  for (size_t i = 0; i < kTokens; ++i) {
    // Errors of powers of two times small numbers, some infinite.
    for (size_t kind = 0; kind < 4; ++kind) {
      const float number = kind % 2 == 0 ? static_cast<float>(i % 5)
                           : i % 41 == 3 ? kInfinity
                                         : static_cast<float>(i % 3);
      codes.numbers[kind * kTokens + i] = RoundUpToBF16(number);
    }
  }
  const std::vector<float> rotated = RandomFloats(kQueries * 64, 0.1F, 8);
  const std::vector<float> centre_scores = RandomFloats(kQueries, 1.0F, 9);
  const CodeQueries queries({rotated.data(), kQueries, 64}, centre_scores);
  std::vector<float> memory(kQueries * kTokens);
  const MatrixView<float> scores(memory.data(), kQueries, kTokens);
  for (const auto& [begin, end] : std::vector<std::pair<size_t, size_t>>{
           {0, 192}, {0, 0}, {0, 1}, {63, 64}, {64, 128}, {64, 129}, {17, 190}, {130, 131}}) {
    for (const float bar : {-kInfinity, 0.0F, 1.5F, 4.0F, kInfinity}) {
      SCOPED_TRACE(testing::Message() << "tokens [" << begin << ", " << end << "), bar " << bar);
      for (const bool is_fine : {false, true}) {
        std::vector<RoomyFilter> rooms;
        std::vector<ScoreFilter> filters;
        std::vector<ScoreFilter> marking;
        std::vector<uint64_t> marks(kQueries * kTokens / 64);
        for (size_t q = 0; q < kQueries; ++q) {
          rooms.emplace_back(begin, end, bar);
          filters.push_back(rooms.back().filter);
          marking.push_back(rooms.back().filter);
          marking.back().marks = &marks[q * kTokens / 64];
        }

        if (is_fine) {
          FineScores(queries, codes.view, scores, filters);
          FineScores(queries, codes.view, scores, marking);
        } else {
          AllCoarseScores(queries, codes.view, scores);
          FilterCoarseScores(queries, codes.view, filters);
          FilterCoarseScores(queries, codes.view, marking);
        }

        for (size_t q = 0; q < kQueries; ++q) {
          ExpectSameMarked(filters[q], marking[q]);
          ExpectByDefinition(filters[q], scores.row(q),
                             is_fine ? codes.view.fine_scale : codes.view.coarse_scale,
                             is_fine ? codes.view.fine_error : codes.view.coarse_error, is_fine);
        }
      }
    }
  }
}

// Whole groups are left out by the largest numbers of any of their tokens.
TEST_P(CodeScoresTest, ATokenThatJustReachesTheBarIsFound) {
  constexpr size_t kTokens = 256;
  const RandomCodes codes(128, kTokens / 64, /*seed=*/11);
  for (const float centre_score : {0.0F, -3.0F, 5000.0F}) {
    const std::vector<float> rotated = RandomFloats(128, 1.0F, 12);
    const CodeQueries queries({rotated.data(), 1, 128}, std::vector<float>{centre_score});
    RoomyFilter all(0, kTokens, -kInfinity);
    FilterCoarseScores(queries, codes.view, std::span(&all.filter, 1));
    ASSERT_EQ(all.filter.count, kTokens);
    for (size_t token = 0; token < kTokens; ++token) {
      RoomyFilter room(0, kTokens, all.filter.upper[token]);

      FilterCoarseScores(queries, codes.view, std::span(&room.filter, 1));

      const auto found = room.filter.tokens.first(room.filter.count);
      EXPECT_TRUE(std::ranges::binary_search(found, static_cast<uint32_t>(token) + 1000))
          << "centre " << centre_score << ", token " << token;
    }
  }
}

TEST(CodeQueriesTest, DeviationsOfCoarseScoresAreThoseOfTheElements) {
  // The first four of root mean square 2, the others 0.5.
  const std::vector<float> elements = {2, -2, 2, 2, 0.5F, 0.5F, -0.5F, 0.5F};
  const std::vector<float> centre = {0};
  const MatrixView<const float> rows(elements.data(), 1, 8);

  const CodeQueries all(rows, centre);
  EXPECT_NEAR(all[0].coarse_deviation, std::sqrt(2.125), 1e-9);
  EXPECT_NEAR(all[0].coarse_deviation_max, std::sqrt(2.125), 1e-9);
  // As expected of the others; twice that.
  const CodeQueries as_expected(rows, centre, {4, 0.25F, 0.3F});
  EXPECT_NEAR(as_expected[0].coarse_deviation, 2, 1e-6);
  EXPECT_NEAR(as_expected[0].coarse_deviation_max, 2, 1e-6);
  const CodeQueries larger(rows, centre, {4, 0.125F, 0.25F});
  EXPECT_NEAR(larger[0].coarse_deviation, std::sqrt(0.75 * 4 + 0.25 * 16), 1e-6);
  EXPECT_NEAR(larger[0].coarse_deviation_max, 4, 1e-6);
}

}  // namespace
}  // namespace alaya
