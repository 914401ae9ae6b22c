// Attention to the tokens of a chunk that the bars choose, and an estimate of the rest.

#ifndef ALAYA_CUDA_KERNELS_CHOSEN_ATTENTION_CUH_
#define ALAYA_CUDA_KERNELS_CHOSEN_ATTENTION_CUH_

#include <cmath>
#include <cstdint>

#include "cuda/kernels/flat_scan.cuh"
#include "cuda/kernels/numbers.cuh"
#include "cuda/kernels/query_codes.cuh"
#include "cuda/kernels/row_cache.cuh"
#include "cuda/kernels/sparse_task.h"
#include "cuda/kernels/team.cuh"
#include "cuda/kernels/tile_attention.cuh"

namespace alaya {

// Block (chunk, task).
struct AttendChosen {
  SparseShape shape;
  SparseOptions options;
  SparseBatch batch;
  const QueryCodes* codes;
  Approximations approximations;
  PartialAttention partial;
  uint32_t first_part;      // of `partial`, where chunk 0 goes
  uint32_t* wanted_counts;  // [task_count] entries without bits that were listed, or more

  static constexpr uint32_t kGroups = kChunkTokens / kGroupTokensOnDevice;
  static constexpr uint32_t kWords = kChunkTokens / 32;

  struct Shared {
    ALAYA_HOST_DEVICE Shared(SharedPieces& pieces, const SparseShape& shape) {
      queries = pieces.Take<QueryBars>(shape.query_count);
      masks = pieces.Take<uint8_t>(kChunkTokens);
      needs = pieces.Take<uint8_t>(kChunkTokens);
      slots = pieces.Take<uint16_t>(kChunkTokens);
      list = pieces.Take<uint16_t>(kChunkTokens);
      word_counts = pieces.Take<uint32_t>(kWords + 1);
      group_weights = pieces.Take<float>(shape.query_count * kGroups);
      attended = pieces.Take<uint32_t>(shape.query_count);
    }
    QueryBars* queries;
    uint8_t* masks;         // a bit per query: first what may be chosen, then what is attended
    uint8_t* needs;         // of a token with any bit: kNeedsRow, kNeedsExact
    uint16_t* slots;        // of a token with any bit: its cached row, kNoSlot or kLeftOut
    uint16_t* list;         // the tokens with any bit, rising, without those that are left out
    uint32_t* word_counts;  // of 32 masks each; at the end the list's length
    float* group_weights;   // [query][group] of the rest
    uint32_t* attended;
  };

  static uint32_t SharedBytes(const SparseShape& shape) {
    SharedPieces pieces(nullptr);
    const TileAttention attention(pieces, shape);
    const Shared shared(pieces, shape);
    return pieces.bytes();
  }

  ALAYA_HOST_DEVICE void operator()(uint32_t chunk, uint32_t task_index, void* memory) const {
    const SparseTask& task = batch.tasks[task_index];
    const size_t first_query = size_t{task_index} * shape.query_count;
    SharedPieces pieces(memory);
    TileAttention attention(pieces, shape);
    const Shared shared(pieces, shape);
    attention.Start(batch.queries + first_query * shape.head_dim);
    ForEach(shape.query_count, [&](uint32_t q) { RestShare(task_index, q, chunk) = 0; });
    if (chunk < ChunkCount(task.head.token_count)) {
      const Chunk at = {task, task_index, chunk * kChunkTokens};
      LoadBars(shared, task_index);
      MarkCandidates(shared, at);
      FindRows(shared, at);
      ListCandidates(shared);
      AttendListed(shared, at, attention);
      if (options.rest_error > 0) AddRest(shared, at, attention);
      ForEach(shape.query_count, [&](uint32_t q) {
        AtomicAdd(&batch.counts.tokens_attended[first_query + q], shared.attended[q]);
        if (q == 0) AtomicAdd(&batch.counts.rows_scored[task_index], shared.word_counts[kWords]);
      });
    }
    attention.Finish(partial, task_index, first_part + chunk);
  }

 private:
  // Attended by the host, as the device does not reach its row.
  static constexpr uint32_t kLeftOut = 0xFFFE;
  // Some query cannot do without a row; without one that is exact.
  static constexpr uint32_t kNeedsRow = 1;
  static constexpr uint32_t kNeedsExact = 2;

