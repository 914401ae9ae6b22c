// Approximate logits of all tokens of a head, for all queries of a task at once, and the
// highest one of each query.

#ifndef ALAYA_CUDA_KERNELS_FLAT_SCAN_CUH_
#define ALAYA_CUDA_KERNELS_FLAT_SCAN_CUH_

#include <cstdint>

#include "cuda/kernels/flat_head.h"
#include "cuda/kernels/numbers.cuh"
#include "cuda/kernels/query_codes.cuh"
#include "cuda/kernels/sparse_task.h"
#include "cuda/kernels/team.cuh"

namespace alaya {

// Tokens of one block, here and where tokens are chosen.
inline constexpr uint32_t kChunkTokens = 1024;
constexpr uint32_t ChunkCount(uint32_t token_count) {
  return (token_count + kChunkTokens - 1) / kChunkTokens;
}

// Approximate logits in units: [task_count, query_count, stride], stride a multiple of
// kChunkTokens.
struct Approximations {
  int16_t* units = nullptr;
  size_t stride = 0;
};

// Block (chunk, task). A thread takes two tokens, so that a query's codes, which all
// threads read, serve twice. Unrolled for kRuns * 32 elements; 0: any number.
template <uint32_t kRuns>
struct ScanChunk {
  // Queries whose sums a thread holds at a time.
  static constexpr uint32_t kTile = 4;

  SparseShape shape;
  SparseBatch batch;
  QueryCodes* codes;
  Approximations approximations;

  struct Shared {
    ALAYA_HOST_DEVICE explicit Shared(void* memory) {
      SharedPieces pieces(memory);
      words = pieces.Take<uint32_t>(kTaskQueriesMax * kHeadDimMaxOnDevice / 4);
      level_factor = pieces.Take<float>(kTaskQueriesMax);
      offset = pieces.Take<int32_t>(kTaskQueriesMax);
      top = pieces.Take<uint64_t>(kTaskQueriesMax);
      bytes = pieces.bytes();
    }
    uint32_t* words;  // [run][query][8]
    float* level_factor;
    int32_t* offset;
    uint64_t* top;
    uint32_t bytes;
  };
  static uint32_t SharedBytes(uint32_t) { return Shared(nullptr).bytes; }

  ALAYA_HOST_DEVICE uint32_t runs() const { return kRuns == 0 ? CodeRuns(shape.head_dim) : kRuns; }

  ALAYA_HOST_DEVICE void operator()(uint32_t chunk, uint32_t task_index, void* memory) const {
    const SparseTask& task = batch.tasks[task_index];
    if (chunk >= ChunkCount(task.head.token_count)) return;
    const Shared shared(memory);
    LoadQueries(shared, task_index);
    const uint32_t first = chunk * kChunkTokens;
    const uint32_t left = task.head.token_count - first;
    const uint32_t group_count = CodeGroups(left < kChunkTokens ? left : kChunkTokens);
    ForEach(group_count * 32, [&](uint32_t i) {
      const uint32_t token = first + i / 32 * kGroupTokensOnDevice + i % 32;
      for (uint32_t q = 0; q < shape.query_count; q += kTile) {
        ScorePair(shared, task, task_index, token, q);
      }
    });
    ForEach(shape.query_count, [&](uint32_t q) {
      AtomicMax(&codes[task_index * shape.query_count + q].top, shared.top[q]);
    });
  }

 private:
  // Missing queries of the last tile score zero.
  ALAYA_HOST_DEVICE void LoadQueries(const Shared& shared, uint32_t task_index) const {
    const QueryCodes* queries = codes + task_index * shape.query_count;
    ForEach(runs() * kTaskQueriesMax * 8, [&](uint32_t i) {
      const uint32_t q = i / 8 % kTaskQueriesMax;
      const uint32_t word = i / 8 / kTaskQueriesMax * 8 + i % 8;
      shared.words[i] = q < shape.query_count ? queries[q].words[word] : 0;
    });
    ForEach(kTaskQueriesMax, [&](uint32_t q) {
      const bool exists = q < shape.query_count;
      shared.level_factor[q] = exists ? queries[q].level_factor : 0;
      shared.offset[q] = exists ? 7 * queries[q].code_sum : 0;
      shared.top[q] = 0;
    });
  }

  // Tokens `token` and token + 32, for queries q to q + kTile - 1.
  ALAYA_HOST_DEVICE void ScorePair(const Shared& shared, const SparseTask& task,
                                   uint32_t task_index, uint32_t token, uint32_t q) const {
    const uint32_t lane = token % kGroupTokensOnDevice;
    const uint32_t* words =
        task.head.codes +
        size_t{token / kGroupTokensOnDevice} * (3 * runs()) * kGroupTokensOnDevice + lane;
    int32_t sums[2][kTile] = {};
    ALAYA_UNROLL
    for (uint32_t run = 0; run < runs(); ++run) {
      uint32_t stored[2][3];
      for (uint32_t part = 0; part < 3; ++part) {
        stored[0][part] = words[(3 * run + part) * kGroupTokensOnDevice];
        stored[1][part] = words[(3 * run + part) * kGroupTokensOnDevice + 32];
      }
      const uint32_t* query_words = shared.words + (run * kTaskQueriesMax + q) * 8;
      ALAYA_UNROLL
      for (uint32_t j = 0; j < 8; ++j) {
        uint32_t four[2];
        for (uint32_t t = 0; t < 2; ++t) {
          four[t] = (stored[t][j / 4] >> (2 * (j % 4)) & 0x03030303U) << 1 |
                    (stored[t][2] >> j & 0x01010101U);
        }
        ALAYA_UNROLL
        for (uint32_t k = 0; k < kTile; ++k) {
          const uint32_t query_word = query_words[8 * k + j];
          sums[0][k] = AddProducts(four[0], query_word, sums[0][k]);
          sums[1][k] = AddProducts(four[1], query_word, sums[1][k]);
        }
      }
    }
    for (uint32_t t = 0; t < 2; ++t) {
      Store(shared, task, task_index, token + 32 * t, q, sums[t]);
    }
  }

  ALAYA_HOST_DEVICE void Store(const Shared& shared, const SparseTask& task, uint32_t task_index,
                               uint32_t token, uint32_t first_query,
                               const int32_t (&sums)[kTile]) const {
    const bool is_searched = token >= task.token_begin && token < task.token_end;
    const float scale = FloatOfBF16(task.head.scales[token]);
    ALAYA_UNROLL
    for (uint32_t k = 0; k < kTile; ++k) {
      const uint32_t q = first_query + k;
      if (q >= shape.query_count) break;
      const float logit =
          shared.level_factor[q] * scale * static_cast<float>(2 * sums[k] - shared.offset[q]);
      approximations
          .units[(size_t{task_index} * shape.query_count + q) * approximations.stride + token] =
          static_cast<int16_t>(is_searched ? UnitsOfLogit(logit) : kUnitsOutside);
      AtomicMaxOfWarp(&shared.top[q], is_searched ? TopKey(logit, token) : 0);
    }
  }
};

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_FLAT_SCAN_CUH_
