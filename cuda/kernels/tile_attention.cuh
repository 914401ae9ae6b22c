// Exact attention of a task's queries within one block, over tiles of rows: online
// softmax in shared memory. The building step of windows and of chosen tokens.

#ifndef ALAYA_CUDA_KERNELS_TILE_ATTENTION_CUH_
#define ALAYA_CUDA_KERNELS_TILE_ATTENTION_CUH_

#include <cmath>
#include <cstdint>

#include "cuda/kernels/rows.cuh"
#include "cuda/kernels/sparse_task.h"
#include "cuda/kernels/team.cuh"

namespace alaya {

// Attention to parts of a task's tokens, not merged yet.
struct PartialAttention {
  float* outputs = nullptr;       // [task_count, query_count, part_count, head_dim]
  float* log_sum_exps = nullptr;  // [task_count, query_count, part_count]; -inf: no output
  // [task_count, query_count, part_count] of windows the best logit, of chunks the share of
  // what they hold that is estimated.
  float* details = nullptr;
  uint32_t part_count = 0;
};

// Life: Start -> for every tile: ScoreTile, the caller makes logits of the scores,
// AddTile -> Finish.
class TileAttention {
 public:
  // Takes its shared memory from `pieces`.
  ALAYA_HOST_DEVICE TileAttention(SharedPieces& pieces, const SparseShape& shape)
      : head_dim_(shape.head_dim), query_count_(shape.query_count) {
    queries_ = pieces.Take<float>(query_count_ * head_dim_);
    sums_ = pieces.Take<float>(query_count_ * head_dim_);
    tile_ = pieces.Take<float>(TileRows(head_dim_) * StagedStride(head_dim_));
    logits_ = pieces.Take<float>(query_count_ * TileRows(head_dim_));
    maximum_ = pieces.Take<float>(query_count_);
    factor_ = pieces.Take<float>(query_count_);
    denominator_ = pieces.Take<float>(query_count_);
    needed_ = pieces.Take<uint32_t>(TileRows(head_dim_) + 1);
    is_needed_ = pieces.Take<uint32_t>(TileRows(head_dim_));
  }

  ALAYA_HOST_DEVICE void Start(const float* queries) {
    ForEach(query_count_ * head_dim_, [&](uint32_t i) {
      queries_[i] = queries[i];
      sums_[i] = 0;
    });
    ForEach(query_count_, [&](uint32_t q) {
      maximum_[q] = -INFINITY;
      denominator_[q] = 0;
    });
  }

  // Sets the scores of `rows` rows, which lie at key_at(0), key_at(1), ...
  template <class KeyAt>
  ALAYA_HOST_DEVICE void ScoreTile(DType dtype, uint32_t rows, KeyAt key_at) {
    ScoreStaged(rows, [&](float* tile) { StageRows(dtype, head_dim_, rows, key_at, tile); });
  }
  // The same of rows that stage(tile) writes.
  template <class Stage>
  ALAYA_HOST_DEVICE void ScoreStaged(uint32_t rows, Stage stage) {
    stage(tile_);
    ForEach(query_count_ * rows, [&](uint32_t i) {
      const float* key = tile_ + i % rows * StagedStride(head_dim_);
      const float* query = queries_ + i / rows * head_dim_;
      float score = 0;
      for (uint32_t e = 0; e < head_dim_; ++e) score += query[e] * key[e];
      logit(i / rows, i % rows) = score;
    });
  }

  // Of the current tile; first scores, then to be made logits, -inf: not attended.
  ALAYA_HOST_DEVICE float& logit(uint32_t q, uint32_t row) {
    return logits_[q * TileRows(head_dim_) + row];
  }
  ALAYA_HOST_DEVICE float maximum(uint32_t q) const { return maximum_[q]; }
  // Of weights relative to the maximum.
  ALAYA_HOST_DEVICE float denominator(uint32_t q) const { return denominator_[q]; }

  // Reads the values of those rows that a query attends to, of row i at value_at(i).
  template <class ValueAt>
  ALAYA_HOST_DEVICE void AddTile(DType dtype, uint32_t rows, ValueAt value_at) {
    AddStaged(rows, [&](uint32_t count, const uint32_t* needed, float* tile) {
      StageRows(
          dtype, head_dim_, count, [&](uint32_t i) { return value_at(needed[i]); }, tile);
    });
  }
  // The same of values that stage(count, needed, tile) writes, those of rows needed[0], ...
  template <class Stage>
  ALAYA_HOST_DEVICE void AddStaged(uint32_t rows, Stage stage) {
    ListNeeded(rows);
    if (needed_[rows] == 0) return;
    RaiseMaxima(rows, [&](uint32_t q, uint32_t row) { return logit(q, row); });
    SumEach(
        query_count_, rows,
        [&](uint32_t q, uint32_t row) {
          const float value = logit(q, row);
          const float weight = value == -INFINITY ? 0 : expf(value - maximum_[q]);
          logit(q, row) = weight;
          return weight;
        },
        [&](uint32_t q, float sum) { denominator_[q] += sum; });
    stage(needed_[rows], needed_, tile_);
    ForEach(query_count_ * head_dim_, [&](uint32_t i) {
      const uint32_t q = i / head_dim_;
      float sum = sums_[i] * factor_[q];
      for (uint32_t n = 0; n < needed_[rows]; ++n) {
        sum += logit(q, needed_[n]) * tile_[n * StagedStride(head_dim_) + i % head_dim_];
      }
      sums_[i] = sum;
    });
  }

