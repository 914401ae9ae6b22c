// The maps undo each other, and codes behind them have smaller errors for queries like the sample,
// within bounds for any.

#include "index/flat/query_fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/index/flat/score_errors.h"
#include "tests/index/random_tensors.h"

namespace alaya {
namespace {

struct Sample {
  Sample(size_t dim, double last_query, double last_key)
      : head_dim(dim),
        keys(FallingRows(2000, dim, last_key, 1)),
        queries(FallingRows(3000, dim, last_query, 2)) {}

  std::optional<QueryFit> Fit() const {
    return FitToQueries({keys.data(), keys.size() / head_dim, head_dim},
                        {queries.data(), queries.size() / head_dim, head_dim});
  }

  size_t head_dim;
  std::vector<float> keys;
  std::vector<float> queries;
};

TEST(QueryFitTest, MapsKeepInnerProducts) {
  for (const size_t head_dim : std::vector<size_t>{8, 24, 64, 96, 128}) {
    SCOPED_TRACE(head_dim);
    const Sample sample(head_dim, 0.02, 1);
    const auto fit = sample.Fit();
    ASSERT_TRUE(fit);
    const std::vector<float> any = RandomFloats(2 * head_dim, 1.0F, 3);
    const std::span key = std::span(any).first(head_dim);
    const std::span query = std::span(any).last(head_dim);

    const std::vector<double> mapped = MapInDouble(*fit, query);
    double product = 0;
    double lengths = 0;
    double exact = 0;
    for (size_t i = 0; i < head_dim; ++i) {
      double x = 0;
      for (size_t e = 0; e < head_dim; ++e) {
        x += double{fit->keys.rows[i * head_dim + e]} * double{key[e]};
      }
      product += x * mapped[i];
      lengths += x * x;
      exact += double{key[i]} * double{query[i]};
    }
    double query_square = 0;
    for (const double element : mapped) query_square += element * element;
    EXPECT_LE(std::fabs(product - exact),
              double{fit->facts.rounding} * std::sqrt(lengths * query_square));
    EXPECT_LT(fit->facts.rounding, 1e-3);
  }
}

TEST(QueryFitTest, ThereIsNoneWhereNothingIsGained) {
  // Queries and keys alike in all directions.
  EXPECT_FALSE(Sample(64, 1, 1).Fit());
  const std::vector<float> ones(200 * 64, 1.0F);
  const std::vector<float> queries = FallingRows(100, 64, 0.02, 2);
  const MatrixView<const float> some(queries.data(), 100, 64);
  const MatrixView<const float> same(ones.data(), 200, 64);
  EXPECT_FALSE(FitToQueries(some, {}));    // no queries
  EXPECT_FALSE(FitToQueries(some, some));  // too few keys
  const std::vector<float> zeros(200 * 64);
  EXPECT_FALSE(FitToQueries({zeros.data(), 200, 64}, some));
  EXPECT_FALSE(FitToQueries(same, {zeros.data(), 200, 64}));
  std::vector<float> huge(200 * 64, 1e30F);
  EXPECT_FALSE(FitToQueries({huge.data(), 200, 64}, some));
  EXPECT_FALSE(FitToQueries(same, {huge.data(), 200, 64}));
  huge[5] = std::numeric_limits<float>::max();
  EXPECT_FALSE(FitToQueries({huge.data(), 200, 64}, some));
}

TEST(QueryFitTest, CoarseCodesHoldHalfWhereTheOtherHalfMattersLittle) {
  EXPECT_EQ(Sample(128, 0.01, 1).Fit()->facts.coarse.count, 64U);
  EXPECT_EQ(Sample(128, 0.01, 1).Fit()->keys.coarse_dim, 64U);
  EXPECT_EQ(Sample(128, 0.2, 1).Fit()->facts.coarse.count, 128U);
  // No half of 24 is a multiple of 8.
  EXPECT_EQ(Sample(24, 0.001, 1).Fit()->facts.coarse.count, 24U);
}

TEST(QueryFitTest, TheLastQueriesCountMost) {
  // Nine tenths use the first 16 elements, the last tenth the next 16.
  Sample sample(64, 1, 1);
  for (size_t i = 0; i < sample.queries.size(); ++i) {
    const size_t begin = i / 64 >= 2700 ? 16 : 0;
    if (i % 64 < begin || i % 64 >= begin + 16) sample.queries[i] = 0;
  }
  const auto fit = sample.Fit();
  ASSERT_TRUE(fit);
  const auto length_of = [&](size_t element) {
    std::vector<float> query(64);
    query[element] = 1;
    double sum = 0;
    for (const double e : MapInDouble(*fit, query)) sum += e * e;
    return std::sqrt(sum);
  };
  // What comes often is short, so that its errors are small.
  EXPECT_LT(length_of(20), length_of(5));
}

// Of 64 fresh keys.
ScoreErrors ErrorsOf(const QueryFit* fit, size_t head_dim, const std::vector<float>& queries) {
  const EncodedMatrix keys = Encode(FallingRows(64, head_dim, 1, 7), head_dim, DType::kF32);
  return ErrorsOf(keys, std::vector<float>(head_dim, 0.125F), queries, /*rotation_seed=*/5, fit);
}

TEST(QueryFitTest, ErrorsAreSmallerForQueriesLikeTheSample) {
  for (const size_t head_dim : std::vector<size_t>{64, 128}) {
    SCOPED_TRACE(head_dim);
    const auto fit = Sample(head_dim, 0.01, 1).Fit();
    ASSERT_TRUE(fit);
    const std::vector<float> queries = FallingRows(200, head_dim, 0.01, 11);

    const ScoreErrors plain = ErrorsOf(nullptr, head_dim, queries);
    const ScoreErrors fitted = ErrorsOf(&*fit, head_dim, queries);

    EXPECT_LT(fitted.fine(), 0.9 * plain.fine());
    // Half of the elements say as much as all did.
    EXPECT_LT(fitted.coarse(), 1.15 * plain.coarse());
    EXPECT_EQ(fitted.sound_exceeded, 0U);
    // 4.6 % of a normal distribution lie beyond two deviations.
    EXPECT_LT(fitted.share(fitted.statistical_exceeded), 0.06);
    EXPECT_LT(fitted.share(fitted.coarse_exceeded), 0.06);
    EXPECT_GT(fitted.share(fitted.coarse_exceeded), 0.01);
  }
}

TEST(QueryFitTest, BoundsHoldForAnyQuery) {
  for (const size_t head_dim : std::vector<size_t>{64, 96, 128}) {
    for (const double last : {0.2, 1e-2, 1e-4}) {
      SCOPED_TRACE(testing::Message() << head_dim << " " << last);
      const auto fit = Sample(head_dim, last, 1).Fit();
      ASSERT_TRUE(fit);
      // Unlike the sample: most in the elements that its queries use least.
      std::vector<float> queries = FallingRows(100, head_dim, 0.01, 12);
      for (size_t q = 0; q < 100; ++q) {
        std::ranges::reverse(std::span(queries).subspan(q * head_dim, head_dim));
      }
      const ScoreErrors errors = ErrorsOf(&*fit, head_dim, queries);
      EXPECT_EQ(errors.sound_exceeded, 0U);
      EXPECT_LT(errors.share(errors.statistical_exceeded), 0.1);
      EXPECT_LT(errors.share(errors.coarse_exceeded), 0.1);
    }
  }
}

}  // namespace
}  // namespace alaya