  struct Chunk {
    const SparseTask& task;
    uint32_t task_index;
    uint32_t first;  // token
  };

  ALAYA_HOST_DEVICE void LoadBars(const Shared& shared, uint32_t task_index) const {
    ForEach(shape.query_count, [&](uint32_t q) {
      shared.queries[q] = codes[task_index * shape.query_count + q].bars;
      shared.attended[q] = 0;
    });
  }

  ALAYA_HOST_DEVICE const int16_t* Units(const Chunk& at, uint32_t q) const {
    return approximations.units +
           (size_t{at.task_index} * shape.query_count + q) * approximations.stride + at.first;
  }

  // Tokens without codes are heavy: nothing is known of them.
  ALAYA_HOST_DEVICE static bool IsHeavy(const QueryBars& query, int32_t units, float error) {
    return units >= query.wanted_bar || error == INFINITY;
  }

  ALAYA_HOST_DEVICE void MarkCandidates(const Shared& shared, const Chunk& at) const {
    const uint32_t left = at.task.head.token_count - at.first;
    ForEach(kChunkTokens, [&](uint32_t i) {
      uint32_t mask = 0;
      uint32_t needs = 0;
      if (i < left) {
        const float error = FloatOfBF16(at.task.head.errors[at.first + i]);
        const float scale = FloatOfBF16(at.task.head.scales[at.first + i]);
        for (uint32_t q = 0; q < shape.query_count; ++q) {
          const int32_t units = Units(at, q)[i];
          const QueryBars& query = shared.queries[q];
          const float upper = LogitOfUnits(units) + query.Bound(error, scale);
          const bool is_unknown = units == kUnitsMax || error == INFINITY;
          const bool is_critical = upper >= query.dipr_bar || is_unknown;
          if (units == kUnitsOutside || !(is_critical || units >= query.wanted_bar)) continue;
          mask |= 1U << q;
          if (is_critical || units >= query.needed_bar) needs |= kNeedsRow;
          if (is_unknown || units >= query.exact_bar) needs |= kNeedsExact;
        }
      }
      shared.masks[i] = static_cast<uint8_t>(mask);
      shared.needs[i] = static_cast<uint8_t>(needs);
    });
  }

  ALAYA_HOST_DEVICE void FindRows(const Shared& shared, const Chunk& at) const {
    const RowCache& cache = at.task.cache;
    const bool uses_cache = UsesCache(at.task, options);
    ForEach(kChunkTokens, [&](uint32_t i) {
      uint32_t slot = kNoSlot;
      if (shared.masks[i] != 0) {
        slot = uses_cache ? FindCached(cache, at.first + i) : uint32_t{kNoSlot};
        if (slot != kNoSlot) cache.last_steps[slot] = *batch.step;
        if (slot == kNoSlot || (shared.needs[i] & kNeedsExact) != 0) {
          slot = FindOutside(shared, at, i);
        }
      }
      shared.slots[i] = static_cast<uint16_t>(slot);
    });
  }

  // Of a token whose row is not cached, or not well enough.
  ALAYA_HOST_DEVICE uint32_t FindOutside(const Shared& shared, const Chunk& at, uint32_t i) const {
    if (shared.needs[i] == 0) {
      shared.masks[i] = 0;
      if (AtomicAdd(&wanted_counts[at.task_index], 1U) >= MissedRows::kWantedMax) return kNoSlot;
    }
    const MissedRows& missed = batch.missed;
    if (missed.capacity == 0) return kNoSlot;
    const uint32_t place = AtomicAdd(&missed.counts[at.task_index], 1U);
    if (place < missed.capacity) {
      missed.entries[size_t{at.task_index} * missed.capacity + place] =
          uint32_t{shared.masks[i]} << MissedRows::kTokenBits | (at.first + i);
    }
    return at.task.keys.data != nullptr ? kNoSlot : kLeftOut;
  }

  ALAYA_HOST_DEVICE static bool IsListed(const Shared& shared, uint32_t i) {
    return shared.masks[i] != 0 && shared.slots[i] != kLeftOut;
  }

