// Which tokens a query has to attend to: the bar of its DIPR set, and the bars above which
// a token is too heavy to be estimated, or too heavy for a cached row.
//
// A left-out token counts with its approximate weight and the mean value of its group.
// What this misses adds up like noise, to sqrt(sum of squared weights) times the
// deviation of values; the second bar is where that falls below the given share of the
// output's norm. As in index/flat/rest_estimate.h, with the weights' distribution in
// steps instead of the weights themselves.
//
// A cache makes three bars of the second one, for shares of 0.6, 3 and 15 times rest_error:
// above `wanted`, cached rows are attended; above `needed`, other rows as well, wherever they
// are; above `exact`, cached rows are not good enough. Between the first two a token is
// estimated until it is cached. README.md has what that spares and costs.

#ifndef ALAYA_CUDA_KERNELS_QUERY_BARS_CUH_
#define ALAYA_CUDA_KERNELS_QUERY_BARS_CUH_

#include <cmath>
#include <cstdint>

#include "cuda/kernels/flat_scan.cuh"
#include "cuda/kernels/numbers.cuh"
#include "cuda/kernels/query_codes.cuh"
#include "cuda/kernels/row_cache.cuh"
#include "cuda/kernels/rows.cuh"
#include "cuda/kernels/sparse_task.h"
#include "cuda/kernels/team.cuh"
#include "cuda/kernels/tile_attention.cuh"

namespace alaya {

// Block (chunk, task): counts a chunk's tokens by step into [task_count, query_count,
// kStepCount].
struct CountSteps {
  SparseShape shape;
  SparseBatch batch;
  const QueryCodes* codes;
  Approximations approximations;
  uint32_t* step_counts;

  static uint32_t SharedBytes(uint32_t query_count) {
    SharedPieces pieces(nullptr);
    pieces.Take<uint32_t>(query_count * kStepCount);
    return pieces.bytes();
  }

  ALAYA_HOST_DEVICE void operator()(uint32_t chunk, uint32_t task_index, void* memory) const {
    const uint32_t token_count = batch.tasks[task_index].head.token_count;
    if (chunk >= ChunkCount(token_count)) return;
    const uint32_t first = chunk * kChunkTokens;
    const uint32_t left = token_count - first;
    const uint32_t count = left < kChunkTokens ? left : kChunkTokens;
    const size_t first_query = size_t{task_index} * shape.query_count;
    uint32_t* counts = SharedPieces(memory).Take<uint32_t>(shape.query_count * kStepCount);
    ForEach(shape.query_count * kStepCount, [&](uint32_t i) { counts[i] = 0; });
    for (uint32_t q = 0; q < shape.query_count; ++q) {
      const int16_t* units = approximations.units + (first_query + q) * approximations.stride;
      const int32_t top = UnitsOfLogit(ScoreOfKey(codes[first_query + q].top));
      ForEach(count, [&](uint32_t i) {
        const int32_t value = units[first + i];
        const int32_t step = (top - value) / kUnitsPerStep;
        if (value == kUnitsOutside || step >= static_cast<int32_t>(kStepCount)) return;
        AtomicAdd(&counts[q * kStepCount + static_cast<uint32_t>(step)], 1U);
      });
    }
    ForEach(shape.query_count * kStepCount, [&](uint32_t i) {
      if (counts[i] != 0) AtomicAdd(&step_counts[first_query * kStepCount + i], counts[i]);
    });
  }
};

// Block (query, task).
struct SetBars {
  SparseShape shape;
  SparseOptions options;
  SparseBatch batch;
  QueryCodes* codes;
  const uint32_t* step_counts;
  PartialAttention partial;
  uint32_t window_part_count;  // the first ones of `partial`

  struct Shared {
    ALAYA_HOST_DEVICE Shared(void* memory, uint32_t head_dim) {
      SharedPieces pieces(memory);
      row = pieces.Take<float>(StagedStride(head_dim));
      squares = pieces.Take<float>(kStepCount);
      numbers = pieces.Take<float>(4);
      bytes = pieces.bytes();
    }
    float* row;      // the top token's key, then the window's output
    float* squares;  // of the weights of a step's tokens
    float* numbers;  // best logit; the window's highest log_sum_exp, sum and squared norm
    uint32_t bytes;
  };
  static uint32_t SharedBytes(uint32_t head_dim) { return Shared(nullptr, head_dim).bytes; }

