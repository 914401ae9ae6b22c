#include "index/kernels/key_scores.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <limits>
#include <vector>

#include "index/kernels/encoding.h"

// Compiles the code inside HWY_NAMESPACE once per instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/kernels/key_scores.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.h:
#include "hwy/highway.h"
#include "index/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace alaya {
namespace HWY_NAMESPACE {

// Keys of a tile: the four sums of one query fill one 128-bit vector.
constexpr size_t kTileKeys = 4;
constexpr size_t kTileQueries = kAccumulatorCount / kTileKeys;
// Queries in chunk order, padded with zeros; half of the first-level cache.
constexpr size_t kPreparedFloats = 4096;

// Queries in the order of a codec's chunks; rows are `stride` floats apart.
struct PreparedQueries {
  const float* data;
  size_t stride;
};

// Between float's limits; also makes a number of NaN (an infinity less another).
template <class D>
HWY_INLINE hn::Vec<D> Saturate(D d, hn::Vec<D> scores) {
  const auto limit = hn::Set(d, std::numeric_limits<float>::max());
  return hn::Max(hn::Min(scores, limit), hn::Neg(limit));
}

// Writes the sum of the lanes of each of four vectors.
HWY_INLINE void StoreSums(const FloatVector (&v)[kTileKeys], float* sums) {
  const FloatTag d;
#if HWY_TARGET == HWY_SCALAR
  for (size_t k = 0; k < kTileKeys; ++k) hn::StoreU(Saturate(d, v[k]), d, &sums[k]);
#else
  const hn::Repartition<uint64_t, FloatTag> d_pairs;
  const auto fold = [&](FloatVector a, FloatVector b) HWY_ATTR {
    return hn::BitCast(d_pairs,
                       hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b)));
  };
  const auto low = fold(v[0], v[1]);
  const auto high = fold(v[2], v[3]);
  // Every 128-bit block: a share of the sums of v[0] .. v[3].
  const auto blocks = hn::Add(hn::BitCast(d, hn::InterleaveLower(d_pairs, low, high)),
                              hn::BitCast(d, hn::InterleaveUpper(d_pairs, low, high)));
  const hn::FixedTag<float, kTileKeys> d_block;
#if HWY_TARGET <= HWY_AVX3
  const hn::Half<FloatTag> d_half;
  const auto half = hn::Add(hn::LowerHalf(d_half, blocks), hn::UpperHalf(d_half, blocks));
  const auto sum = hn::Add(hn::LowerHalf(d_block, half), hn::UpperHalf(d_block, half));
#elif HWY_TARGET <= HWY_AVX2
  const auto sum = hn::Add(hn::LowerHalf(d_block, blocks), hn::UpperHalf(d_block, blocks));
#else
  static_assert(hn::MaxLanes(FloatTag()) == kTileKeys);
  const auto sum = blocks;
#endif
  hn::StoreU(Saturate(d_block, sum), d_block, sums);
#endif
}

// Scores of kQueries x kTileKeys. Each key is loaded once per tile of queries, each
// query vector once per tile of keys.
template <DType kType, size_t kQueries>
HWY_INLINE void ScoreTile(PreparedQueries queries, EncodedMatrixView keys, float* scores,
                          size_t scores_stride) {
  using Codec = RowCodec<kType>;
  const FloatTag d;
  const size_t chunk = 2 * hn::Lanes(d);
  const size_t row_bytes = keys.row_bytes();
  FloatVector sums[kQueries][kTileKeys];
  ALAYA_UNROLL
  for (size_t q = 0; q < kQueries; ++q) {
    ALAYA_UNROLL
    for (size_t k = 0; k < kTileKeys; ++k) sums[q][k] = hn::Zero(d);
  }

  const auto add_chunk = [&](size_t element, auto load) HWY_ATTR {
    FloatPair query[kQueries];
    ALAYA_UNROLL
    for (size_t q = 0; q < kQueries; ++q) {
      query[q] = SequentialOrder::LoadFloats(queries.data + q * queries.stride + element);
    }
    ALAYA_UNROLL
    for (size_t k = 0; k < kTileKeys; ++k) {
      const FloatPair key = load(keys.data + k * row_bytes + element * Codec::kElementBytes);
      ALAYA_UNROLL
      for (size_t q = 0; q < kQueries; ++q) {
        sums[q][k] = hn::MulAdd(query[q].first, key.first, sums[q][k]);
        sums[q][k] = hn::MulAdd(query[q].second, key.second, sums[q][k]);
      }
    }
  };
  size_t element = 0;
  for (; element + chunk <= keys.cols; element += chunk) {
    add_chunk(element, [](const std::byte* key) HWY_ATTR { return Codec::Load(key); });
  }
  if (element < keys.cols) {
    const size_t rest = keys.cols - element;
    add_chunk(element,
              [rest](const std::byte* key) HWY_ATTR { return LoadPartial<kType>(key, rest); });
  }

  ALAYA_UNROLL
  for (size_t q = 0; q < kQueries; ++q) StoreSums(sums[q], scores + q * scores_stride);
}

