// Random codes of keys, the scores that a kernel gives them beside the expected ones, and
// the tests that coarse and fine scores share.

#ifndef ALAYA_TESTS_INDEX_KERNELS_RANDOM_CODES_H_
#define ALAYA_TESTS_INDEX_KERNELS_RANDOM_CODES_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <ostream>
#include <random>
#include <span>
#include <vector>

#include "hwy/aligned_allocator.h"
#include "index/kernels/bf16.h"
#include "index/kernels/code_scores.h"
#include "index/kernels/key_codes.h"
#include "index/kernels/softmax.h"
#include "storage/types/views.h"

namespace alaya {

// Random codes; any bytes are codes.
struct RandomCodes {
  RandomCodes(size_t head_dim, size_t group_count, uint32_t seed) {
    std::mt19937 random(seed);
    high = hwy::AllocateAligned<std::byte>((group_count + 1) * HighBytes(head_dim));
    low = hwy::AllocateAligned<std::byte>((group_count + 1) * LowBytes(head_dim));
    for (size_t i = 0; i < group_count * HighBytes(head_dim); ++i) high[i] = Byte(random);
    for (size_t i = 0; i < group_count * LowBytes(head_dim); ++i) low[i] = Byte(random);
    numbers.resize(4 * group_count * 64);
    for (uint16_t& number : numbers) {
      number = RoundUpToBF16(0.01F + static_cast<float>(random() % 1000) / 1000);
    }
    const size_t tokens = group_count * 64;
    view = {head_dim,
            group_count,
            high.get(),
            low.get(),
            numbers.data(),
            numbers.data() + tokens,
            numbers.data() + 2 * tokens,
            numbers.data() + 3 * tokens};
  }
  static std::byte Byte(std::mt19937& random) { return static_cast<std::byte>(random() % 256); }

  hwy::AlignedFreeUniquePtr<std::byte[]> high;
  hwy::AlignedFreeUniquePtr<std::byte[]> low;
  std::vector<uint16_t> numbers;
  KeyCodes view;
};

// In rows longer than they need to be: the room behind must stay untouched.
struct ComparedScores {
  ComparedScores(size_t query_count, size_t token_count)
      : stride(token_count + 3),
        values(query_count * stride, 77.0F),
        view(values.data(), query_count, token_count, stride),
        expected(query_count * token_count),
        expected_view(expected.data(), query_count, token_count) {}

  void ExpectNear(const std::vector<double>& tolerances) const {
    for (size_t q = 0; q < view.rows(); ++q) {
      for (size_t j = 0; j < view.cols(); ++j) {
        ASSERT_NEAR(view.row(q)[j], expected_view.row(q)[j], tolerances[q])
            << "query " << q << ", token " << j;
      }
      for (size_t j = view.cols(); j < stride; ++j) ASSERT_EQ(values[q * stride + j], 77.0F);
    }
  }

  size_t stride;
  std::vector<float> values;
  MatrixView<float> view;
  std::vector<double> expected;
  MatrixView<double> expected_view;
};

// What FilterCoarseScores gives every token.
inline void AllCoarseScores(const CodeQueries& queries, KeyCodes keys, MatrixView<float> scores) {
  const std::vector<uint16_t> no_errors(keys.token_count());
  keys.coarse_error = no_errors.data();
  const size_t room = keys.token_count() + kFilterPadding;
  std::vector<uint32_t> tokens(queries.size() * room);
  std::vector<float> upper(queries.size() * room);
  std::vector<ScoreFilter> filters(queries.size());
  for (size_t q = 0; q < queries.size(); ++q) {
    filters[q].bar = -std::numeric_limits<float>::infinity();
    filters[q].end = keys.token_count();
    filters[q].tokens = std::span(tokens).subspan(q * room, room);
    filters[q].upper = std::span(upper).subspan(q * room, room);
  }
  FilterCoarseScores(queries, keys, filters);
  for (size_t q = 0; q < queries.size(); ++q) {
    ASSERT_EQ(filters[q].count, keys.token_count());
    std::ranges::copy(filters[q].upper.first(keys.token_count()), scores.row(q).begin());
  }
}

struct CodesShape {
  size_t head_dim;
  size_t group_count;
  size_t query_count;

  friend std::ostream& operator<<(std::ostream& stream, const CodesShape& shape) {
    return stream << "head_dim " << shape.head_dim << ", " << shape.group_count << " groups, "
                  << shape.query_count << " queries";
  }
};

inline std::vector<CodesShape> EveryHeadDim() {
  std::vector<CodesShape> shapes;
  for (size_t head_dim = 8; head_dim <= 264; head_dim += 8) shapes.push_back({head_dim, 2, 4});
  return shapes;
}

inline std::vector<CodesShape> EveryQueryCount() {
  std::vector<CodesShape> shapes = {{128, 0, 4}};
  for (size_t query_count = 0; query_count <= 10; ++query_count) {
    shapes.push_back({64, 3, query_count});
    shapes.push_back({128, 1, query_count});
  }
  return shapes;
}

inline std::vector<CodesShape> LargestHeads() {
  return {{1024, 1, 1}, {1888, 1, 1}, {2048, 1, 1}, {2056, 1, 1}};
}

// FineScores or AllCoarseScores.
using ScoreCodes =
    std::function<void(const CodeQueries& queries, const KeyCodes& keys, MatrixView<float> scores)>;

// Queries without a direction score what their centre does.
inline void ExpectCentreScores(const ScoreCodes& score) {
  const RandomCodes codes(128, 1, /*seed=*/1);
  for (const float element : {0.0F, 1e-39F, -1e-38F}) {
    const std::vector<float> rotated(128, element);
    const std::vector<float> centre_scores = {3.0F};
    const CodeQueries queries({rotated.data(), 1, 128}, centre_scores);
    ComparedScores scores(1, 64);

    score(queries, codes.view, scores.view);

    for (const float value : scores.view.row(0)) EXPECT_NEAR(value, 3.0F, 1e-6);
  }
}

}  // namespace alaya

#endif  // ALAYA_TESTS_INDEX_KERNELS_RANDOM_CODES_H_
