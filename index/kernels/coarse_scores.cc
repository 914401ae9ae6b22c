#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "index/kernels/bf16.h"
#include "index/kernels/code_scores.h"

// Compiles the code inside HWY_NAMESPACE once per instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/kernels/coarse_scores.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.h:
#include "hwy/highway.h"
#include "index/kernels/codes_ahead-inl.h"
#include "index/kernels/rows-inl.h"
#include "index/kernels/score_filter-inl.h"

HWY_BEFORE_NAMESPACE();
namespace alaya {
namespace HWY_NAMESPACE {

// The scores of one group for query q, on any instruction set.
void CoarseGroup(const CodeQueries& queries, size_t q, const KeyCodes& keys, size_t group,
                 float* scores) {
  const size_t rows = HighRowCount(keys.head_dim);
  const std::byte* high = keys.high + group * HighBytes(keys.head_dim);
  const auto row_byte = [&](size_t row, size_t t) {
    return row < rows ? static_cast<uint32_t>(high[row * kCodeGroupTokens + t]) : 0U;
  };
  uint32_t sums[kCodeGroupTokens] = {};
  const uint8_t* tables = queries.tables(q);
  for (size_t r = 0; r < rows; r += 3, tables += CodeQueries::kTripleBytes) {
    for (size_t t = 0; t < kCodeGroupTokens; ++t) {
      const uint32_t a = row_byte(r, t);
      const uint32_t b = row_byte(r + 1, t);
      const uint32_t c = row_byte(r + 2, t);
      sums[t] += uint32_t{tables[a & 63]} + tables[64 + (b & 63)] + tables[128 + (c & 63)] +
                 tables[192 + (a >> 6 | b >> 6 << 2 | c >> 6 << 4)];
    }
  }
  const CodeQueries::Query& query = queries[q];
  for (size_t t = 0; t < kCodeGroupTokens; ++t) {
    const float sum = query.table_step * static_cast<float>(sums[t]) + query.table_bias;
    const float scale = BF16ToFloat(keys.coarse_scale[group * kCodeGroupTokens + t]);
    scores[t] = query.centre_score + sum * scale;
  }
}

#if HWY_TARGET == HWY_AVX3

// For each of four queries the least sum of table entries with which a token may reach its
// filter's bar. With the token's scale s and error e,
//     s (step sum + bias + scale_factor) + error_factor e + centre + constant >= bar.
class LeastSums {
 public:
  static constexpr size_t kQueries = 4;

  LeastSums(const CodeQueries& queries, size_t first_query, std::span<const ScoreFilter> filters) {
    for (size_t i = 0; i < filters.size(); ++i) {
      const CodeQueries::Query& query = queries[first_query + i];
      const ScoreFilter& filter = filters[i];
      const float known = query.centre_score + filter.factors.constant;
      // What may round in the filter, and less than constant holds ready for it.
      const float rounding = 0x1p-20F * (std::fabs(filter.bar) + std::fabs(known));
      room_[i] = filter.bar - known - rounding;
      error_factor_[i] = filter.factors.error_factor;
      offset_[i] = query.table_bias + filter.factors.scale_factor;
      inverse_step_[i] = 1 / query.table_step;
    }
  }

  // For the tokens of a group, by the largest numbers of any; 0 if every sum will do.
  HWY_INLINE void Of(float scale, float error, uint32_t* least) const {
    const Tag d;
    const hn::RebindToUnsigned<Tag> d_sum;
    const auto needed =
        hn::NegMulAdd(hn::Load(d, error_factor_), hn::Set(d, error), hn::Load(d, room_));
    const auto sum = hn::Mul(hn::MulSub(needed, hn::Set(d, 1 / scale), hn::Load(d, offset_)),
                             hn::Load(d, inverse_step_));
    // One less, for what rounds here. Comparisons are false for what is not a number.
    const auto most = hn::Set(d, 65536.0F);
    const auto one_less = hn::Sub(hn::IfThenElse(hn::Ge(sum, most), most, sum), hn::Set(d, 1));
    const auto is_some = hn::And(hn::Gt(needed, hn::Zero(d)), hn::Gt(one_less, hn::Zero(d)));
    const auto whole =
        hn::ConvertTo(hn::RebindToSigned<Tag>(), hn::IfThenElseZero(is_some, one_less));
    hn::Store(hn::BitCast(d_sum, whole), d_sum, least);
  }

