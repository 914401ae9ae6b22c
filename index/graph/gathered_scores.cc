#include "index/graph/gathered_scores.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstdint>
#include <limits>
#include <vector>

#include "index/kernels/encoding.h"
#include "index/scratch_buffer.h"

// Compiles the code inside HWY_NAMESPACE once per instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/graph/gathered_scores.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.h:
#include "hwy/highway.h"
#include "index/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace alaya {
namespace HWY_NAMESPACE {

// Between float's limits; also makes a number of NaN (an infinity less another).
HWY_INLINE float SumSaturated(FloatVector sums) {
  constexpr float kMax = std::numeric_limits<float>::max();
  const float sum = hn::GetLane(hn::SumOfLanes(FloatTag(), sums));
  return sum > -kMax ? std::min(sum, kMax) : -kMax;
}

// Elements become floats, multiplied and added in float.
template <DType kType>
void FloatScores(std::span<const float> query, std::span<const std::byte* const> rows,
                 std::span<float> scores) {
  using Codec = RowCodec<kType>;
  const FloatTag d;
  const size_t chunk = 2 * hn::Lanes(d);
  // In chunk order, padded with zeros.
  thread_local ScratchBuffer<float> buffer;
  const std::span<float> prepared = buffer.Take(hwy::RoundUpTo(query.size(), chunk));
  std::fill(std::copy(query.begin(), query.end(), prepared.begin()), prepared.end(), 0.0F);
  for (size_t i = 0; i < prepared.size(); i += chunk) {
    SequentialOrder::StoreFloats(Codec::LoadFloats(&prepared[i]), &prepared[i]);
  }
  for (size_t r = 0; r < rows.size(); ++r) {
    FloatVector even = hn::Zero(d);
    FloatVector odd = hn::Zero(d);
    const auto add = [&](size_t element, FloatPair row) HWY_ATTR {
      const FloatPair part = SequentialOrder::LoadFloats(&prepared[element]);
      even = hn::MulAdd(part.first, row.first, even);
      odd = hn::MulAdd(part.second, row.second, odd);
    };
    size_t element = 0;
    for (; element + chunk <= query.size(); element += chunk) {
      add(element, Codec::Load(rows[r] + element * Codec::kElementBytes));
    }
    if (element < query.size()) {
      add(element,
          LoadPartial<kType>(rows[r] + element * Codec::kElementBytes, query.size() - element));
    }
    scores[r] = SumSaturated(hn::Add(even, odd));
  }
}

#if HWY_TARGET == HWY_AVX3

// As in key_scores.cc: bf16 queries on bf16 keys need no conversion.
bool IsBF16(std::span<const float> query) {
  uint32_t lost = 0;
  for (const float element : query) lost |= std::bit_cast<uint32_t>(element) & 0xFFFF;
  return lost == 0;
}

__attribute__((target(HWY_TARGET_STR ",avx512bf16"))) void BF16Scores(
    std::span<const float> query, std::span<const std::byte* const> rows, std::span<float> scores) {
  constexpr size_t kChunk = 32;  // elements of a 512-bit vector
  thread_local ScratchBuffer<uint16_t> buffer;
  const std::span<uint16_t> prepared = buffer.Take(hwy::RoundUpTo(query.size(), kChunk));
  std::ranges::fill(prepared, uint16_t{0});
  std::ranges::transform(query, prepared.begin(), [](float element) {
    return static_cast<uint16_t>(std::bit_cast<uint32_t>(element) >> 16);
  });
  for (size_t r = 0; r < rows.size(); ++r) {
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (size_t element = 0; element < query.size(); element += kChunk) {
      const size_t rest = query.size() - element;
      const __mmask32 mask = rest < kChunk ? (1U << rest) - 1 : ~0U;
      const __m512i key = _mm512_maskz_loadu_epi16(mask, rows[r] + 2 * element);
      const __m512i part = _mm512_loadu_si512(&prepared[element]);
      __m512& sum = sums[element / kChunk % 2];
      sum =
          _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(part), reinterpret_cast<__m512bh>(key));
    }
    scores[r] = SumSaturated(FloatVector{_mm512_add_ps(sums[0], sums[1])});
  }
}

#endif  // HWY_TARGET == HWY_AVX3

void GatheredScores(std::span<const float> query, DType dtype,
                    std::span<const std::byte* const> rows, std::span<float> scores) {
  switch (dtype) {
    case DType::kF32:
      return FloatScores<DType::kF32>(query, rows, scores);
    case DType::kF16:
      return FloatScores<DType::kF16>(query, rows, scores);
    case DType::kBF16:
#if HWY_TARGET == HWY_AVX3
      static const bool has_bf16 = __builtin_cpu_supports("avx512bf16") != 0;
      if (has_bf16 && IsBF16(query)) return BF16Scores(query, rows, scores);
#endif
      return FloatScores<DType::kBF16>(query, rows, scores);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace alaya {

HWY_EXPORT(GatheredScores);

void GatheredScores(std::span<const float> query, DType dtype,
                    std::span<const std::byte* const> rows, std::span<float> scores) {
  assert(query.size() % 8 == 0 && scores.size() == rows.size());
  HWY_DYNAMIC_DISPATCH(GatheredScores)(query, dtype, rows, scores);
}

void GatheredScoresReference(std::span<const float> query, DType dtype,
                             std::span<const std::byte* const> rows, std::span<double> scores) {
  std::vector<float> key(query.size());
  for (size_t r = 0; r < rows.size(); ++r) {
    DecodeElementsReference(dtype, {rows[r], query.size() * ElementBytes(dtype)}, key);
    double sum = 0;
    for (size_t e = 0; e < key.size(); ++e) sum += double{query[e]} * double{key[e]};
    scores[r] = sum;
  }
}

}  // namespace alaya
#endif  // HWY_ONCE