  // In order, so that sums do not depend on which thread came first.
  ALAYA_HOST_DEVICE void ListCandidates(const Shared& shared) const {
    ForEach(kWords, [&](uint32_t word) {
      uint32_t count = 0;
      for (uint32_t i = 0; i < 32; ++i) count += IsListed(shared, 32 * word + i) ? 1U : 0U;
      shared.word_counts[word] = count;
    });
    ForEach(kWords, [&](uint32_t word) {
      uint32_t place = 0;
      for (uint32_t before = 0; before < word; ++before) place += shared.word_counts[before];
      for (uint32_t i = 32 * word; i < 32 * word + 32; ++i) {
        if (IsListed(shared, i)) shared.list[place++] = static_cast<uint16_t>(i);
      }
      if (word + 1 == kWords) shared.word_counts[kWords] = place;
    });
  }

  // Leaves in the masks what is attended, by the device or the host.
  ALAYA_HOST_DEVICE void AttendListed(const Shared& shared, const Chunk& at,
                                      TileAttention& attention) const {
    const uint32_t count = shared.word_counts[kWords];
    for (uint32_t begin = 0; begin < count; begin += TileRows(shape.head_dim)) {
      const uint32_t rows =
          count - begin < TileRows(shape.head_dim) ? count - begin : TileRows(shape.head_dim);
      const RowCache& cache = at.task.cache;
      const auto token = [&](uint32_t row) { return shared.list[begin + row]; };
      attention.ScoreStaged(rows, [&](float* tile) {
        StageMixedRows(
            at.task.keys.dtype, shape.head_dim, rows,
            [&](uint32_t row) { return shared.slots[token(row)]; }, cache.keys,
            [&](uint32_t row) { return at.task.keys.row(at.first + token(row)); }, tile);
      });
      ForEach(rows, [&](uint32_t row) {
        const uint32_t i = shared.list[begin + row];
        const float error = FloatOfBF16(at.task.head.errors[at.first + i]);
        uint32_t mask = 0;
        for (uint32_t q = 0; q < shape.query_count; ++q) {
          float& logit = attention.logit(q, row);
          logit *= options.scale;
          const int32_t units = Units(at, q)[i];
          const QueryBars& query = shared.queries[q];
          const bool is_attended =
              units != kUnitsOutside && query.dipr_bar < INFINITY &&
              (logit >= query.best_logit + options.log_alpha || IsHeavy(query, units, error));
          if (is_attended) {
            mask |= 1U << q;
            AtomicAdd(&shared.attended[q], 1U);
          } else {
            logit = -INFINITY;
          }
        }
        shared.masks[i] = static_cast<uint8_t>(mask);
      });
      attention.AddStaged(rows, [&](uint32_t needed_count, const uint32_t* needed, float* tile) {
        StageMixedRows(
            at.task.values.dtype, shape.head_dim, needed_count,
            [&](uint32_t n) { return shared.slots[token(needed[n])]; }, cache.values,
            [&](uint32_t n) { return at.task.values.row(at.first + token(needed[n])); }, tile);
      });
    }
  }

  ALAYA_HOST_DEVICE float& RestShare(uint32_t task_index, uint32_t q, uint32_t chunk) const {
    return partial.details[(size_t{task_index} * shape.query_count + q) * partial.part_count +
                           first_part + chunk];
  }

  ALAYA_HOST_DEVICE void AddRest(const Shared& shared, const Chunk& at,
                                 TileAttention& attention) const {
    const FlatHead& head = at.task.head;
    const uint32_t left = head.token_count - at.first;
    const uint32_t groups = CodeGroups(left < kChunkTokens ? left : kChunkTokens);
    attention.MakeRoomFor(
        [&](uint32_t q) { return shared.queries[q].centre_logit + shared.queries[q].top_logit; });
    SumEach(
        shape.query_count * groups, kGroupTokensOnDevice,
        [&](uint32_t item, uint32_t token) {
          const uint32_t q = item / groups;
          const uint32_t i = item % groups * kGroupTokensOnDevice + token;
          if (i >= left || (shared.masks[i] >> q & 1) != 0) return 0.0F;
          const int32_t units = Units(at, q)[i];
          if (units == kUnitsOutside) return 0.0F;
          const QueryBars& query = shared.queries[q];
          const float deviation = query.deviation_factor * FloatOfBF16(head.errors[at.first + i]);
          return expf(query.LogWeight(LogitOfUnits(units), deviation) - attention.maximum(q));
        },
        [&](uint32_t item, float sum) { shared.group_weights[item] = sum; });
    const uint16_t* means =
        head.value_means + size_t{at.first / kGroupTokensOnDevice} * shape.head_dim;
    const auto weight_of = [&](uint32_t q, uint32_t group) {
      return shared.group_weights[q * groups + group];
    };
    attention.AddWeighted(groups, weight_of, [&](uint32_t group, uint32_t e) {
      return FloatOfBF16(means[group * shape.head_dim + e]);
    });
    ForEach(shape.query_count, [&](uint32_t q) {
      float sum = 0;
      for (uint32_t group = 0; group < groups; ++group) sum += weight_of(q, group);
      const float total = attention.denominator(q);
      RestShare(at.task_index, q, at.first / kChunkTokens) = total > 0 ? sum / total : 0;
    });
  }
};

// Block (query, task): merges all parts.
struct MergeParts {
  static constexpr uint32_t kPartsAtATime = 256;

