#include "index/kernels/code_scores.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace alaya {

CodeQueries::CodeQueries(MatrixView<const float> rotated, std::span<const float> centre_scores,
                         const CoarseElements& coarse)
    : head_dim_(rotated.cols()),
      coarse_(coarse.count == 0 ? CoarseElements{rotated.cols()} : coarse),
      padded_dim_((rotated.cols() + 63) / 64 * 64),
      queries_(rotated.rows()),
      codes_(rotated.rows() * padded_dim_),
      tables_(hwy::AllocateAligned<uint8_t>((rotated.rows() + 1) * triple_count() * kTripleBytes)) {
  assert(centre_scores.size() == rotated.rows());
  assert(coarse_.count % 4 == 0 && (coarse_.count == head_dim_ || coarse_.rest_size > 0));
  for (size_t i = 0; i < rotated.rows(); ++i) {
    queries_[i].centre_score = centre_scores[i];
    MakeCodes(rotated.row(i), i);
    MakeTables(rotated.row(i).first(coarse_.count), i);
    MakeDeviations(rotated.row(i), queries_[i]);
  }
}

void CodeQueries::MakeDeviations(std::span<const float> elements, Query& query) const {
  const auto mean_square = [](std::span<const float> some) {
    double sum = 0;
    for (const float element : some) sum += double{element} * double{element};
    return sum / static_cast<double>(some.size());
  };
  const double first = mean_square(elements.first(coarse_.count));
  double rest = first;
  if (coarse_.count < head_dim_) {
    const double size = double{coarse_.rest_size};
    rest = mean_square(elements.subspan(coarse_.count)) / (size * size);
  }
  const double share = double{coarse_.rest_share};
  query.coarse_deviation = std::sqrt((1 - share) * first + share * rest);
  query.coarse_deviation_max = std::sqrt(std::max(first, rest));
}

void CodeQueries::MakeCodes(std::span<const float> elements, size_t i) {
  Query& query = queries_[i];
  float largest = 0;
  for (const float element : elements) largest = std::max(largest, std::fabs(element));
  query.step = largest / 127;
  // A step too small to divide by leaves codes 0, and all of the query as error.
  const float inverse = query.step < 1e-37F ? 0.0F : 1 / query.step;
  double square_sum = 0;
  double error_sum = 0;
  for (size_t e = 0; e < elements.size(); ++e) {
    const float place = std::clamp(elements[e] * inverse, -127.0F, 127.0F);
    const auto code = static_cast<int32_t>(place + std::copysign(0.5F, place));
    codes_[i * padded_dim_ + CodePlace(e)] = static_cast<int8_t>(code);
    query.code_sum += code;
    const double left = double{elements[e]} - double{query.step} * code;
    square_sum += double{elements[e]} * double{elements[e]};
    error_sum += left * left;
  }
  query.length = std::sqrt(square_sum);
  query.error_length = std::sqrt(error_sum);
}

void CodeQueries::MakeTables(std::span<const float> elements, size_t i) {
  // Element `place` of a table, and which element of the query that is.
  const auto element_of = [&](size_t triple, size_t table, size_t place) {
    const size_t row = 3 * triple + (table < 3 ? table : place);
    const size_t e = 4 * row + (table < 3 ? place : 3);
    return e < elements.size() ? elements[e] : 0.0F;
  };
  const size_t table_count = 4 * triple_count();
  float widest = 0;
  float sum = 0;
  for (const float element : elements) sum += element;
  float least_sum = 0;
  for (size_t t = 0; t < table_count; ++t) {
    float width = 0;
    for (size_t place = 0; place < 3; ++place) {
      const float element = element_of(t / 4, t % 4, place);
      width += 3 * std::fabs(element);
      least_sum += 3 * std::min(element, 0.0F);
    }
    widest = std::max(widest, width);
  }
  Query& query = queries_[i];
  // A little wider, so that nothing rounds to 64.
  query.table_step = widest * 1.0001F / 63;
  query.table_bias = least_sum - 1.5F * sum;
  query.table_deviation =
      double{query.table_step} * std::sqrt(static_cast<double>(table_count) / 12);
  const float inverse = query.table_step < 1e-37F ? 0.0F : 1 / query.table_step;
  uint8_t* entry = tables_.get() + i * table_count * kTableBytes;
  for (size_t t = 0; t < table_count; ++t) {
    float steps[3][4];  // of each place and code, from the least one up
    for (size_t place = 0; place < 3; ++place) {
      const float element = element_of(t / 4, t % 4, place) * inverse;
      const float least = 3 * std::min(element, 0.0F);
      for (size_t code = 0; code < 4; ++code) {
        steps[place][code] = static_cast<float>(code) * element - least;
      }
    }
    for (size_t upper = 0; upper < 16; ++upper) {
      const float base = steps[2][upper / 4] + steps[1][upper % 4] + 0.5F;
      for (size_t code = 0; code < 4; ++code) {
        *entry++ = static_cast<uint8_t>(base + steps[0][code]);
      }
    }
  }
}

}  // namespace alaya
