// Making the flat index of a head (flat_head.h) from its rows: first the centre, then the
// groups of 64 tokens, each by itself. Rows may come in runs, so that few have to be within
// the device's reach at a time.

#ifndef ALAYA_CUDA_KERNELS_FLAT_ENCODE_CUH_
#define ALAYA_CUDA_KERNELS_FLAT_ENCODE_CUH_

#include <cmath>
#include <cstdint>

#include "cuda/kernels/flat_head.h"
#include "cuda/kernels/numbers.cuh"
#include "cuda/kernels/rotation.cuh"
#include "cuda/kernels/rows.cuh"
#include "cuda/kernels/team.cuh"

namespace alaya {

// Sets the centre, the mean of a sample of the keys, and clears the summary.
struct EncodeCentre {
  static constexpr uint32_t kSampleTokens = 2048;

  EncodeTask task;

  ALAYA_HOST_DEVICE static uint32_t SharedBytes(uint32_t head_dim) {
    SharedPieces pieces(nullptr);
    pieces.Take<float>(TileRows(head_dim) * StagedStride(head_dim));
    return pieces.bytes();
  }

  ALAYA_HOST_DEVICE void operator()(uint32_t, uint32_t, void* shared) const {
    const FlatHead& head = task.head;
    const uint32_t head_dim = head.head_dim;
    const uint32_t stride = StagedStride(head_dim);
    SharedPieces pieces(shared);
    float* tile = pieces.Take<float>(TileRows(head_dim) * stride);
    const uint32_t step = (task.row_count + kSampleTokens - 1) / kSampleTokens;
    const uint32_t count = (task.row_count + step - 1) / step;
    ForEach(head_dim, [&](uint32_t e) { head.centre[e] = 0; });
    for (uint32_t begin = 0; begin < count; begin += TileRows(head_dim)) {
      const uint32_t rows = count - begin < TileRows(head_dim) ? count - begin : TileRows(head_dim);
      StageRows(
          task.keys.dtype, head_dim, rows,
          [&](uint32_t row) { return task.keys.row(size_t{begin + row} * step); }, tile);
      ForEach(head_dim, [&](uint32_t e) {
        float sum = 0;
        for (uint32_t row = 0; row < rows; ++row) {
          sum += tile[row * stride + e] / static_cast<float>(count);
        }
        head.centre[e] += sum;
      });
    }
    SumEach(
        1, head_dim, [&](uint32_t, uint32_t e) { return head.centre[e] * head.centre[e]; },
        [&](uint32_t, float square_sum) {
          head.summary->centre_length = sqrtf(square_sum);
          head.summary->deviation_square_sum = 0;
          head.summary->error_square_sum = 0;
          head.summary->square_sum = 0;
        });
  }
};

// Codes and summarises group `block_x` of the task's rows.
struct EncodeGroup {
  // Of levels, relative to the root mean square of a key's elements: the best for normal
  // ones.
  static constexpr float kLevelStep = 0.586F;
  // Keys longer than this are not coded, those below the least length are zeros.
  static constexpr float kSquareSumMax = 1e36F;
  static constexpr float kLengthMin = 1e-15F;

  EncodeTask task;

  struct Shared {
    ALAYA_HOST_DEVICE Shared(void* memory, uint32_t head_dim) {
      SharedPieces pieces(memory);
      tile = pieces.Take<float>(TileRows(head_dim) * StagedStride(head_dim));
      square_sum = pieces.Take<float>(TileRows(head_dim));
      dot = pieces.Take<float>(TileRows(head_dim));
      scale = pieces.Take<float>(TileRows(head_dim));
      inverse_step = pieces.Take<float>(TileRows(head_dim));
      mean = pieces.Take<float>(head_dim);
      value_square = pieces.Take<float>(head_dim);
      bytes = pieces.bytes();
    }
    float* tile;
    float* square_sum;  // from here on, of the tile's keys
    float* dot;         // of key and levels
    float* scale;
    float* inverse_step;
    float* mean;  // of the values, per element
    float* value_square;
    uint32_t bytes;
  };

