// The maps undo each other, and codes behind them have smaller errors for queries like the sample,
// within bounds for any.

#include "index/flat/query_fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "hwy/aligned_allocator.h"
#include "index/flat/bounds.h"
#include "index/flat/vector_length.h"
#include "index/kernels/bf16.h"
#include "index/kernels/code_scores.h"
#include "tests/index/kernels/random_codes.h"
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

// In double.
std::vector<double> Mapped(const QueryFit& fit, std::span<const float> query) {
  std::vector<double> mapped(query.size());
  for (size_t i = 0; i < query.size(); ++i) {
    for (size_t e = 0; e < query.size(); ++e) {
      mapped[e] += double{query[i]} * double{fit.queries[i * query.size() + e]};
    }
  }
  return mapped;
}

TEST(QueryFitTest, MapsKeepInnerProducts) {
  for (const size_t head_dim : std::vector<size_t>{8, 24, 64, 96, 128}) {
    SCOPED_TRACE(head_dim);
    const Sample sample(head_dim, 0.02, 1);
    const auto fit = sample.Fit();
    ASSERT_TRUE(fit);
    const std::vector<float> any = RandomFloats(2 * head_dim, 1.0F, 3);
    const std::span key = std::span(any).first(head_dim);
    const std::span query = std::span(any).last(head_dim);

    const std::vector<double> mapped = Mapped(*fit, query);
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
    for (const double e : Mapped(*fit, query)) sum += e * e;
    return std::sqrt(sum);
  };
  // What comes often is short, so that its errors are small.
  EXPECT_LT(length_of(20), length_of(5));
}

struct Errors {
  double sound_exceeded = 0;
  double statistical_exceeded = 0;
  double coarse_exceeded = 0;
  double fine = 0;  // root mean square, as the next one
  double coarse = 0;
};

// Of scores of 64 fresh keys for `queries`, with or without the map.
Errors ErrorsOf(const QueryFit* fit, size_t head_dim, const std::vector<float>& queries) {
  const EncodedMatrix keys = Encode(FallingRows(64, head_dim, 1, 7), head_dim, DType::kF32);
  const std::vector<float> centre(head_dim, 0.125F);
  const Rotation rotation(head_dim, 5);
  const auto high = hwy::AllocateAligned<std::byte>(HighBytes(head_dim));
  const auto low = hwy::AllocateAligned<std::byte>(LowBytes(head_dim));
  std::fill_n(high.get(), HighBytes(head_dim), std::byte{0});
  std::fill_n(low.get(), LowBytes(head_dim), std::byte{0});
  std::vector<uint16_t> numbers(256);
  EncodeKeys({&rotation, centre, fit == nullptr ? nullptr : &fit->keys}, keys.view, 0,
             {head_dim, 1, high.get(), low.get(), &numbers[0], &numbers[64], &numbers[128],
              &numbers[192]});
  const KeyCodes codes = {
      head_dim, 1, high.get(), low.get(), &numbers[0], &numbers[64], &numbers[128], &numbers[192]};
  const size_t count = queries.size() / head_dim;
  std::vector<float> mapped(queries.size());
  std::vector<float> centre_scores(count);
  const MatrixView<const float> rows(queries.data(), count, head_dim);
  Rotate(rotation, rows, {mapped.data(), count, head_dim});
  for (size_t q = 0; q < count; ++q) {
    double sum = 0;
    for (const float element : rows.row(q)) sum += 0.125 * double{element};
    centre_scores[q] = static_cast<float>(sum);
    if (fit == nullptr) continue;
    const std::vector<double> there = Mapped(*fit, rows.row(q));
    std::ranges::transform(there, &mapped[q * head_dim],
                           [](double x) { return static_cast<float>(x); });
  }
  const CodeQueries code_queries({mapped.data(), count, head_dim}, centre_scores,
                                 fit == nullptr ? CoarseElements{} : fit->facts.coarse);
  std::vector<float> fine(count * 64);
  std::vector<float> coarse(count * 64);
  FineScores(code_queries, codes, {fine.data(), count, 64});
  AllCoarseScores(code_queries, codes, {coarse.data(), count, 64});
  Errors errors;
  const auto part = 1 / static_cast<double>(count * 64);
  for (size_t q = 0; q < count; ++q) {
    CodeFrame frame = {VectorLength(rows.row(q)), VectorLength(centre)};
    if (fit != nullptr) frame.rounding = double{fit->facts.rounding};
    const Bounds bounds(&code_queries[q], head_dim, frame);
    for (size_t t = 0; t < 64; ++t) {
      double exact = 0;
      for (size_t e = 0; e < head_dim; ++e) {
        exact += double{rows.row(q)[e]} * double{keys.values[t * head_dim + e]};
      }
      const auto bound = [&](const ErrorFactors& factors, uint16_t scale, uint16_t error) {
        return double{factors.error_factor} * BF16ToFloat(error) +
               double{factors.scale_factor} * BF16ToFloat(scale) + double{factors.constant};
      };
      const double fine_off = std::fabs(fine[q * 64 + t] - exact);
      const double coarse_off = std::fabs(coarse[q * 64 + t] - exact);
      const auto fine_bound = [&](const ErrorFactors& factors) {
        return bound(factors, codes.fine_scale[t], codes.fine_error[t]);
      };
      errors.sound_exceeded += fine_off > fine_bound(bounds.Sound()) ? part : 0;
      errors.statistical_exceeded += fine_off > fine_bound(bounds.Statistical(2)) ? part : 0;
      errors.coarse_exceeded +=
          coarse_off > bound(bounds.Coarse(2), codes.coarse_scale[t], codes.coarse_error[t]) ? part
                                                                                             : 0;
      errors.fine += fine_off * fine_off * part;
      errors.coarse += coarse_off * coarse_off * part;
    }
  }
  errors.fine = std::sqrt(errors.fine);
  errors.coarse = std::sqrt(errors.coarse);
  return errors;
}

TEST(QueryFitTest, ErrorsAreSmallerForQueriesLikeTheSample) {
  for (const size_t head_dim : std::vector<size_t>{64, 128}) {
    SCOPED_TRACE(head_dim);
    const auto fit = Sample(head_dim, 0.01, 1).Fit();
    ASSERT_TRUE(fit);
    const std::vector<float> queries = FallingRows(200, head_dim, 0.01, 11);

    const Errors plain = ErrorsOf(nullptr, head_dim, queries);
    const Errors fitted = ErrorsOf(&*fit, head_dim, queries);

    EXPECT_LT(fitted.fine, 0.9 * plain.fine);
    // Half of the elements say as much as all did.
    EXPECT_LT(fitted.coarse, 1.15 * plain.coarse);
    EXPECT_EQ(fitted.sound_exceeded, 0);
    // 4.6 % of a normal distribution lie beyond two deviations.
    EXPECT_LT(fitted.statistical_exceeded, 0.06);
    EXPECT_LT(fitted.coarse_exceeded, 0.06);
    EXPECT_GT(fitted.coarse_exceeded, 0.01);
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
      const Errors errors = ErrorsOf(&*fit, head_dim, queries);
      EXPECT_EQ(errors.sound_exceeded, 0);
      EXPECT_LT(errors.statistical_exceeded, 0.1);
      EXPECT_LT(errors.coarse_exceeded, 0.1);
    }
  }
}

}  // namespace
}  // namespace alaya
