// Queries as the scan reads them, and how far their approximate logits may be off.
//
// With q' the codes of the rotated query and x' the levels of a key (flat_head.h),
//     |<Rq, x> - <q', x'>|  <=  |q| |x - x'| + |q - q'| |x'|.
// After the rotation the errors of single elements are as good as independent, so the
// difference is near normal with a deviation of that / sqrt(head_dim): statistical bounds
// take a few of these instead. Both as factors of a token's error and scale, in units of
// the logit, with what floats round here and in exact scores.

#ifndef ALAYA_CUDA_KERNELS_QUERY_CODES_CUH_
#define ALAYA_CUDA_KERNELS_QUERY_CODES_CUH_

#include <cmath>
#include <cstdint>

#include "cuda/kernels/numbers.cuh"
#include "cuda/kernels/rotation.cuh"
#include "cuda/kernels/sparse_task.h"
#include "cuda/kernels/team.cuh"

namespace alaya {

// Approximate logits are kept in 16 bits, in units of 1/64 nat, relative to the logit of
// the centre. The highest one stands for everything above, too.
inline constexpr float kUnitsPerNat = 64;
inline constexpr int32_t kUnitsMax = 32767;
inline constexpr int32_t kUnitsOutside = -32768;  // a token that is not searched

ALAYA_HOST_DEVICE inline int32_t UnitsOfLogit(float logit) {
  const float limit = static_cast<float>(kUnitsMax);
  return static_cast<int32_t>(rintf(fminf(fmaxf(logit * kUnitsPerNat, -limit), limit)));
}
ALAYA_HOST_DEVICE inline float LogitOfUnits(int32_t units) {
  return static_cast<float>(units) / kUnitsPerNat;
}

// Tokens are counted by how far their approximate logit is below the highest: steps of
// 1/8 nat. What lies below all steps weighs less than 1e-6 of the highest.
inline constexpr uint32_t kStepCount = 128;
inline constexpr int32_t kUnitsPerStep = 8;

// What is known of a query's logits. Those of tokens are relative to the centre's.
struct QueryBars {
  float centre_logit = 0;
  // Bound of a token's error: error_factor * error + scale_factor * scale + constant.
  float error_factor = 0;
  float scale_factor = 0;
  float constant = 0;
  // Standard deviation of a token's error: this times what its levels leave.
  float deviation_factor = 0;
  // What an approximate logit says of the exact one. It is the exact one plus an error, so
  // a high one is more likely too high than too low: of logits with variance s^2 and
  // errors with e^2, the mean is `shrink` times the approximate one, shrink = s^2 / (s^2 +
  // e^2), and the variance about it shrink * e^2.
  float shrink = 1;

  // Decided before tokens are chosen.
  float top_logit = 0;           // the highest approximate one
  float best_logit = -INFINITY;  // the highest exact one that is known, not relative
  float dipr_bar = INFINITY;
  // Of approximate logits, in units (query_bars.cuh).
  int32_t wanted_bar = kUnitsMax;
  int32_t needed_bar = kUnitsMax;
  int32_t exact_bar = kUnitsMax;

  ALAYA_HOST_DEVICE float Bound(float error, float scale) const {
    return error_factor * error + (scale_factor * scale + constant);
  }
  // Standard deviation of a cached key's error, whose elements are rounded to multiples of
  // `scale`.
  ALAYA_HOST_DEVICE float CachedDeviation(float scale, uint32_t head_dim) const {
    return deviation_factor * scale * sqrtf(static_cast<float>(head_dim) / 12);
  }
  // ln of the expected weight of a token with this approximate logit, whose error has that
  // standard deviation.
  ALAYA_HOST_DEVICE float LogWeight(float logit, float deviation) const {
    return centre_logit + shrink * (logit + deviation * deviation / 2);
  }
};

struct QueryCodes {
  uint32_t words[kHeadDimMaxOnDevice / 4];  // four signed codes each
  int32_t code_sum = 0;
  // A token's logit is about level_factor * its scale * (2 * <codes> - 7 * code_sum).
  float level_factor = 0;
  uint64_t top = 0;  // TopKey of the highest logit
  QueryBars bars;
};

// One block a query.
struct PrepareQuery {
  SparseShape shape;
  SparseOptions options;
  SparseBatch batch;
  QueryCodes* codes;
  uint32_t* step_counts;    // cleared for CountSteps (query_bars.cuh)
  uint32_t* wanted_counts;  // cleared for AttendChosen

