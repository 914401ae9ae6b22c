// How far scores of codes are from exact ones in double, and how often beyond their bounds.

#ifndef ALAYA_TESTS_INDEX_FLAT_SCORE_ERRORS_H_
#define ALAYA_TESTS_INDEX_FLAT_SCORE_ERRORS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hwy/aligned_allocator.h"
#include "index/flat/bounds.h"
#include "index/flat/query_fit.h"
#include "index/flat/sums.h"
#include "index/kernels/bf16.h"
#include "index/kernels/code_scores.h"
#include "index/kernels/key_codes.h"
#include "tests/index/kernels/random_codes.h"
#include "tests/index/random_tensors.h"

namespace alaya {

struct ScoreErrors {
  size_t count = 0;
  // Of these, beyond the sound bound, and beyond two standard deviations.
  size_t sound_exceeded = 0;
  size_t statistical_exceeded = 0;
  size_t coarse_exceeded = 0;
  double fine_square_sum = 0;
  double coarse_square_sum = 0;

  double share(size_t exceeded) const {
    return static_cast<double>(exceeded) / static_cast<double>(count);
  }
  // Root mean squares.
  double fine() const { return std::sqrt(fine_square_sum / static_cast<double>(count)); }
  double coarse() const { return std::sqrt(coarse_square_sum / static_cast<double>(count)); }
};

// B query, in double.
inline std::vector<double> MapInDouble(const QueryFit& fit, std::span<const float> query) {
  std::vector<double> mapped(query.size());
  for (size_t i = 0; i < query.size(); ++i) {
    for (size_t e = 0; e < query.size(); ++e) {
      mapped[e] += double{query[i]} * double{fit.queries[i * query.size() + e]};
    }
  }
  return mapped;
}

// Of 64 keys for every query, coded behind a rotation or, if there is one, behind a map.
inline ScoreErrors ErrorsOf(const EncodedMatrix& keys, const std::vector<float>& centre,
                            const std::vector<float>& queries, uint64_t rotation_seed,
                            const QueryFit* fit = nullptr) {
  const size_t head_dim = centre.size();
  const size_t count = queries.size() / head_dim;
  const Rotation rotation(head_dim, rotation_seed);
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

  const MatrixView<const float> rows(queries.data(), count, head_dim);
  std::vector<float> mapped(queries.size());
  std::vector<float> centre_scores(count);
  Rotate(rotation, rows, {mapped.data(), count, head_dim});
  for (size_t q = 0; q < count; ++q) {
    double sum = 0;
    for (size_t e = 0; e < head_dim; ++e) sum += double{rows.row(q)[e]} * double{centre[e]};
    centre_scores[q] = static_cast<float>(sum);
    if (fit == nullptr) continue;
    std::ranges::transform(MapInDouble(*fit, rows.row(q)), &mapped[q * head_dim],
                           [](double x) { return static_cast<float>(x); });
  }
  const CodeQueries code_queries({mapped.data(), count, head_dim}, centre_scores,
                                 fit == nullptr ? CoarseElements{} : fit->facts.coarse);
  std::vector<float> fine(count * 64);
  std::vector<float> coarse(count * 64);
  FineScores(code_queries, codes, {fine.data(), count, 64});
  AllCoarseScores(code_queries, codes, {coarse.data(), count, 64});

  const auto bound_of = [](const ErrorFactors& factors, uint16_t scale, uint16_t error) {
    return factors.error_factor * BF16ToFloat(error) + factors.scale_factor * BF16ToFloat(scale) +
           factors.constant;
  };
  ScoreErrors errors;
  for (size_t q = 0; q < count; ++q) {
    CodeFrame frame = {VectorLength(rows.row(q)), VectorLength(centre)};
    if (fit != nullptr) frame.rounding = double{fit->facts.rounding};
    const Bounds bounds(&code_queries[q], head_dim, frame);
    const ErrorFactors sound = bounds.Sound();
    const ErrorFactors statistical = bounds.Statistical(2);
    const ErrorFactors of_coarse = bounds.Coarse(2);
    for (size_t j = 0; j < 64; ++j) {
      double exact = 0;
      for (size_t e = 0; e < head_dim; ++e) {
        exact += double{rows.row(q)[e]} * keys.values[j * head_dim + e];
      }
      const double fine_off = std::fabs(fine[q * 64 + j] - exact);
      const double coarse_off = std::fabs(coarse[q * 64 + j] - exact);
      errors.sound_exceeded += fine_off > bound_of(sound, codes.fine_scale[j], codes.fine_error[j]);
      errors.statistical_exceeded +=
          fine_off > bound_of(statistical, codes.fine_scale[j], codes.fine_error[j]);
      errors.coarse_exceeded +=
          coarse_off > bound_of(of_coarse, codes.coarse_scale[j], codes.coarse_error[j]);
      errors.fine_square_sum += fine_off * fine_off;
      errors.coarse_square_sum += coarse_off * coarse_off;
      ++errors.count;
    }
  }
  return errors;
}

}  // namespace alaya

#endif  // ALAYA_TESTS_INDEX_FLAT_SCORE_ERRORS_H_
