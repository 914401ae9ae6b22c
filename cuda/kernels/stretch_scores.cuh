// Weights of queries times rows of bytes, for all queries of a head at once, so that every
// row comes from memory once.

#ifndef ALAYA_CUDA_KERNELS_STRETCH_SCORES_CUH_
#define ALAYA_CUDA_KERNELS_STRETCH_SCORES_CUH_

#include <cstdint>

#include "cuda/kernels/rows.cuh"
#include "cuda/kernels/stretch_scores.h"
#include "cuda/kernels/team.cuh"

namespace alaya {

// Block (rows, head).
struct ScoreStretches {
  static constexpr uint32_t kRows = 32;
  // Queries whose weights are in shared memory at a time.
  static constexpr uint32_t kQueries = 8;

  StretchTask task;

  struct Shared {
    ALAYA_HOST_DEVICE Shared(void* memory, uint32_t row_bytes) {
      SharedPieces pieces(memory);
      weights = pieces.Take<float>(kQueries * row_bytes);
      rows = pieces.Take<uint32_t>(kRows * Stride(row_bytes));
      bytes = pieces.bytes();
    }
    float* weights;
    uint32_t* rows;  // [kRows, Stride] four bytes each
    uint32_t bytes;
  };
  // Threads that read the same word of neighbouring rows meet different banks.
  ALAYA_HOST_DEVICE static uint32_t Stride(uint32_t row_bytes) { return row_bytes / 4 + 1; }
  static uint32_t SharedBytes(uint32_t row_bytes) { return Shared(nullptr, row_bytes).bytes; }

  ALAYA_HOST_DEVICE void operator()(uint32_t block, uint32_t head, void* memory) const {
    const Shared shared(memory, task.row_bytes);
    const uint32_t first = block * kRows;
    const uint32_t left = task.stretch_count - first;
    const uint32_t rows = left < kRows ? left : kRows;
    const std::byte* stored =
        task.rows + head * task.head_stride_bytes + size_t{first} * task.row_bytes;
    const uint32_t pieces = task.row_bytes / 16;
    ForEach(rows * pieces, [&](uint32_t i) {
      RowPiece piece;
      memcpy(&piece, __builtin_assume_aligned(stored + size_t{i} * 16, 16), sizeof(piece));
      uint32_t* out = shared.rows + i / pieces * Stride(task.row_bytes) + i % pieces * 4;
      for (uint32_t w = 0; w < 4; ++w) out[w] = piece.words[w];
    });
    for (uint32_t begin = 0; begin < task.query_count; begin += kQueries) {
      const uint32_t more = task.query_count - begin;
      ScoreRows(shared, head, first, rows, begin, more < kQueries ? more : kQueries);
    }
  }

 private:
  ALAYA_HOST_DEVICE void ScoreRows(const Shared& shared, uint32_t head, uint32_t first,
                                   uint32_t rows, uint32_t first_query, uint32_t queries) const {
    const size_t place = size_t{head} * task.query_count + first_query;
    ForEach(queries * task.row_bytes,
            [&](uint32_t i) { shared.weights[i] = task.weights[place * task.row_bytes + i]; });
    ForEach(queries * kRows, [&](uint32_t i) {
      const uint32_t q = i / kRows;
      const uint32_t row = i % kRows;
      if (row >= rows) return;
      const float* weights = shared.weights + q * task.row_bytes;
      const uint32_t* words = shared.rows + row * Stride(task.row_bytes);
      float sum = 0;
      for (uint32_t w = 0; w < task.row_bytes / 4; ++w) {
        const uint32_t word = words[w];
        for (uint32_t b = 0; b < 4; ++b) {
          sum += weights[4 * w + b] * static_cast<float>(word >> (8 * b) & 0xFF);
        }
      }
      task.sums[(place + q) * task.stretch_count + first + row] = sum;
    });
  }
};

// `launch` as in sparse_sequence.cuh.
template <class Launch>
auto RunScoreStretches(const StretchTask& task, const Launch& launch) {
  constexpr uint32_t kRows = ScoreStretches::kRows;
  return launch(ScoreStretches{task}, (task.stretch_count + kRows - 1) / kRows, task.head_count,
                ScoreStretches::SharedBytes(task.row_bytes));
}

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_STRETCH_SCORES_CUH_