  ALAYA_HOST_DEVICE void operator()(uint32_t query, uint32_t task_index, void* memory) const {
    const SparseTask& task = batch.tasks[task_index];
    const uint32_t place = task_index * shape.query_count + query;
    const uint32_t head_dim = shape.head_dim;
    QueryCodes& state = codes[place];
    if (state.top == 0) return;  // no token is searched
    const Shared shared(memory, head_dim);
    const float* best_logits = partial.details + size_t{place} * partial.part_count;
    MaxEach(
        1, window_part_count, [&](uint32_t, uint32_t part) { return best_logits[part]; },
        [&](uint32_t, float best) { shared.numbers[0] = best; });
    const uint32_t top_token = TokenOfKey(state.top);
    const uint32_t slot =
        UsesCache(task, options) ? FindCached(task.cache, top_token) : uint32_t{kNoSlot};
    const bool is_known = slot != kNoSlot || task.keys.data != nullptr;
    if (is_known) {
      StageMixedRows(
          task.keys.dtype, head_dim, 1, [&](uint32_t) { return slot; }, task.cache.keys,
          [&](uint32_t) { return task.keys.row(top_token); }, shared.row);
    }
    const float* original = batch.queries + size_t{place} * head_dim;
    SumEach(
        1, is_known ? head_dim : 0,
        [&](uint32_t, uint32_t e) { return original[e] * shared.row[e]; },
        [&](uint32_t, float score) {
          QueryBars& bars = state.bars;
          bars.top_logit = ScoreOfKey(state.top);
          const float error = FloatOfBF16(task.head.errors[top_token]);
          const float scale = FloatOfBF16(task.head.scales[top_token]);
          const float coded = slot == kNoSlot ? 0 : task.cache.keys.scales[slot];
          const float logit = is_known
                                  ? options.scale * score -
                                        options.deviations * bars.CachedDeviation(coded, head_dim)
                                  : bars.centre_logit + bars.top_logit - bars.Bound(error, scale);
          bars.best_logit = fmaxf(shared.numbers[0], logit);
          bars.dipr_bar = bars.best_logit + options.log_alpha - bars.centre_logit;
        });
    if (options.rest_error > 0) SetWeightBars(shared, task, place, state.bars);
  }

 private:
  static constexpr float kWantedShare = 0.6F;
  static constexpr float kNeededShare = 3;
  static constexpr float kExactShare = 15;

  ALAYA_HOST_DEVICE void SetWeightBars(const Shared& shared, const SparseTask& task, uint32_t place,
                                       QueryBars& bars) const {
    FindWindowNorm(shared, place);
    const FlatHeadSummary& summary = *task.head.summary;
    const auto token_count = static_cast<float>(task.head.token_count);
    const float deviation = bars.deviation_factor * sqrtf(summary.error_square_sum / token_count);
    // Squares of expected weights, in units of the highest one. The expected squares are
    // larger, as weights are not known exactly.
    const float spread = expf(fminf(bars.shrink * deviation * deviation, 40.0F));
    ForEach(kStepCount, [&](uint32_t step) {
      const auto nats = (static_cast<float>(step) + 0.5F) * kUnitsPerStep / kUnitsPerNat;
      shared.squares[step] = spread *
                             static_cast<float>(step_counts[size_t{place} * kStepCount + step]) *
                             expf(-2 * bars.shrink * nats);
    });
    ForEach(1, [&](uint32_t) {
      const float value_deviation = sqrtf(summary.deviation_square_sum / token_count);
      if (value_deviation <= 0) return;
      float square_sum = 0;
      for (uint32_t step = 0; step < kStepCount; ++step) square_sum += shared.squares[step];
      const float log_window = shared.numbers[1] + logf(shared.numbers[2]);
      const float window =
          shared.numbers[2] == 0
              ? 0
              : sqrtf(shared.numbers[3]) / value_deviation *
                    expf(fminf(log_window - bars.LogWeight(bars.top_logit, deviation), 40.0F));
      // From the top down, steps are above the bar until the others are in the budget.
      const auto bar_of = [&](float share) {
        const float error = share * options.rest_error;
        const float budget = error * error * (window * window + square_sum);
        uint32_t step = 0;
        float left = square_sum;
        while (step < kStepCount && left > budget) left -= shared.squares[step++];
        return step == 0
                   ? kUnitsMax
                   : UnitsOfLogit(bars.top_logit) - static_cast<int32_t>(step) * kUnitsPerStep + 1;
      };
      const bool uses_cache = UsesCache(task, options);
      bars.wanted_bar = bar_of(uses_cache ? kWantedShare : 1);
      bars.needed_bar = uses_cache ? bar_of(kNeededShare) : bars.wanted_bar;
      bars.exact_bar = bar_of(kExactShare);
    });
  }

  // Of what the windows' attention comes to: numbers 1 to 3.
  ALAYA_HOST_DEVICE void FindWindowNorm(const Shared& shared, uint32_t place) const {
    const uint32_t head_dim = shape.head_dim;
    const float* log_sum_exps = partial.log_sum_exps + size_t{place} * partial.part_count;
    const float* outputs = partial.outputs + size_t{place} * partial.part_count * head_dim;
    MaxEach(
        1, window_part_count, [&](uint32_t, uint32_t part) { return log_sum_exps[part]; },
        [&](uint32_t, float largest) { shared.numbers[1] = largest; });
    const auto weight_of = [&](uint32_t part) {
      return log_sum_exps[part] == -INFINITY ? 0 : expf(log_sum_exps[part] - shared.numbers[1]);
    };
    SumEach(
        1, window_part_count, [&](uint32_t, uint32_t part) { return weight_of(part); },
        [&](uint32_t, float sum) { shared.numbers[2] = sum; });
    ForEach(head_dim, [&](uint32_t e) {
      float sum = 0;
      for (uint32_t part = 0; part < window_part_count; ++part) {
        const float weight = weight_of(part);
        if (weight > 0) sum += weight * outputs[size_t{part} * head_dim + e];
      }
      shared.row[e] = sum;
    });
    SumEach(
        1, head_dim, [&](uint32_t, uint32_t e) { return shared.row[e] * shared.row[e]; },
        [&](uint32_t, float sum) {
          const float total = shared.numbers[2];
          shared.numbers[3] = total > 0 ? sum / (total * total) : 0;
        });
  }
};

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_QUERY_BARS_CUH_