  SparseShape shape;
  SparseBatch batch;
  PartialAttention partial;
  uint32_t window_part_count;  // the first ones of `partial`

  struct Shared {
    ALAYA_HOST_DEVICE Shared(void* memory, uint32_t head_dim) {
      SharedPieces pieces(memory);
      sums = pieces.Take<float>(head_dim);
      weights = pieces.Take<float>(kPartsAtATime);
      numbers = pieces.Take<float>(3);
      bytes = pieces.bytes();
    }
    float* sums;
    float* weights;
    float* numbers;  // the highest log_sum_exp, the sum of weights, of those what is estimated
    uint32_t bytes;
  };
  static uint32_t SharedBytes(uint32_t head_dim) { return Shared(nullptr, head_dim).bytes; }

  ALAYA_HOST_DEVICE void operator()(uint32_t query, uint32_t task_index, void* memory) const {
    const Shared shared(memory, shape.head_dim);
    const size_t place = size_t{task_index} * shape.query_count + query;
    const float* log_sum_exps = partial.log_sum_exps + place * partial.part_count;
    const float* outputs = partial.outputs + place * partial.part_count * shape.head_dim;
    MaxEach(
        1, partial.part_count, [&](uint32_t, uint32_t part) { return log_sum_exps[part]; },
        [&](uint32_t, float largest) {
          shared.numbers[0] = largest;
          shared.numbers[1] = shared.numbers[2] = 0;
        });
    const float* details = partial.details + place * partial.part_count;
    ForEach(shape.head_dim, [&](uint32_t e) { shared.sums[e] = 0; });
    for (uint32_t begin = 0; begin < partial.part_count; begin += kPartsAtATime) {
      const uint32_t left = partial.part_count - begin;
      const uint32_t count = left < kPartsAtATime ? left : kPartsAtATime;
      SumEach(
          1, count,
          [&](uint32_t, uint32_t i) {
            const float log_sum_exp = log_sum_exps[begin + i];
            const float weight =
                log_sum_exp == -INFINITY ? 0 : expf(log_sum_exp - shared.numbers[0]);
            shared.weights[i] = weight;
            return weight;
          },
          [&](uint32_t, float sum) { shared.numbers[1] += sum; });
      SumEach(
          1, count,
          [&](uint32_t, uint32_t i) {
            const bool is_chunk = begin + i >= window_part_count && shared.weights[i] > 0;
            return is_chunk ? shared.weights[i] * details[begin + i] : 0;
          },
          [&](uint32_t, float sum) { shared.numbers[2] += sum; });
      ForEach(shape.head_dim, [&](uint32_t e) {
        float sum = shared.sums[e];
        for (uint32_t i = 0; i < count; ++i) {
          if (shared.weights[i] > 0) {
            sum += shared.weights[i] * outputs[size_t{begin + i} * shape.head_dim + e];
          }
        }
        shared.sums[e] = sum;
      });
    }
    const float total = shared.numbers[1];
    ForEach(shape.head_dim, [&](uint32_t e) {
      batch.outputs[place * shape.head_dim + e] = total > 0 ? shared.sums[e] / total : 0;
    });
    ForEach(1, [&](uint32_t) {
      batch.log_sum_exps[place] = total > 0 ? shared.numbers[0] + logf(total) : -INFINITY;
      batch.rest_shares[place] = total > 0 ? shared.numbers[2] / total : 0;
      if (place == 0) ++*batch.step;
    });
  }
};

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_CHOSEN_ATTENTION_CUH_
