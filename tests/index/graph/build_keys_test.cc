#include "index/graph/build_keys.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "tests/index/graph/graph_fixture.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 24;
constexpr size_t kTokens = 50;

TEST(BuildKeysTest, HoldsEveryKeyAsStored) {
  const ArrayKvReader reader = ReaderOf(RandomKeys(kTokens, kHeadDim, /*seed=*/1), kHeadDim);

  const auto keys = BuildKeys::Read(reader);

  ASSERT_TRUE(keys.ok());
  ASSERT_EQ(keys->token_count(), kTokens);
  std::vector<double> sums(kHeadDim);
  std::vector<float> key(kHeadDim);
  for (uint32_t t = 0; t < kTokens; ++t) {
    keys->Decode(t, key);
    for (size_t e = 0; e < kHeadDim; ++e) {
      ASSERT_EQ(key[e], reader.key(t)[e]);
      sums[e] += double{key[e]} / kTokens;
    }
  }
  for (size_t e = 0; e < kHeadDim; ++e) EXPECT_NEAR(keys->mean()[e], sums[e], 1e-5);
}

TEST(BuildKeysTest, ClosenessOrdersByDistance) {
  const ArrayKvReader reader = ReaderOf(RandomKeys(kTokens, kHeadDim, /*seed=*/2), kHeadDim);
  const auto keys = BuildKeys::Read(reader);
  ASSERT_TRUE(keys.ok());
  std::vector<uint32_t> tokens(kTokens);
  std::iota(tokens.begin(), tokens.end(), 0U);
  std::vector<float> closeness(kTokens);

  keys->Closeness({reader.key(7), kHeadDim}, tokens, closeness);

  for (uint32_t t = 0; t < kTokens; ++t) {
    double squared = 0;
    for (size_t e = 0; e < kHeadDim; ++e) {
      squared += std::pow(double{reader.key(7)[e]} - double{reader.key(t)[e]}, 2);
    }
    EXPECT_NEAR(2 * (double{keys->half_norm(7)} - double{closeness[t]}), squared, 1e-3);
  }
}

TEST(BuildKeysTest, HugeKeysStayComparable) {
  const std::vector<float> values(2 * kHeadDim, std::numeric_limits<float>::max());
  const ArrayKvReader reader = ReaderOf(values, kHeadDim, DType::kF32);
  const auto keys = BuildKeys::Read(reader);
  ASSERT_TRUE(keys.ok());
  const std::vector<uint32_t> tokens = {0, 1};
  std::vector<float> closeness(2);

  keys->Closeness({reader.key(0), kHeadDim}, tokens, closeness);

  EXPECT_FALSE(std::isnan(closeness[0]));
  EXPECT_EQ(closeness[0], closeness[1]);
}

TEST(BuildKeysTest, AnErrorOfTheReaderPassesThrough) {
  ArrayKvReader reader = ReaderOf(RandomKeys(kTokens, kHeadDim, /*seed=*/3), kHeadDim);
  reader.FailAt(KvKind::kKey, 2);

  EXPECT_EQ(BuildKeys::Read(reader).status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(reader.pin_count(), 0);
}

}  // namespace
}  // namespace alaya