 private:
  using Tag = hn::FixedTag<float, kQueries>;
  HWY_ALIGN float room_[kQueries] = {};
  HWY_ALIGN float error_factor_[kQueries] = {};
  HWY_ALIGN float offset_[kQueries] = {};
  HWY_ALIGN float inverse_step_[kQueries] = {};
};

// AVX512_VBMI looks up 64 bytes in a table of 64 in one instruction: a lane is a token.
struct VbmiScores {
#define ALAYA_VBMI __attribute__((target(HWY_TARGET_STR ",avx512vbmi")))
  static constexpr size_t kQueriesMax = LeastSums::kQueries;  // at a time

  static bool Supported() {
    static const bool supported = __builtin_cpu_supports("avx512vbmi") != 0;
    return supported;
  }

  // Of a group's tokens, the even and the odd ones, by query.
  struct Sums {
    __m512i even[kQueriesMax];
    __m512i odd[kQueriesMax];
  };

  // Returns a bit for each query that one of the sums is enough for.
  template <size_t kQueries>
  ALAYA_VBMI static uint32_t SumGroup(const CodeQueries& queries, size_t first_query,
                                      const KeyCodes& keys, size_t group, const CodesAhead& ahead,
                                      const uint32_t* least, Sums& sums) {
    const size_t rows = HighRowCount(keys.head_dim);
    const std::byte* next = ahead.high.At(group * HighBytes(keys.head_dim) + CodesAhead::kBytes);
    const std::byte* high = keys.high + group * HighBytes(keys.head_dim);
    const uint8_t* tables[kQueries];
    // Sums of pairs of lanes, modulo 2^16, and of the upper lanes alone.
    __m512i both[kQueries];
    __m512i upper[kQueries];
    ALAYA_UNROLL
    for (size_t q = 0; q < kQueries; ++q) {
      tables[q] = queries.tables(first_query + q);
      both[q] = upper[q] = _mm512_setzero_si512();
    }
    const __m512i last_code = _mm512_set1_epi8(0x03);
    const __m512i middle_code = _mm512_set1_epi8(0x0C);
    for (size_t r = 0; r < rows; r += 3) {
      const std::byte* row = high + r * kCodeGroupTokens;
      PrefetchLines<192>(next + r * kCodeGroupTokens);
      const __m512i a = _mm512_load_si512(row);
      const __m512i b =
          r + 1 < rows ? _mm512_load_si512(row + kCodeGroupTokens) : _mm512_setzero_si512();
      const __m512i c =
          r + 2 < rows ? _mm512_load_si512(row + 2 * kCodeGroupTokens) : _mm512_setzero_si512();
      // The upper two bits of all three; a lookup ignores those above the sixth.
      const __m512i ab = _mm512_ternarylogic_epi32(last_code, _mm512_srli_epi16(a, 6),
                                                   _mm512_srli_epi16(b, 4), 0xCA);
      const __m512i low_four = _mm512_or_si512(last_code, middle_code);
      const __m512i abc = _mm512_ternarylogic_epi32(low_four, ab, _mm512_srli_epi16(c, 2), 0xCA);
      ALAYA_UNROLL
      for (size_t q = 0; q < kQueries; ++q) {
        const __m512i ta = _mm512_permutexvar_epi8(a, _mm512_load_si512(tables[q]));
        const __m512i tb = _mm512_permutexvar_epi8(b, _mm512_load_si512(tables[q] + 64));
        const __m512i tc = _mm512_permutexvar_epi8(c, _mm512_load_si512(tables[q] + 128));
        const __m512i td = _mm512_permutexvar_epi8(abc, _mm512_load_si512(tables[q] + 192));
        const __m512i sum = _mm512_add_epi8(_mm512_add_epi8(ta, tb), _mm512_add_epi8(tc, td));
        both[q] = _mm512_add_epi16(both[q], sum);
        upper[q] = _mm512_add_epi16(upper[q], _mm512_srli_epi16(sum, 8));
        tables[q] += CodeQueries::kTripleBytes;
      }
    }
    uint32_t enough = 0;
    ALAYA_UNROLL
    for (size_t q = 0; q < kQueries; ++q) {
      sums.even[q] = _mm512_sub_epi16(both[q], _mm512_slli_epi16(upper[q], 8));
      sums.odd[q] = upper[q];
      const __m512i larger = _mm512_max_epu16(sums.even[q], sums.odd[q]);
      const __m512i bar = _mm512_set1_epi16(static_cast<int16_t>(least[q]));
      enough |= static_cast<uint32_t>(_mm512_cmpge_epu16_mask(larger, bar) != 0) << q;
    }
    return enough;
  }

