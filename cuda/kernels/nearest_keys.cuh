// A blocked product of queries and keys of which only the best scores are kept: no score
// goes to memory. First every block keeps the best of a chunk of tokens for a few queries,
// sorted; then the lists of a query are merged.
//
// The products are of floats, as the CPU's are. Tensor cores would do those of bf16 in a
// fraction of the time; that wants a device to try it on.

#ifndef ALAYA_CUDA_KERNELS_NEAREST_KEYS_CUH_
#define ALAYA_CUDA_KERNELS_NEAREST_KEYS_CUH_

#include <cstdint>

#include "cuda/kernels/nearest_keys.h"
#include "cuda/kernels/numbers.cuh"
#include "cuda/kernels/rows.cuh"
#include "cuda/kernels/team.cuh"

namespace alaya {

// Block (chunk, group of queries).
struct FindNearestInChunk {
  static constexpr uint32_t kQueries = 16;

  NearestTask task;

  struct Shared {
    ALAYA_HOST_DEVICE Shared(void* memory, const NearestTask& task) {
      const uint32_t rows = TileRows(task.head_dim);
      SharedPieces pieces(memory);
      queries = pieces.Take<float>(kQueries * StagedStride(task.head_dim));
      tile = pieces.Take<float>(rows * StagedStride(task.head_dim));
      lists = pieces.Take<uint64_t>(kQueries * task.width);
      scores = pieces.Take<float>(kQueries * rows);
      better = pieces.Take<uint32_t>(kQueries);
      bytes = pieces.bytes();
    }
    float* queries;
    float* tile;       // of keys
    uint64_t* lists;   // [query, width] TopKey, falling; 0: none
    float* scores;     // [query, row] of the tile
    uint32_t* better;  // a bit per row of the tile that its query's list takes
    uint32_t bytes;
  };
  static uint32_t SharedBytes(const NearestTask& task) { return Shared(nullptr, task).bytes; }

  ALAYA_HOST_DEVICE void operator()(uint32_t chunk, uint32_t group, void* memory) const {
    const Shared shared(memory, task);
    const uint32_t head_dim = task.head_dim;
    const uint32_t first_query = group * kQueries;
    const uint32_t left = task.query_count - first_query;
    const uint32_t queries = left < kQueries ? left : kQueries;
    ForEach(queries * head_dim, [&](uint32_t i) {
      shared.queries[i / head_dim * StagedStride(head_dim) + i % head_dim] =
          task.queries[size_t{first_query} * head_dim + i];
    });
    ForEach(queries * task.width, [&](uint32_t i) { shared.lists[i] = 0; });
    const uint32_t chunk_tokens = NearestChunkTokens(task.token_count);
    const uint32_t begin = chunk * chunk_tokens;
    const uint32_t rest = task.token_count - begin;
    const uint32_t end = begin + (rest < chunk_tokens ? rest : chunk_tokens);
    const uint32_t tile_rows = TileRows(head_dim);
    for (uint32_t first = begin; first < end; first += tile_rows) {
      const uint32_t rows = end - first < tile_rows ? end - first : tile_rows;
      ScoreTile(shared, queries, first, rows);
      KeepBest(shared, queries, first, rows);
    }
    auto* const lists = static_cast<uint64_t*>(task.scratch);
    ForEach(queries * task.width, [&](uint32_t i) {
      const size_t list = size_t{first_query + i / task.width} * NearestChunks(task.token_count);
      lists[(list + chunk) * task.width + i % task.width] = shared.lists[i];
    });
  }

 private:
  // A turn takes two rows, so that a query's elements serve twice.
  ALAYA_HOST_DEVICE void ScoreTile(const Shared& shared, uint32_t queries, uint32_t first,
                                   uint32_t rows) const {
    const uint32_t head_dim = task.head_dim;
    const uint32_t stride = StagedStride(head_dim);
    const uint32_t tile_rows = TileRows(head_dim);
    StageRows(
        task.keys.dtype, head_dim, rows, [&](uint32_t row) { return task.keys.row(first + row); },
        shared.tile);
    ForEach(queries * tile_rows / 2, [&](uint32_t i) {
      const uint32_t q = i / (tile_rows / 2);
      const uint32_t row = i % (tile_rows / 2);
      if (row >= rows) return;
      const bool has_other = row + tile_rows / 2 < rows;
      const float* query = shared.queries + q * stride;
      const float* key = shared.tile + row * stride;
      const float* other = has_other ? key + tile_rows / 2 * stride : key;
      float score = 0;
      float other_score = 0;
      for (uint32_t e = 0; e < head_dim; ++e) {
        score += query[e] * key[e];
        other_score += query[e] * other[e];
      }
      shared.scores[q * tile_rows + row] = score;
      if (has_other) shared.scores[q * tile_rows + row + tile_rows / 2] = other_score;
    });
  }

  ALAYA_HOST_DEVICE uint64_t KeyOf(const Shared& shared, uint32_t q, uint32_t first,
                                   uint32_t row) const {
    return TopKey(shared.scores[q * TileRows(task.head_dim) + row], task.first_token + first + row);
  }

  // All threads look for what is better than the last of a list, which is little; one a
  // query puts it there.
  ALAYA_HOST_DEVICE void KeepBest(const Shared& shared, uint32_t queries, uint32_t first,
                                  uint32_t rows) const {
    const uint32_t width = task.width;
    ForEach(queries, [&](uint32_t q) { shared.better[q] = 0; });
    ForEach(queries * rows, [&](uint32_t i) {
      const uint32_t q = i / rows;
      if (KeyOf(shared, q, first, i % rows) > shared.lists[q * width + width - 1]) {
        AtomicAdd(&shared.better[q], 1U << (i % rows));
      }
    });
    ForEach(queries, [&](uint32_t q) {
      uint64_t* list = shared.lists + q * width;
      const uint32_t better = shared.better[q];
      for (uint32_t row = 0; row < rows; ++row) {
        if ((better >> row & 1) == 0) continue;
        const uint64_t key = KeyOf(shared, q, first, row);
        uint32_t place = width - 1;
        if (key <= list[place]) continue;
        for (; place > 0 && list[place - 1] < key; --place) list[place] = list[place - 1];
        list[place] = key;
      }
    });
  }
};

// Block (query): a key's place is how many are greater.
struct MergeNearest {
  NearestTask task;

  ALAYA_HOST_DEVICE void operator()(uint32_t query, uint32_t, void*) const {
    const uint32_t count = NearestChunks(task.token_count) * task.width;
    const uint64_t* keys = static_cast<const uint64_t*>(task.scratch) + size_t{query} * count;
    ForEach(count, [&](uint32_t i) {
      const uint64_t key = keys[i];
      if (key == 0) return;
      uint32_t place = 0;
      for (uint32_t other = 0; other < count && place < task.width; ++other) {
        place += keys[other] > key ? 1U : 0U;
      }
      if (place < task.width) task.tokens[size_t{query} * task.width + place] = TokenOfKey(key);
    });
  }
};

// `launch` as in sparse_sequence.cuh.
template <class Launch>
auto RunFindNearest(const NearestTask& task, const Launch& launch) {
  constexpr uint32_t kQueries = FindNearestInChunk::kQueries;
  const auto error =
      launch(FindNearestInChunk{task}, NearestChunks(task.token_count),
             (task.query_count + kQueries - 1) / kQueries, FindNearestInChunk::SharedBytes(task));
  return error != decltype(error){} ? error : launch(MergeNearest{task}, task.query_count, 1, 0);
}

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_NEAREST_KEYS_CUH_
