#include "cuda/kernels/nearest_keys.cuh"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "tests/cuda/kernels/sparse_fixture.h"
#include "tests/support/exact_attention.h"

namespace alaya {
namespace {

struct NearestCase {
  const char* name;
  uint32_t head_dim;
  uint32_t token_count;
  uint32_t query_count;
  uint32_t width;
  DType dtype = DType::kBF16;
};

class NearestKeysTest : public testing::TestWithParam<NearestCase> {
 protected:
  static constexpr uint32_t kFirstToken = 128;

  const NearestCase& at() const { return GetParam(); }
  MatrixView<const float> keys() const {
    return {rows_.elements().data(), at().token_count, at().head_dim};
  }

  std::vector<uint32_t> Find() {
    std::vector<uint32_t> tokens(size_t{at().query_count} * at().width, 77);
    PoisonedMemory scratch(NearestScratchBytes(at().query_count, at().width, at().token_count));
    NearestTask task;
    task.head_dim = at().head_dim;
    task.query_count = at().query_count;
    task.width = at().width;
    task.first_token = kFirstToken;
    task.token_count = at().token_count;
    task.keys = rows_.view();
    task.queries = queries_.data();
    task.scratch = scratch.as<void>();
    task.tokens = tokens.data();
    EXPECT_EQ(RunFindNearest(task, HostLaunch()), 0);
    return tokens;
  }

  HostRows rows_{GetParam().dtype, GetParam().head_dim,
                 NormalFloats(size_t{GetParam().token_count} * GetParam().head_dim, 1, 5)};
  std::vector<float> queries_ =
      NormalFloats(size_t{GetParam().query_count} * GetParam().head_dim, 1, 6);
};

TEST_P(NearestKeysTest, ListsAreThoseOfTheDefinition) {
  const std::vector<uint32_t> tokens = Find();

  for (uint32_t q = 0; q < at().query_count; ++q) {
    const std::vector<double> scores =
        ExactScores(std::span(queries_).subspan(size_t{q} * at().head_dim, at().head_dim), keys());
    std::vector<double> best = scores;
    std::ranges::sort(best, std::greater());
    std::vector<uint32_t> seen;
    for (uint32_t place = 0; place < at().width; ++place) {
      const uint32_t token = tokens[q * at().width + place];
      ASSERT_GE(token, kFirstToken);
      ASSERT_LT(token - kFirstToken, at().token_count);
      seen.push_back(token);
      // Tokens whose scores differ by a rounding may change places.
      ASSERT_NEAR(scores[token - kFirstToken], best[place], 1e-4) << "query " << q;
    }
    std::ranges::sort(seen);
    EXPECT_EQ(std::ranges::adjacent_find(seen), seen.end()) << "a token is listed twice";
  }
}

TEST_P(NearestKeysTest, DoesNotDependOnTheOrderOfLoops) {
  const std::vector<uint32_t> forward = Find();
  const BackwardLoops loops;

  EXPECT_EQ(Find(), forward);
}

INSTANTIATE_TEST_SUITE_P(Shapes, NearestKeysTest,
                         testing::Values(NearestCase{"Standard", 128, 5000, 40, 64},
                                         NearestCase{"OneChunk", 64, 1000, 16, 32, DType::kF16},
                                         NearestCase{"MoreChunksThanOne", 64, 9001, 17, 64},
                                         NearestCase{"NoWholeTile", 80, 77, 3, 10, DType::kF32},
                                         NearestCase{"Large", 256, 700, 33, 64},
                                         NearestCase{"AllTokens", 64, 20, 5, 20},
                                         NearestCase{"ShortLastChunk", 8, 4100, 2, 64},
                                         NearestCase{"One", 128, 1, 1, 1}),
                         [](const auto& each) { return each.param.name; });

TEST(NearestKeysTiesTest, EqualScoresAreListedByRisingToken) {
  constexpr uint32_t kHeadDim = 8;
  constexpr uint32_t kTokens = 8200;  // three chunks
  HostRows rows(DType::kF32, kHeadDim, std::vector<float>(kTokens * kHeadDim, 1.0F));
  const std::vector<float> query(kHeadDim, 0.5F);
  std::vector<uint32_t> tokens(10);
  PoisonedMemory scratch(NearestScratchBytes(1, 10, kTokens));

  RunFindNearest(
      {kHeadDim, 1, 10, 0, kTokens, rows.view(), query.data(), scratch.as<void>(), tokens.data()},
      HostLaunch());

  std::vector<uint32_t> expected(10);
  std::iota(expected.begin(), expected.end(), 0U);
  EXPECT_EQ(tokens, expected);
}

}  // namespace
}  // namespace alaya