  // Passes the tokens of a group through a filter that looks at those of a bit in `seen`.
  static HWY_INLINE void FilterSums(const CodeQueries::Query& query, __m512i even, __m512i odd,
                                    const uint16_t* scales, const uint16_t* errors, size_t place,
                                    uint64_t seen, ScoreFilter& filter) {
    // In every block of 128 bits: tokens 0-7 and 8-15 of its 16.
    const __m512i low = _mm512_unpacklo_epi16(even, odd);
    const __m512i high = _mm512_unpackhi_epi16(even, odd);
    const __m512 step = _mm512_set1_ps(query.table_step);
    const __m512 bias = _mm512_set1_ps(query.table_bias);
    const __m512 centre = _mm512_set1_ps(query.centre_score);
    const __m512 error_factor = _mm512_set1_ps(filter.factors.error_factor);
    const __m512 scale_factor = _mm512_set1_ps(filter.factors.scale_factor);
    const __m512 constant = _mm512_set1_ps(filter.factors.constant);
    const __m512 bar = _mm512_set1_ps(filter.bar);
    const auto numbers = [&](const uint16_t* bits) HWY_ATTR {
      const __m256i sixteen = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bits));
      return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(sixteen), 16));
    };
    HWY_ALIGN float scores[kCodeGroupTokens];
    HWY_ALIGN float most[kCodeGroupTokens];
    uint64_t found = 0;
    const auto filter_16 = [&](__m128i first, __m128i second, size_t t) HWY_ATTR {
      const __m256i sums = _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
      const __m512 levels =
          _mm512_fmadd_ps(step, _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(sums)), bias);
      const __m512 scale = numbers(scales + t);
      const __m512 score = _mm512_fmadd_ps(levels, scale, centre);
      const __m512 bound = _mm512_fmadd_ps(error_factor, numbers(errors + t),
                                           _mm512_fmadd_ps(scale_factor, scale, constant));
      const __m512 upper = _mm512_add_ps(score, bound);
      _mm512_store_ps(scores + t, score);
      _mm512_store_ps(most + t, upper);
      found |= uint64_t{_mm512_cmp_ps_mask(upper, bar, _CMP_GE_OQ)} << t;
    };
    filter_16(_mm512_castsi512_si128(low), _mm512_castsi512_si128(high), 0);
    filter_16(_mm512_extracti32x4_epi32(low, 1), _mm512_extracti32x4_epi32(high, 1), 16);
    filter_16(_mm512_extracti32x4_epi32(low, 2), _mm512_extracti32x4_epi32(high, 2), 32);
    filter_16(_mm512_extracti32x4_epi32(low, 3), _mm512_extracti32x4_epi32(high, 3), 48);
    // Most groups that come here have none, or one or two.
    for (found &= seen; found != 0; found &= found - 1) {
      const auto t = static_cast<uint32_t>(std::countr_zero(found));
      const uint32_t token = filter.first_token + static_cast<uint32_t>(place) + t;
      filter.tokens[filter.count] = token;
      filter.upper[filter.count++] = most[t];
      if (scores[t] > filter.top) {
        filter.top = scores[t];
        filter.top_token = token;
      }
    }
  }

  // The largest of a group's numbers; those of bf16 that are not negative lie in the order
  // of their bits.
  static HWY_INLINE float Largest(const uint16_t* numbers) {
    const __m512i all =
        _mm512_max_epu16(_mm512_loadu_si512(numbers), _mm512_loadu_si512(numbers + 32));
    const __m256i half =
        _mm256_max_epu16(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    const __m128i quarter =
        _mm_max_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    const __m128i least = _mm_minpos_epu16(_mm_xor_si128(quarter, _mm_set1_epi32(-1)));
    return BF16ToFloat(static_cast<uint16_t>(~_mm_cvtsi128_si32(least)));
  }

  static void Filter(const CodeQueries& queries, const KeyCodes& keys,
                     std::span<ScoreFilter> filters, const KeyCodes& upcoming) {
    const CodesAhead ahead(keys, upcoming, /*is_fine=*/false);
    size_t q = 0;
    for (; q + 4 <= queries.size(); q += 4) {
      FilterSome<4>(queries, q, keys, filters.subspan(q, 4), ahead);
    }
    for (; q < queries.size(); ++q) {
      FilterSome<1>(queries, q, keys, filters.subspan(q, 1), ahead);
    }
  }

  template <size_t kQueries>
  static void FilterSome(const CodeQueries& queries, size_t first_query, const KeyCodes& keys,
                         std::span<ScoreFilter> filters, const CodesAhead& ahead) {
    const LeastSums least_sums(queries, first_query, filters);
    for (size_t group = 0; group < keys.group_count; ++group) {
      ahead.PrefetchNumbers(group);
      const size_t place = group * kCodeGroupTokens;
      const uint16_t* scales = keys.coarse_scale + place;
      const uint16_t* errors = keys.coarse_error + place;
      HWY_ALIGN uint32_t least[LeastSums::kQueries];
      least_sums.Of(Largest(scales), Largest(errors), least);
      Sums sums;
      const uint32_t enough =
          SumGroup<kQueries>(queries, first_query, keys, group, ahead, least, sums);
      for (uint32_t left = enough; left != 0; left &= left - 1) {
        const auto i = static_cast<size_t>(std::countr_zero(left));
        FilterSums(queries[first_query + i], sums.even[i], sums.odd[i], scales, errors, place,
                   SeenOf(filters[i], place), filters[i]);
      }
    }
  }
  // 16-bit sums hold 4096 elements.
  static constexpr size_t kHeadDimMax = 2048;
#undef ALAYA_VBMI
};

