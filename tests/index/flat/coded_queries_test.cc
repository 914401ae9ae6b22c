#include "index/flat/coded_queries.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "index/flat/flat_blocks.h"
#include "index/kernels/key_codes.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 8;

// Maps by a factor, or not at all.
class ScalingSource : public FlatSource {
 public:
  ScalingSource(float factor, float centre) : factor_(factor) {
    header_.head_dim = kHeadDim;
    header_.centre.assign(kHeadDim, centre);
  }
  const FlatHeader& header() const override { return header_; }
  Status MapQueries(MatrixView<const float> queries, MatrixView<float> mapped) const override {
    if (fails) return DataLoss("a map is missing");
    for (size_t q = 0; q < queries.rows(); ++q) {
      for (size_t e = 0; e < kHeadDim; ++e) mapped.row(q)[e] = factor_ * queries.row(q)[e];
    }
    return OkStatus();
  }
  StatusOr<PinnedFlatBlock> Block(size_t) const override { return Internal("nobody reads"); }
  void SetMap(const QueryMap& map) { header_.query_map = map; }

  bool fails = false;

 private:
  const float factor_;
  FlatHeader header_;
};

TEST(CodedQueriesTest, LengthsAndCentreScoresAreThoseOfTheQueries) {
  ScalingSource source(3, 0.5F);
  source.SetMap({{4, 0.5F, 0.25F}, 1e-4F});
  const std::vector<float> query(kHeadDim, 1.0F);

  const auto coded = CodeQueriesOf(source, {query.data(), 1, kHeadDim});

  ASSERT_TRUE(coded.ok() && coded->has_value());
  const CodedQueries& queries = **coded;
  EXPECT_NEAR(queries.codes[0].length, 3 * std::sqrt(8.0), 1e-6);
  EXPECT_EQ(queries.codes[0].centre_score, 4);
  EXPECT_EQ(queries.codes.coarse_dim(), 4U);
  EXPECT_NEAR(queries.frames[0].query_length, std::sqrt(8.0), 1e-6);
  EXPECT_NEAR(queries.frames[0].centre_length, std::sqrt(2.0), 1e-6);
  EXPECT_EQ(queries.frames[0].rounding, double{1e-4F});
}

TEST(CodedQueriesTest, WithoutAMapTheRotationRounds) {
  const ScalingSource source(1, 0.5F);
  const std::vector<float> query(2 * kHeadDim, 1.0F);
  const auto coded = CodeQueriesOf(source, {query.data(), 2, kHeadDim});
  ASSERT_TRUE(coded.ok() && coded->has_value());
  EXPECT_EQ((*coded)->codes.size(), 2U);
  EXPECT_EQ((*coded)->codes.coarse_dim(), kHeadDim);
  EXPECT_EQ((*coded)->frames[1].rounding, kRotationError);
}

TEST(CodedQueriesTest, ThereAreNoneWhereBoundsWouldOverflow) {
  const auto has_codes = [](float factor, float centre, float element) {
    const std::vector<float> query(kHeadDim, element);
    const auto coded = CodeQueriesOf(ScalingSource(factor, centre), {query.data(), 1, kHeadDim});
    return coded.ok() && coded->has_value();
  };
  EXPECT_TRUE(has_codes(1, 1, 1e17F));
  EXPECT_FALSE(has_codes(1, 1, 1e18F));      // the query
  EXPECT_FALSE(has_codes(1, 1e25F, 1e12F));  // with the centre
  EXPECT_FALSE(has_codes(100, 1, 1e17F));    // mapped
  EXPECT_FALSE(has_codes(std::numeric_limits<float>::quiet_NaN(), 1, 1));
}

TEST(CodedQueriesTest, AMapThatCannotBeReadIsAnError) {
  ScalingSource source(1, 1);
  source.fails = true;
  const std::vector<float> query(kHeadDim, 1.0F);
  EXPECT_EQ(CodeQueriesOf(source, {query.data(), 1, kHeadDim}).status().code(),
            StatusCode::kDataLoss);
}

}  // namespace
}  // namespace alaya