  ALAYA_HOST_DEVICE static uint32_t SharedBytes(uint32_t head_dim) {
    return Shared(nullptr, head_dim).bytes;
  }

  ALAYA_HOST_DEVICE static uint32_t CodeOf(float element, float inverse_step) {
    return static_cast<uint32_t>(fminf(fmaxf(element * inverse_step + 4, 0.0F), 7.5F));
  }
  ALAYA_HOST_DEVICE static float LevelOf(float element, float inverse_step) {
    return static_cast<float>(CodeOf(element, inverse_step)) - 3.5F;
  }

  ALAYA_HOST_DEVICE void operator()(uint32_t block, uint32_t, void* memory) const {
    const FlatHead& head = task.head;
    const uint32_t group = task.first_token / kGroupTokensOnDevice + block;
    const Shared shared(memory, head.head_dim);
    ForEach(head.head_dim, [&](uint32_t e) { shared.mean[e] = shared.value_square[e] = 0; });
    const uint32_t tile_rows = TileRows(head.head_dim);
    for (uint32_t begin = 0; begin < kGroupTokensOnDevice; begin += tile_rows) {
      const uint32_t first = group * kGroupTokensOnDevice + begin;
      const uint32_t left = first < head.token_count ? head.token_count - first : 0;
      const uint32_t rows = left < tile_rows ? left : tile_rows;
      EncodeKeys(shared, first, rows);
      AddValues(shared, first, rows);
    }
    StoreMeans(shared, group);
  }

 private:
  ALAYA_HOST_DEVICE void EncodeKeys(const Shared& shared, uint32_t first, uint32_t rows) const {
    const FlatHead& head = task.head;
    const uint32_t head_dim = head.head_dim;
    const uint32_t stride = StagedStride(head_dim);
    const float* tile = shared.tile;
    StageRows(
        task.keys.dtype, head_dim, rows,
        [&](uint32_t row) { return task.keys.row(first - task.first_token + row); }, shared.tile);
    ForEach(rows * head_dim, [&](uint32_t i) {
      shared.tile[i / head_dim * stride + i % head_dim] -= head.centre[i % head_dim];
    });
    RotateRows(shared.tile, rows, stride, head_dim);
    SumEach(
        rows, head_dim,
        [&](uint32_t row, uint32_t e) { return tile[row * stride + e] * tile[row * stride + e]; },
        [&](uint32_t row, float sum) {
          const bool is_coded = sum <= kSquareSumMax && sum >= kLengthMin * kLengthMin;
          shared.square_sum[row] = sum;
          shared.inverse_step[row] =
              is_coded ? 1 / (kLevelStep * sqrtf(sum / static_cast<float>(head_dim))) : 0;
        });
    SumEach(
        rows, head_dim,
        [&](uint32_t row, uint32_t e) {
          const float element = tile[row * stride + e];
          return element * LevelOf(element, shared.inverse_step[row]);
        },
        [&](uint32_t row, float dot) {
          const bool is_coded = shared.inverse_step[row] > 0;
          const uint16_t scale = is_coded ? NearestBF16(shared.square_sum[row] / dot) : uint16_t{0};
          shared.scale[row] = FloatOfBF16(scale);
          head.scales[first + row] = scale;
        });
    SumEach(
        rows, head_dim,
        [&](uint32_t row, uint32_t e) {
          const float element = tile[row * stride + e];
          const float left =
              element - shared.scale[row] * LevelOf(element, shared.inverse_step[row]);
          return left * left;
        },
        [&](uint32_t row, float error_square_sum) {
          head.errors[first + row] = Error(shared.square_sum[row], error_square_sum);
        });
    SumEach(
        2, rows,
        [&](uint32_t sum, uint32_t row) {
          const float error = FloatOfBF16(head.errors[first + row]);
          const float term = sum == 0 ? error * error : shared.square_sum[row];
          return shared.inverse_step[row] > 0 ? term : 0;
        },
        [&](uint32_t sum, float total) {
          AtomicAdd(sum == 0 ? &head.summary->error_square_sum : &head.summary->square_sum, total);
        });
    StoreCodes(shared, first, rows);
  }