  struct Shared {
    ALAYA_HOST_DEVICE Shared(void* memory, uint32_t head_dim) {
      SharedPieces pieces(memory);
      x = pieces.Take<float>(head_dim);
      numbers = pieces.Take<float>(4);
      bytes = pieces.bytes();
    }
    float* x;
    float* numbers;  // query . centre, largest element, sums
    uint32_t bytes;
  };
  static uint32_t SharedBytes(uint32_t head_dim) { return Shared(nullptr, head_dim).bytes; }

  ALAYA_HOST_DEVICE void operator()(uint32_t query, uint32_t task_index, void* memory) const {
    const uint32_t place = task_index * shape.query_count + query;
    const FlatHead& head = batch.tasks[task_index].head;
    const uint32_t head_dim = shape.head_dim;
    const float* original = batch.queries + size_t{place} * head_dim;
    QueryCodes& out = codes[place];
    const Shared shared(memory, head_dim);
    const float* x = shared.x;
    ForEach(1, [&](uint32_t) {
      out = QueryCodes();
      if (query == 0) batch.counts.rows_scored[task_index] = 0;
      if (query == 0) wanted_counts[task_index] = 0;
      if (query == 0 && batch.missed.capacity > 0) batch.missed.counts[task_index] = 0;
      batch.counts.tokens_attended[place] = 0;
    });
    ForEach(kStepCount, [&](uint32_t step) { step_counts[size_t{place} * kStepCount + step] = 0; });
    if (head.token_count == 0) return;

    ForEach(head_dim, [&](uint32_t e) { shared.x[e] = original[e]; });
    SumEach(
        1, head_dim, [&](uint32_t, uint32_t e) { return x[e] * head.centre[e]; },
        [&](uint32_t, float sum) { shared.numbers[0] = sum; });
    RotateRows(shared.x, 1, head_dim, head_dim);
    MaxEach(
        1, head_dim, [&](uint32_t, uint32_t e) { return fabsf(x[e]); },
        [&](uint32_t, float largest) { shared.numbers[1] = largest; });
    const float step = shared.numbers[1] / 127;
    // A step too small to divide by leaves codes 0, and all of the query as error.
    const float inverse = step < 1e-37F ? 0 : 1 / step;
    const auto code_of = [&](uint32_t e) {
      return e < head_dim
                 ? static_cast<int32_t>(rintf(fminf(fmaxf(x[e] * inverse, -127.0F), 127.0F)))
                 : 0;
    };
    ForEach(8 * CodeRuns(head_dim), [&](uint32_t w) {
      uint32_t word = 0;
      for (uint32_t b = 0; b < 4; ++b) {
        word |= (static_cast<uint32_t>(code_of(4 * w + b)) & 0xFF) << (8 * b);
      }
      out.words[w] = word;
    });
    SumEach(
        3, head_dim,
        [&](uint32_t sum, uint32_t e) {
          const auto code = static_cast<float>(code_of(e));
          const float left = x[e] - step * code;
          return sum == 0 ? code : sum == 1 ? x[e] * x[e] : left * left;
        },
        [&](uint32_t sum, float value) { shared.numbers[sum == 0 ? 1 : sum + 1] = value; });
    ForEach(1, [&](uint32_t) {
      out.code_sum = static_cast<int32_t>(shared.numbers[1]);
      out.level_factor = 0.5F * options.scale * step;
      out.bars.centre_logit = options.scale * shared.numbers[0];
      SetBounds(sqrtf(shared.numbers[2]), sqrtf(shared.numbers[3]), head, out.bars);
    });
  }

 private:
  ALAYA_HOST_DEVICE void SetBounds(float length, float error_length, const FlatHead& head,
                                   QueryBars& out) const {
    const auto dim = static_cast<float>(shape.head_dim);
    // Of sums of head_dim products, here and in exact scores, and of the rotation, relative
    // to the product of the lengths.
    const float rounding = (dim + 8) * 0x1p-23F + 2 * kRotationError;
    const float share = options.deviations > 0 ? options.deviations / sqrtf(dim) : 1;
    const float of_levels = share * error_length + rounding * length;
    const float scale = options.scale * (1 + 0x1p-10F);
    out.error_factor = fmaxf(scale * (share + rounding) * length, 1e-30F);
    out.scale_factor = scale * of_levels * 3.5F * sqrtf(dim);
    out.constant = scale * rounding * length * head.summary->centre_length + 1 / kUnitsPerNat;
    out.deviation_factor = options.scale * length / sqrtf(dim);
    const float square_sum = head.summary->square_sum;
    if (square_sum > 0) out.shrink = square_sum / (square_sum + head.summary->error_square_sum);
  }
};

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_QUERY_CODES_CUH_
