#include "index/kernels/key_codes.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <limits>

#include "index/kernels/bf16.h"
#include "index/kernels/encoding.h"
#include "index/scratch_buffer.h"

// Compiles the code inside HWY_NAMESPACE once per instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/kernels/key_codes.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.h:
#include "hwy/highway.h"

// The loops over kLanes tokens are plain: the compiler makes vectors of them for each
// instruction set, and nothing depends on their width.

HWY_BEFORE_NAMESPACE();
namespace alaya {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Tokens that are coded at a time: element i of all of them lies at [i * kLanes].
constexpr size_t kLanes = 16;

struct Lanes {
  float values[kLanes] = {};
};

// a, b = a + b, a - b.
template <size_t kCount>
HWY_INLINE void Butterfly(float* HWY_RESTRICT a, float* HWY_RESTRICT b) {
  for (size_t t = 0; t < kCount; ++t) {
    const float sum = a[t] + b[t];
    b[t] = a[t] - b[t];
    a[t] = sum;
  }
}

template <size_t kCount>
void RotateInPlace(const Rotation& rotation, float* x) {
  const size_t size = rotation.transform_size();
  const float scale = 1 / std::sqrt(static_cast<float>(size));
  for (size_t round = 0; round < rotation.round_count(); ++round) {
    const std::span<const float> signs = rotation.signs(round);
    for (size_t i = 0; i < signs.size(); ++i) {
      const bool is_transformed = i - rotation.transform_begin(round) < size;
      const float factor = is_transformed ? signs[i] * scale : signs[i];
      for (size_t t = 0; t < kCount; ++t) x[i * kCount + t] *= factor;
    }
    float* begin = x + rotation.transform_begin(round) * kCount;
    for (size_t half = size / 2; half >= 1; half /= 2) {
      for (size_t block = 0; block < size; block += 2 * half) {
        for (size_t i = block; i < block + half; ++i) {
          Butterfly<kCount>(begin + i * kCount, begin + (i + half) * kCount);
        }
      }
    }
  }
}

void Rotate(const Rotation& rotation, MatrixView<const float> vectors, MatrixView<float> rotated) {
  for (size_t i = 0; i < vectors.rows(); ++i) {
    std::ranges::copy(vectors.row(i), rotated.row(i).begin());
    RotateInPlace<1>(rotation, rotated.row(i).data());
  }
}

// y[i] = the sum of row[i][e] * x[e], for each of the lanes. Eight rows at a time, so that an
// element is read once for them.
void MapLanes(const KeyMap& map, size_t head_dim, const float* HWY_RESTRICT x,
              float* HWY_RESTRICT y) {
  const hn::CappedTag<float, kLanes> d;
  constexpr size_t kRows = 8;
  for (size_t i = 0; i < head_dim; i += kRows) {
    const float* HWY_RESTRICT rows = &map.rows[i * head_dim];
    for (size_t t = 0; t < kLanes; t += hn::Lanes(d)) {
      hn::Vec<decltype(d)> sums[kRows];
      for (size_t r = 0; r < kRows; ++r) sums[r] = hn::Zero(d);
      for (size_t e = 0; e < head_dim; ++e) {
        const auto element = hn::LoadU(d, &x[e * kLanes + t]);
        for (size_t r = 0; r < kRows; ++r) {
          sums[r] = hn::MulAdd(hn::Set(d, rows[r * head_dim + e]), element, sums[r]);
        }
      }
      for (size_t r = 0; r < kRows; ++r) hn::StoreU(sums[r], d, &y[(i + r) * kLanes + t]);
    }
  }
}

// Between levels, for the choice of codes, and the least scale of what they stand for.
double FineScaleMin(double length, size_t head_dim) {
  // A little more than the ratio, as the length is rounded.
  return 1.0001 * kFineScaleRatio * length / std::sqrt(static_cast<double>(head_dim));
}

// 1 / the distance of levels; 0 for tokens that are not coded.
Lanes InverseSteps(const Lanes& square_sums, size_t head_dim) {
  Lanes inverse;
  for (size_t t = 0; t < kLanes; ++t) {
    const double length = std::sqrt(double{square_sums.values[t]});
    const bool is_coded = length >= kCodedLengthMin && length <= kCodedLengthMax;
    inverse.values[t] = is_coded ? static_cast<float>(1 / FineScaleMin(length, head_dim)) : 0.0F;
  }
  return inverse;
}

// Sums over the elements x and levels of each token.
struct LevelSums {
  Lanes dot;     // of x * level
  Lanes square;  // of level * level
};

HWY_INLINE void AddLevel(size_t t, float value, float level, LevelSums& sums) {
  sums.dot.values[t] += value * level;
  sums.square.values[t] += level * level;
}

// Chooses the codes of four elements and stores their high and low halves. Adds their levels, code
// - 7.5 to the fine ones and high - 1.5 to the coarse ones.
HWY_INLINE void CodeFour(const float* HWY_RESTRICT x, const Lanes& inverse_steps, LevelSums& fine,
                         LevelSums& coarse, uint32_t (&high)[kLanes], uint32_t (&low)[kLanes]) {
  for (size_t t = 0; t < kLanes; ++t) high[t] = low[t] = 0;
  for (size_t i = 0; i < 4; ++i) {
    for (size_t t = 0; t < kLanes; ++t) {
      const float value = x[i * kLanes + t];
      const float place = std::min(std::max(value * inverse_steps.values[t] + 8.0F, 0.0F), 15.5F);
      const auto code = static_cast<int32_t>(place);
      AddLevel(t, value, static_cast<float>(code) - 7.5F, fine);
      AddLevel(t, value, static_cast<float>(code >> 2) - 1.5F, coarse);
      high[t] |= static_cast<uint32_t>(code >> 2) << (2 * i);
      low[t] |= static_cast<uint32_t>(code & 3) << (2 * i);
    }
  }
}

// A token's scale for levels, and the length of what they leave.
struct ScaleAndError {
  uint16_t scale = 0;
  double error = std::numeric_limits<double>::infinity();
};

uint16_t StoredError(double error) {
  return RoundUpToBF16(static_cast<float>(error * (1 + 0x1p-20)));
}

// The scale that makes scale * levels - x orthogonal to x, so that errors of scores do
// not grow with the scores; not below `scale_min`. `mapping`: how far off x may be.
ScaleAndError Fit(double square_sum, double dot, double level_square_sum, double scale_min,
                  size_t head_dim, double mapping) {
  // Of a map's first elements all may be zero.
  const double wanted = dot > 0 ? square_sum / dot : 0;
  const uint16_t stored = RoundUpToBF16(static_cast<float>(std::max(wanted, scale_min)));
  const double scale = double{BF16ToFloat(stored)};
  const double dim = static_cast<double>(head_dim);
  const double length = std::sqrt(square_sum);
  const double level_length = scale * std::sqrt(level_square_sum);
  // The square of a difference, expanded; every sum was rounded once per element.
  const double square = square_sum - 2 * scale * dot + level_length * level_length;
  const double rounding = dim * 0x1p-23 * (length + level_length) * (length + level_length);
  return {stored, std::sqrt(std::max(square, 0.0) + rounding) + mapping + std::sqrt(dim) * 2e-19};
}

struct CodedTokens {
  size_t first = 0;
  size_t count = 0;
};

// Of each token.
struct TokenSums {
  LevelSums fine;
  LevelSums coarse;  // over the elements that have coarse codes
  // Of squares of elements.
  Lanes all_squares;
  Lanes coarse_squares;
  Lanes rest_squares;      // without coarse codes
  Lanes unmapped_squares;  // before there was a map
};

void StoreScales(const KeyMap* map, const TokenSums& sums, CodedTokens tokens,
                 MutableKeyCodes group) {
  for (size_t t = 0; t < tokens.count; ++t) {
    const size_t token = tokens.first + t;
    const double square_sum = double{sums.all_squares.values[t]};
    const double length = std::sqrt(square_sum);
    ScaleAndError fine;
    ScaleAndError coarse;
    if (length < kCodedLengthMin) {
      fine.error = coarse.error = kCodedLengthMin;
    } else if (length <= kCodedLengthMax) {
      const double mapping =
          map == nullptr ? 2 * kRotationError * length
                         : map->rounding * std::sqrt(double{sums.unmapped_squares.values[t]});
      fine = Fit(square_sum, double{sums.fine.dot.values[t]}, double{sums.fine.square.values[t]},
                 FineScaleMin(length, group.head_dim), group.head_dim, mapping);
      coarse = Fit(double{sums.coarse_squares.values[t]}, double{sums.coarse.dot.values[t]},
                   double{sums.coarse.square.values[t]}, 0, group.head_dim, mapping);
      if (map != nullptr) {
        const double rest = std::sqrt(double{sums.rest_squares.values[t]});
        coarse.error = std::hypot(coarse.error, double{map->rest_weight} * rest);
      }
    }
    group.fine_scale[token] = fine.scale;
    group.fine_error[token] = StoredError(fine.error);
    group.coarse_scale[token] = coarse.scale;
    group.coarse_error[token] = StoredError(coarse.error);
  }
}

// Adds the squares of elements `begin` to `end` of each lane. Of numbers too large the sum is
// the largest float.
void AddSquares(const float* x, size_t begin, size_t end, Lanes& sums) {
  for (size_t i = begin; i < end; ++i) {
    for (size_t t = 0; t < kLanes; ++t) sums.values[t] += x[i * kLanes + t] * x[i * kLanes + t];
  }
  for (float& sum : sums.values) {  // perhaps NaN
    if (!(sum < std::numeric_limits<float>::max())) sum = std::numeric_limits<float>::max();
  }
}

// Element i of token t at [i * kLanes + t], in the coordinates of codes.
float* LanesOf(const KeyEncoding& encoding, EncodedMatrixView keys, Lanes& squares_before) {
  const size_t head_dim = keys.cols;
  thread_local ScratchBuffer<float> row_buffer;
  thread_local ScratchBuffer<float> lane_buffer;
  thread_local ScratchBuffer<float> mapped_buffer;
  const std::span<float> row = row_buffer.Take(head_dim);
  float* x = lane_buffer.Take(head_dim * kLanes).data();
  if (keys.rows < kLanes) std::fill_n(x, head_dim * kLanes, 0.0F);
  for (size_t t = 0; t < keys.rows; ++t) {
    DecodeElements(keys.dtype, {keys.row(t), keys.row_bytes()}, row);
    for (size_t i = 0; i < head_dim; ++i) x[i * kLanes + t] = row[i] - encoding.centre[i];
  }
  if (encoding.map == nullptr) {
    RotateInPlace<kLanes>(*encoding.rotation, x);
    return x;
  }
  AddSquares(x, 0, head_dim, squares_before);
  float* mapped = mapped_buffer.Take(head_dim * kLanes).data();
  MapLanes(*encoding.map, head_dim, x, mapped);
  return mapped;
}

void EncodeLanes(const KeyEncoding& encoding, EncodedMatrixView keys, size_t first_token,
                 MutableKeyCodes group) {
  const size_t head_dim = keys.cols;
  const size_t coarse_dim = encoding.map == nullptr ? head_dim : encoding.map->coarse_dim;
  TokenSums sums;
  float* x = LanesOf(encoding, keys, sums.unmapped_squares);
  AddSquares(x, 0, coarse_dim, sums.coarse_squares);
  AddSquares(x, coarse_dim, head_dim, sums.rest_squares);
  for (size_t t = 0; t < kLanes; ++t) {
    sums.all_squares.values[t] = sums.coarse_squares.values[t] + sums.rest_squares.values[t];
  }
  const Lanes inverse_steps = InverseSteps(sums.all_squares, head_dim);
  for (size_t t = 0; t < kLanes; ++t) {
    if (inverse_steps.values[t] != 0) continue;
    for (size_t i = 0; i < head_dim; ++i) x[i * kLanes + t] = 0;
  }
  LevelSums unused;
  for (size_t r = 0; r < HighRowCount(head_dim); ++r) {
    uint32_t high[kLanes];
    uint32_t low[kLanes];
    LevelSums& coarse = 4 * r < coarse_dim ? sums.coarse : unused;
    CodeFour(x + 4 * r * kLanes, inverse_steps, sums.fine, coarse, high, low);
    for (size_t t = 0; t < keys.rows; ++t) {
      const size_t token = first_token + t;
      group.high[r * kCodeGroupTokens + token] = static_cast<std::byte>(high[t]);
      group.low[LowPlace(r, token)] = static_cast<std::byte>(low[t]);
    }
  }
  StoreScales(encoding.map, sums, {first_token, keys.rows}, group);
}

void EncodeKeys(const KeyEncoding& encoding, EncodedMatrixView keys, size_t first_token,
                MutableKeyCodes group) {
  for (size_t begin = 0; begin < keys.rows; begin += kLanes) {
    EncodeLanes(encoding, keys.rows_range(begin, std::min(kLanes, keys.rows - begin)),
                first_token + begin, group);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace alaya {
namespace {

constexpr size_t kRoundsOfAll = 2;    // each mixes all elements
constexpr size_t kRoundsOfParts = 4;  // first, last, first, last

// SplitMix64: equal on every machine.
uint64_t RandomBits(uint64_t seed, uint64_t i) {
  uint64_t x = seed + (i + 1) * 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

Rotation::Rotation(size_t head_dim, uint64_t seed)
    : head_dim_(head_dim), transform_size_(std::bit_floor(head_dim)) {
  assert(head_dim >= 8 && head_dim % 8 == 0);
  const size_t rounds = transform_size_ == head_dim ? kRoundsOfAll : kRoundsOfParts;
  signs_.resize(rounds * head_dim);
  for (size_t i = 0; i < signs_.size(); ++i) {
    signs_[i] = (RandomBits(seed, i) & 1) == 0 ? 1.0F : -1.0F;
  }
}

HWY_EXPORT(Rotate);
HWY_EXPORT(EncodeKeys);

void Rotate(const Rotation& rotation, MatrixView<const float> vectors, MatrixView<float> rotated) {
  assert(vectors.cols() == rotation.head_dim() && rotated.cols() == vectors.cols());
  assert(vectors.rows() == rotated.rows());
  HWY_DYNAMIC_DISPATCH(Rotate)(rotation, vectors, rotated);
}

void EncodeKeys(const KeyEncoding& encoding, EncodedMatrixView keys, size_t first_token,
                MutableKeyCodes group) {
  assert(first_token + keys.rows <= kCodeGroupTokens && group.group_count == 1);
  assert(keys.cols == group.head_dim && encoding.centre.size() == keys.cols);
  assert(encoding.map == nullptr ||
         (encoding.map->rows.size() == keys.cols * keys.cols && encoding.map->coarse_dim % 4 == 0));
  HWY_DYNAMIC_DISPATCH(EncodeKeys)(encoding, keys, first_token, group);
}

}  // namespace alaya
#endif  // HWY_ONCE