#endif  // HWY_TARGET == HWY_AVX3

void FilterCoarseScores(const CodeQueries& queries, const KeyCodes& keys,
                        std::span<ScoreFilter> filters, const KeyCodes& upcoming) {
#if HWY_TARGET == HWY_AVX3
  if (VbmiScores::Supported() && keys.head_dim <= VbmiScores::kHeadDimMax) {
    return VbmiScores::Filter(queries, keys, filters, upcoming);
  }
#endif
  (void)upcoming;
  float scores[kCodeGroupTokens];
  for (size_t group = 0; group < keys.group_count; ++group) {
    const size_t place = group * kCodeGroupTokens;
    const GroupNumbers numbers(keys.coarse_scale + place, keys.coarse_error + place);
    for (size_t q = 0; q < queries.size(); ++q) {
      if (!LooksAt(filters[q], place)) continue;
      CoarseGroup(queries, q, keys, group, scores);
      FilterGroup(scores, numbers, place, filters[q]);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace alaya {

HWY_EXPORT(FilterCoarseScores);

void FilterCoarseScores(const CodeQueries& queries, const KeyCodes& keys,
                        std::span<ScoreFilter> filters, const KeyCodes& upcoming) {
  assert(queries.head_dim() == keys.head_dim && filters.size() == queries.size());
  HWY_DYNAMIC_DISPATCH(FilterCoarseScores)(queries, keys, filters, upcoming);
}

void CoarseScoresReference(const CodeQueries& queries, MatrixView<const float> rotated,
                           const KeyCodes& keys, MatrixView<double> scores) {
  for (size_t q = 0; q < queries.size(); ++q) {
    for (size_t token = 0; token < keys.token_count(); ++token) {
      double sum = 0;
      for (size_t i = 0; i < keys.head_dim; ++i) {
        sum += (HighCode(keys, token, i) - 1.5) * double{rotated.row(q)[i]};
      }
      scores.row(q)[token] =
          double{queries[q].centre_score} + sum * BF16ToFloat(keys.coarse_scale[token]);
    }
  }
}

}  // namespace alaya
#endif  // HWY_ONCE