  // Lets logits up to logit_of(q) be added by weight: maximum(q) is at least that.
  template <class LogitOf>
  ALAYA_HOST_DEVICE void MakeRoomFor(LogitOf logit_of) {
    RaiseMaxima(1, [&](uint32_t q, uint32_t) { return logit_of(q); });
    ForEach(query_count_ * head_dim_, [&](uint32_t i) { sums_[i] *= factor_[i / head_dim_]; });
  }

  // Adds `count` vectors with weights relative to the maxima.
  template <class WeightOf, class ElementOf>
  ALAYA_HOST_DEVICE void AddWeighted(uint32_t count, WeightOf weight_of, ElementOf element_of) {
    ForEach(query_count_ * head_dim_, [&](uint32_t i) {
      const uint32_t q = i / head_dim_;
      float sum = sums_[i];
      for (uint32_t n = 0; n < count; ++n) sum += weight_of(q, n) * element_of(n, i % head_dim_);
      sums_[i] = sum;
    });
    ForEach(query_count_, [&](uint32_t q) {
      for (uint32_t n = 0; n < count; ++n) denominator_[q] += weight_of(q, n);
    });
  }

  // Writes part `part` of a task.
  ALAYA_HOST_DEVICE void Finish(const PartialAttention& partial, uint32_t task_index,
                                uint32_t part) {
    const size_t first = size_t{task_index} * query_count_;
    ForEach(query_count_ * head_dim_, [&](uint32_t i) {
      const uint32_t q = i / head_dim_;
      if (denominator_[q] <= 0) return;
      partial.outputs[((first + q) * partial.part_count + part) * head_dim_ + i % head_dim_] =
          sums_[i] / denominator_[q];
    });
    ForEach(query_count_, [&](uint32_t q) {
      const float sum = denominator_[q];
      partial.log_sum_exps[(first + q) * partial.part_count + part] =
          sum > 0 ? maximum_[q] + logf(sum) : -INFINITY;
    });
  }

 private:
  // needed_: the places of rows that any query attends to, and after `rows` their count.
  ALAYA_HOST_DEVICE void ListNeeded(uint32_t rows) {
    ForEach(rows, [&](uint32_t row) {
      uint32_t is_needed = 0;
      for (uint32_t q = 0; q < query_count_; ++q) {
        if (logit(q, row) > -INFINITY) is_needed = 1;
      }
      is_needed_[row] = is_needed;
    });
    ForEach(rows, [&](uint32_t row) {
      uint32_t place = 0;
      for (uint32_t before = 0; before < row; ++before) place += is_needed_[before];
      if (is_needed_[row] != 0) needed_[place] = row;
      if (row + 1 == rows) needed_[rows] = place + is_needed_[row];
    });
  }

  template <class LogitOf>
  ALAYA_HOST_DEVICE void RaiseMaxima(uint32_t count, LogitOf logit_of) {
    MaxEach(query_count_, count, logit_of, [&](uint32_t q, float largest) {
      const float before = maximum_[q];
      maximum_[q] = fmaxf(before, largest);
      factor_[q] = before == -INFINITY ? 0 : expf(before - maximum_[q]);
      denominator_[q] *= factor_[q];
    });
  }

  const uint32_t head_dim_;
  const uint32_t query_count_;
  float* queries_;
  float* sums_;  // of weighted values, relative to the maxima
  float* tile_;
  float* logits_;
  float* maximum_;
  float* factor_;
  float* denominator_;
  uint32_t* needed_;
  uint32_t* is_needed_;
};

// Block (part, task) of the windows: exact attention to kPartTokens tokens of one.
struct AttendWindows {
  static constexpr uint32_t kPartTokens = 128;

  SparseShape shape;
  SparseOptions options;
  SparseBatch batch;
  PartialAttention partial;

  // Of one window.
  static ALAYA_HOST_DEVICE uint32_t Parts(const SparseShape& shape) {
    return (shape.window_count + kPartTokens - 1) / kPartTokens;
  }
  static uint32_t SharedBytes(const SparseShape& shape) {
    SharedPieces pieces(nullptr);
    const TileAttention attention(pieces, shape);
    return pieces.bytes();
  }

  ALAYA_HOST_DEVICE void operator()(uint32_t part, uint32_t task_index, void* memory) const {
    const WindowRows& window = batch.tasks[task_index].windows[part / Parts(shape)];
    const uint32_t begin = part % Parts(shape) * kPartTokens;
    const uint32_t left = begin < window.token_count ? window.token_count - begin : 0;
    const uint32_t count = left < kPartTokens ? left : kPartTokens;
    const size_t first_query = size_t{task_index} * shape.query_count;
    float* best_logits = partial.details + first_query * partial.part_count + part;
    SharedPieces pieces(memory);
    TileAttention attention(pieces, shape);
    attention.Start(batch.queries + first_query * shape.head_dim);
    for (uint32_t tile = 0; tile < count; tile += TileRows(shape.head_dim)) {
      const uint32_t rows =
          count - tile < TileRows(shape.head_dim) ? count - tile : TileRows(shape.head_dim);
      attention.ScoreTile(window.keys.dtype, rows,
                          [&](uint32_t row) { return window.keys.row(begin + tile + row); });
      ForEach(shape.query_count * rows,
              [&](uint32_t i) { attention.logit(i / rows, i % rows) *= options.scale; });
      attention.AddTile(window.values.dtype, rows,
                        [&](uint32_t row) { return window.values.row(begin + tile + row); });
    }
    ForEach(shape.query_count,
            [&](uint32_t q) { best_logits[q * partial.part_count] = attention.maximum(q); });
    attention.Finish(partial, task_index, part);
  }
};

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_TILE_ATTENTION_CUH_