  // What rotation and sums round is in it.
  ALAYA_HOST_DEVICE static uint16_t Error(float square_sum, float error_square_sum) {
    constexpr uint16_t kInfinity = 0x7F80;
    if (!(square_sum <= kSquareSumMax)) return kInfinity;
    const float length = sqrtf(square_sum);
    return BF16AtLeast(sqrtf(error_square_sum) * (1 + 0x1p-12F) + 2 * kRotationError * length +
                       kLengthMin);
  }

  // Those of tokens that the group does not have become zeros.
  ALAYA_HOST_DEVICE void StoreCodes(const Shared& shared, uint32_t first, uint32_t rows) const {
    const FlatHead& head = task.head;
    const uint32_t tile_rows = TileRows(head.head_dim);
    uint32_t* words = head.codes + size_t{first / kGroupTokensOnDevice} * CodeWords(head.head_dim) *
                                       kGroupTokensOnDevice;
    ForEach(tile_rows * CodeWords(head.head_dim), [&](uint32_t i) {
      const uint32_t row = i % tile_rows;
      const uint32_t run = i / tile_rows / 3;
      const uint32_t part = i / tile_rows % 3;
      uint32_t word = 0;
      if (row < rows) {
        const float* elements = shared.tile + row * StagedStride(head.head_dim) + 32 * run;
        const uint32_t count = part == 2 ? 32 : 16;
        for (uint32_t k = 0; k < count; ++k) {
          const uint32_t e = part == 2 ? k : 16 * part + k;
          if (32 * run + e >= head.head_dim) break;
          const uint32_t code = CodeOf(elements[e], shared.inverse_step[row]);
          word |= part == 2 ? (code & 1) << (8 * (k % 4) + k / 4)
                            : (code >> 1) << (8 * (k % 4) + 2 * (k / 4));
        }
      }
      words[(3 * run + part) * kGroupTokensOnDevice + (first + row) % kGroupTokensOnDevice] = word;
    });
    ForEach(tile_rows, [&](uint32_t row) {
      if (row >= rows) head.scales[first + row] = head.errors[first + row] = 0;
    });
  }

  ALAYA_HOST_DEVICE void AddValues(const Shared& shared, uint32_t first, uint32_t rows) const {
    const uint32_t head_dim = task.head.head_dim;
    StageRows(
        task.values.dtype, head_dim, rows,
        [&](uint32_t row) { return task.values.row(first - task.first_token + row); }, shared.tile);
    ForEach(head_dim, [&](uint32_t e) {
      for (uint32_t row = 0; row < rows; ++row) {
        const float value = shared.tile[row * StagedStride(head_dim) + e];
        shared.mean[e] += value;
        shared.value_square[e] += value * value;
      }
    });
  }

  ALAYA_HOST_DEVICE void StoreMeans(const Shared& shared, uint32_t group) const {
    const FlatHead& head = task.head;
    const uint32_t left = head.token_count - group * kGroupTokensOnDevice;
    const auto count =
        static_cast<float>(left < kGroupTokensOnDevice ? left : kGroupTokensOnDevice);
    ForEach(head.head_dim, [&](uint32_t e) {
      head.value_means[size_t{group} * head.head_dim + e] = NearestBF16(shared.mean[e] / count);
    });
    SumEach(
        1, head.head_dim,
        [&](uint32_t, uint32_t e) {
          return fmaxf(shared.value_square[e] - shared.mean[e] * shared.mean[e] / count, 0.0F);
        },
        [&](uint32_t, float sum) { AtomicAdd(&head.summary->deviation_square_sum, sum); });
  }
};

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_FLAT_ENCODE_CUH_
