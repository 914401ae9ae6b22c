#include "index/kernels/weighted_values.h"

#include <algorithm>
#include <cassert>
#include <vector>

#include "index/kernels/encoding.h"

// Compiles the code inside HWY_NAMESPACE once per instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/kernels/weighted_values.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.h:
#include "hwy/highway.h"
#include "index/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace alaya {
namespace HWY_NAMESPACE {

constexpr size_t kTileQueries = 4;
// Rows whose elements are added before the sums go back to memory. At head_dim 128
// in 16 bits they fill half of the first-level cache, so that the tiles to the right
// find them there.
constexpr size_t kTileTokens = 64;
// Rows [begin, end) of a block, or of the list of gathered ones.
struct TokenSpan {
  size_t begin;
  size_t end;
};

// Chunks of a row whose sums fit the accumulators.
constexpr size_t TileChunks(size_t query_count) {
  return std::clamp<size_t>(kAccumulatorCount / (2 * query_count), 1, 4);
}

// The rows of a block one after the other.
struct ConsecutiveRows {
  const std::byte* data;
  size_t row_bytes;
  ReadAhead ahead;
  HWY_INLINE const std::byte* operator()(size_t j) const { return data + j * row_bytes; }
  HWY_INLINE const std::byte* Next(size_t j) const {
    return ahead.At((j + kTileTokens) * row_bytes);
  }
};

// Rows that lie anywhere.
struct GatheredRows {
  std::span<const std::byte* const> rows;
  HWY_INLINE const std::byte* operator()(size_t j) const { return rows[j]; }
  HWY_INLINE const std::byte* Next(size_t j) const {
    return rows[std::min(j + kGatherAheadValues, rows.size() - 1)];
  }
};

// sums[q][elements] += sum over rows [begin, end) of weights[q][j] * row j[elements],
// for kChunks whole chunks from `element` on.
template <DType kType, size_t kQueries, size_t kChunks, class Rows>
HWY_INLINE void AddTile(const Rows& rows, TokenSpan tokens, MatrixView<const float> weights,
                        size_t element, MatrixView<float> sums) {
  using Codec = RowCodec<kType>;
  const FloatTag d;
  constexpr size_t kChunkBytes = 2 * hn::MaxLanes(FloatTag()) * Codec::kElementBytes;
  const size_t chunk = 2 * hn::Lanes(d);
  FloatPair tile[kQueries][kChunks];
  ALAYA_UNROLL
  for (size_t q = 0; q < kQueries; ++q) {
    ALAYA_UNROLL
    for (size_t c = 0; c < kChunks; ++c) tile[q][c] = {hn::Zero(d), hn::Zero(d)};
  }
  for (size_t j = tokens.begin; j < tokens.end; ++j) {
    const std::byte* row = rows(j) + element * Codec::kElementBytes;
    const std::byte* next = rows.Next(j) + element * Codec::kElementBytes;
    FloatVector weight[kQueries];
    ALAYA_UNROLL
    for (size_t q = 0; q < kQueries; ++q) {
      weight[q] = hn::Set(d, weights.data()[q * weights.stride() + j]);
    }
    ALAYA_UNROLL
    for (size_t c = 0; c < kChunks; ++c) {
      PrefetchLines<kChunkBytes>(next + c * kChunkBytes);
      const FloatPair value = Codec::Load(row + c * kChunkBytes);
      ALAYA_UNROLL
      for (size_t q = 0; q < kQueries; ++q) {
        tile[q][c].first = hn::MulAdd(weight[q], value.first, tile[q][c].first);
        tile[q][c].second = hn::MulAdd(weight[q], value.second, tile[q][c].second);
      }
    }
  }
  ALAYA_UNROLL
  for (size_t q = 0; q < kQueries; ++q) {
    ALAYA_UNROLL
    for (size_t c = 0; c < kChunks; ++c) {
      float* sum = &sums.row(q)[element + c * chunk];
      const FloatPair old = Codec::LoadFloats(sum);
      Codec::StoreFloats(
          {hn::Add(old.first, tile[q][c].first), hn::Add(old.second, tile[q][c].second)}, sum);
    }
  }
}

// The elements after the last whole chunk.
template <DType kType, class Rows>
void AddLastElements(const Rows& rows, TokenSpan tokens, MatrixView<const float> weights,
                     size_t element, MatrixView<float> sums) {
  using Codec = RowCodec<kType>;
  const FloatTag d;
  const size_t rest = sums.cols() - element;
  for (size_t q = 0; q < sums.rows(); ++q) {
    FloatPair sum = {hn::Zero(d), hn::Zero(d)};
    for (size_t j = tokens.begin; j < tokens.end; ++j) {
      const auto weight = hn::Set(d, weights.row(q)[j]);
      const FloatPair value = LoadPartial<kType>(rows(j) + element * Codec::kElementBytes, rest);
      sum.first = hn::MulAdd(weight, value.first, sum.first);
      sum.second = hn::MulAdd(weight, value.second, sum.second);
    }
    HWY_ALIGN float elements[2 * hn::MaxLanes(FloatTag())];
    Codec::StoreFloats(sum, elements);
    for (size_t i = 0; i < rest; ++i) sums.row(q)[element + i] += elements[i];
  }
}

// All elements, for as many queries as `sums` has rows: kQueries.
template <DType kType, size_t kQueries, class Rows>
void AddRows(const Rows& rows, TokenSpan tokens, MatrixView<const float> weights,
             MatrixView<float> sums) {
  constexpr size_t kChunks = TileChunks(kQueries);
  const size_t chunk = 2 * hn::Lanes(FloatTag());
  size_t element = 0;
  for (; element + kChunks * chunk <= sums.cols(); element += kChunks * chunk) {
    AddTile<kType, kQueries, kChunks>(rows, tokens, weights, element, sums);
  }
  for (; element + chunk <= sums.cols(); element += chunk) {
    AddTile<kType, kQueries, 1>(rows, tokens, weights, element, sums);
  }
  if (element < sums.cols()) AddLastElements<kType>(rows, tokens, weights, element, sums);
}

// For any number of queries.
template <DType kType, class Rows>
void AddAllRows(const Rows& rows, size_t row_count, MatrixView<const float> weights,
                MatrixView<float> sums) {
  for (size_t begin = 0; begin < row_count; begin += kTileTokens) {
    const TokenSpan tokens{begin, std::min(begin + kTileTokens, row_count)};
    for (size_t q = 0; q < sums.rows(); q += kTileQueries) {
      const size_t count = std::min(kTileQueries, sums.rows() - q);
      const MatrixView<const float> tile_weights = weights.rows_range(q, count);
      const MatrixView<float> tile_sums = sums.rows_range(q, count);
      switch (count) {
        case 1:
          AddRows<kType, 1>(rows, tokens, tile_weights, tile_sums);
          break;
        case 2:
          AddRows<kType, 2>(rows, tokens, tile_weights, tile_sums);
          break;
        case 3:
          AddRows<kType, 3>(rows, tokens, tile_weights, tile_sums);
          break;
        default:
          AddRows<kType, 4>(rows, tokens, tile_weights, tile_sums);
      }
    }
  }
}

template <class Rows>
void AddRowsOf(DType dtype, const Rows& rows, size_t row_count, MatrixView<const float> weights,
               MatrixView<float> sums) {
  switch (dtype) {
    case DType::kF32:
      return AddAllRows<DType::kF32>(rows, row_count, weights, sums);
    case DType::kF16:
      return AddAllRows<DType::kF16>(rows, row_count, weights, sums);
    case DType::kBF16:
      return AddAllRows<DType::kBF16>(rows, row_count, weights, sums);
  }
}

void AddWeightedValues(MatrixView<const float> weights, EncodedMatrixView values,
                       MatrixView<float> sums, std::span<const std::byte> upcoming) {
  const ConsecutiveRows rows{values.data, values.row_bytes(), ReadAhead(values.bytes(), upcoming)};
  AddRowsOf(values.dtype, rows, values.rows, weights, sums);
}

void AddGatheredValues(MatrixView<const float> weights, DType dtype,
                       std::span<const std::byte* const> rows, MatrixView<float> sums) {
  AddRowsOf(dtype, GatheredRows{rows}, rows.size(), weights, sums);
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace alaya {

HWY_EXPORT(AddWeightedValues);
HWY_EXPORT(AddGatheredValues);

void AddWeightedValues(MatrixView<const float> weights, EncodedMatrixView values,
                       MatrixView<float> sums, std::span<const std::byte> upcoming) {
  assert(weights.rows() == sums.rows() && weights.cols() == values.rows);
  assert(sums.cols() == values.cols && values.cols % 8 == 0);
  HWY_DYNAMIC_DISPATCH(AddWeightedValues)(weights, values, sums, upcoming);
}

void AddGatheredValues(MatrixView<const float> weights, DType dtype,
                       std::span<const std::byte* const> rows, MatrixView<float> sums) {
  assert(weights.rows() == sums.rows() && weights.cols() == rows.size());
  assert(sums.cols() % 8 == 0);
  HWY_DYNAMIC_DISPATCH(AddGatheredValues)(weights, dtype, rows, sums);
}

void AddWeightedValuesReference(MatrixView<const float> weights, EncodedMatrixView values,
                                MatrixView<double> sums) {
  std::vector<float> value(values.cols);
  for (size_t j = 0; j < values.rows; ++j) {
    DecodeElementsReference(values.dtype, {values.row(j), values.row_bytes()}, value);
    for (size_t i = 0; i < sums.rows(); ++i) {
      for (size_t e = 0; e < values.cols; ++e) {
        sums.row(i)[e] += double{weights.row(i)[j]} * value[e];
      }
    }
  }
}

}  // namespace alaya
#endif  // HWY_ONCE