template <DType kType>
void ScoreQueryTile(size_t query_count, PreparedQueries queries, EncodedMatrixView keys,
                    float* scores, size_t scores_stride) {
  switch (query_count) {
    case 1:
      return ScoreTile<kType, 1>(queries, keys, scores, scores_stride);
    case 2:
      return ScoreTile<kType, 2>(queries, keys, scores, scores_stride);
    case 3:
      return ScoreTile<kType, 3>(queries, keys, scores, scores_stride);
    default:
      return ScoreTile<kType, 4>(queries, keys, scores, scores_stride);
  }
}

// A last tile of fewer than kTileKeys keys; its missing keys are zeros.
template <DType kType>
void ScoreLastKeys(MatrixView<const float> prepared, EncodedMatrixView keys,
                   MatrixView<float> scores) {
  thread_local std::vector<std::byte> padded;  // reused: this runs once per block
  padded.assign(kTileKeys * keys.row_bytes(), std::byte{0});
  std::copy_n(keys.data, keys.rows * keys.row_bytes(), padded.data());
  for (size_t q = 0; q < prepared.rows(); ++q) {
    float tile[kTileKeys];
    ScoreTile<kType, 1>({prepared.row(q).data(), prepared.stride()},
                        {padded.data(), kTileKeys, keys.cols, kType}, tile, kTileKeys);
    std::copy_n(tile, keys.rows, scores.row(q).data());
  }
}

// Scores as many queries as fit the prepared buffer.
template <DType kType>
void ScoreSlab(MatrixView<const float> prepared, EncodedMatrixView keys, MatrixView<float> scores) {
  const size_t whole_keys = keys.rows - keys.rows % kTileKeys;
  for (size_t k = 0; k < whole_keys; k += kTileKeys) {
    for (size_t q = 0; q < prepared.rows(); q += kTileQueries) {
      ScoreQueryTile<kType>(
          std::min(kTileQueries, prepared.rows() - q), {prepared.row(q).data(), prepared.stride()},
          keys.rows_range(k, kTileKeys), scores.row(q).data() + k, scores.stride());
    }
  }
  if (whole_keys < keys.rows) {
    const size_t rest = keys.rows - whole_keys;
    ScoreLastKeys<kType>(prepared, keys.rows_range(whole_keys, rest),
                         {scores.data() + whole_keys, prepared.rows(), rest, scores.stride()});
  }
}

template <DType kType>
void ScoreQueries(MatrixView<const float> queries, EncodedMatrixView keys,
                  MatrixView<float> scores) {
  const size_t chunk = 2 * hn::Lanes(FloatTag());
  const size_t stride = (queries.cols() + chunk - 1) / chunk * chunk;
  const size_t slab_rows = std::max(kPreparedFloats / stride, kTileQueries);
  thread_local std::vector<float> buffer;  // reused: this runs once per block
  buffer.resize(std::max(buffer.size(), slab_rows * stride));
  for (size_t begin = 0; begin < queries.rows(); begin += slab_rows) {
    const size_t rows = std::min(slab_rows, queries.rows() - begin);
    const MatrixView<float> prepared(buffer.data(), rows, stride);
    for (size_t q = 0; q < rows; ++q) {
      const std::span<float> row = prepared.row(q);
      std::fill(std::copy_n(queries.row(begin + q).data(), queries.cols(), row.begin()), row.end(),
                0.0F);
      for (size_t i = 0; i < stride; i += chunk) {
        SequentialOrder::StoreFloats(RowCodec<kType>::LoadFloats(&row[i]), &row[i]);
      }
    }
    ScoreSlab<kType>(prepared, keys, scores.rows_range(begin, rows));
  }
}

void KeyScores(MatrixView<const float> queries, EncodedMatrixView keys, MatrixView<float> scores) {
  switch (keys.dtype) {
    case DType::kF32:
      return ScoreQueries<DType::kF32>(queries, keys, scores);
    case DType::kF16:
      return ScoreQueries<DType::kF16>(queries, keys, scores);
    case DType::kBF16:
      return ScoreQueries<DType::kBF16>(queries, keys, scores);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace alaya {

HWY_EXPORT(KeyScores);

void KeyScores(MatrixView<const float> queries, EncodedMatrixView keys, MatrixView<float> scores) {
  assert(queries.cols() == keys.cols && keys.cols % 8 == 0);
  assert(scores.rows() == queries.rows() && scores.cols() == keys.rows);
  HWY_DYNAMIC_DISPATCH(KeyScores)(queries, keys, scores);
}

void KeyScoresReference(MatrixView<const float> queries, EncodedMatrixView keys,
                        MatrixView<double> scores) {
  std::vector<float> key(keys.cols);
  for (size_t j = 0; j < keys.rows; ++j) {
    DecodeElementsReference(keys.dtype, {keys.row(j), keys.row_bytes()}, key);
    for (size_t i = 0; i < queries.rows(); ++i) {
      double sum = 0;
      for (size_t e = 0; e < keys.cols; ++e) sum += double{queries.row(i)[e]} * key[e];
      scores.row(i)[j] = sum;
    }
  }
}

}  // namespace alaya
#endif  // HWY_ONCE
