// Bringing rows into shared memory, 16 bytes a thread: the bus and the memory like long
// runs, and many of them on their way at once.

#ifndef ALAYA_CUDA_KERNELS_ROWS_CUH_
#define ALAYA_CUDA_KERNELS_ROWS_CUH_

#include "cuda/kernels/numbers.cuh"
#include "cuda/kernels/rows.h"
#include "cuda/kernels/team.cuh"

namespace alaya {

// Rows in shared memory lie so far apart that threads which read the same element of
// neighbouring rows meet different banks.
ALAYA_HOST_DEVICE inline uint32_t StagedStride(uint32_t head_dim) { return head_dim + 1; }
// As many rows at a time as leave room for the rest in 48 KiB.
ALAYA_HOST_DEVICE inline uint32_t TileRows(uint32_t head_dim) { return head_dim <= 128 ? 32 : 16; }

struct alignas(16) RowPiece {
  uint32_t words[4];
};

// Elements of a row's piece as floats: 4 of f32, else 8.
ALAYA_HOST_DEVICE inline void UnpackPiece(DType dtype, const std::byte* stored, float* out) {
  RowPiece piece;
  memcpy(&piece, __builtin_assume_aligned(stored, 16), sizeof(piece));
  for (uint32_t w = 0; w < 4; ++w) {
    const uint32_t word = piece.words[w];
    if (dtype == DType::kF32) {
      out[w] = FloatOfBits(word);
    } else if (dtype == DType::kBF16) {
      out[2 * w] = FloatOfBF16(word & 0xFFFF);
      out[2 * w + 1] = FloatOfBits(word & 0xFFFF0000U);
    } else {
      out[2 * w] = FloatOfHalf(word & 0xFFFF);
      out[2 * w + 1] = FloatOfHalf(word >> 16);
    }
  }
}

// Writes the rows at row_at(0), row_at(1), ... as floats, StagedStride apart. Null: not
// written.
template <class RowAt>
ALAYA_HOST_DEVICE inline void StageRows(DType dtype, uint32_t head_dim, uint32_t row_count,
                                        RowAt row_at, float* staged) {
  const auto element_bytes = static_cast<uint32_t>(ElementBytes(dtype));
  const uint32_t piece_elements = 16 / element_bytes;
  const uint32_t piece_count = head_dim / piece_elements;
  ForEach(row_count * piece_count, [&](uint32_t i) {
    const uint32_t row = i / piece_count;
    const uint32_t piece = i % piece_count;
    const std::byte* const stored = row_at(row);
    if (stored == nullptr) return;
    UnpackPiece(dtype, stored + size_t{piece} * 16,
                staged + row * StagedStride(head_dim) + piece * piece_elements);
  });
}

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_ROWS_CUH_
