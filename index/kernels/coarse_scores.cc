#include <cassert>
#include <cstddef>
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

// Sums of table entries of one group, of any instruction set.
void CoarseGroup(const CodeQueries& queries, const KeyCodes& keys, size_t group,
                 MatrixView<float> scores) {
  const size_t rows = HighRowCount(keys.head_dim);
  const std::byte* high = keys.high + group * HighBytes(keys.head_dim);
  const auto row_byte = [&](size_t row, size_t t) {
    return row < rows ? static_cast<uint32_t>(high[row * kCodeGroupTokens + t]) : 0U;
  };
  for (size_t q = 0; q < queries.size(); ++q) {
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
      const size_t token = group * kCodeGroupTokens + t;
      const float sum = query.table_step * static_cast<float>(sums[t]) + query.table_bias;
      scores.row(q)[token] = query.centre_score + sum * BF16ToFloat(keys.coarse_scale[token]);
    }
  }
}

#if HWY_TARGET == HWY_AVX3

// AVX512_VBMI looks up 64 bytes in a table of 64 in one instruction: a lane is a token.
struct VbmiScores {
#define ALAYA_VBMI __attribute__((target(HWY_TARGET_STR ",avx512vbmi")))

  static bool Supported() {
    static const bool supported = __builtin_cpu_supports("avx512vbmi") != 0;
    return supported;
  }

  template <size_t kQueries>
  ALAYA_VBMI static void ScoreGroup(const CodeQueries& queries, size_t first_query,
                                    const KeyCodes& keys, size_t group, const CodesAhead& ahead,
                                    MatrixView<float> scores) {
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
    ALAYA_UNROLL
    for (size_t q = 0; q < kQueries; ++q) {
      const size_t token = group * kCodeGroupTokens;
      Store(queries[first_query + q], _mm512_sub_epi16(both[q], _mm512_slli_epi16(upper[q], 8)),
            upper[q], keys.coarse_scale + token, scores.row(first_query + q).data() + token);
    }
  }

  // Sums of the even and of the odd tokens become scores in order.
  ALAYA_VBMI static HWY_INLINE void Store(const CodeQueries::Query& query, __m512i even,
                                          __m512i odd, const uint16_t* scales, float* scores) {
    // In every block of 128 bits: tokens 0-7 and 8-15 of its 16.
    const __m512i low = _mm512_unpacklo_epi16(even, odd);
    const __m512i high = _mm512_unpackhi_epi16(even, odd);
    const __m512 step = _mm512_set1_ps(query.table_step);
    const __m512 bias = _mm512_set1_ps(query.table_bias);
    const __m512 centre = _mm512_set1_ps(query.centre_score);
    const auto store = [&](__m128i first, __m128i second, size_t i) ALAYA_VBMI {
      const __m256i sixteen = _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
      const __m512 sum =
          _mm512_fmadd_ps(step, _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(sixteen)), bias);
      const __m512i scale_bits = _mm512_slli_epi32(
          _mm512_cvtepu16_epi32(
              _mm256_loadu_si256(reinterpret_cast<const __m256i*>(scales + 16 * i))),
          16);
      _mm512_storeu_ps(scores + 16 * i,
                       _mm512_fmadd_ps(sum, _mm512_castsi512_ps(scale_bits), centre));
    };
    store(_mm512_castsi512_si128(low), _mm512_castsi512_si128(high), 0);
    store(_mm512_extracti32x4_epi32(low, 1), _mm512_extracti32x4_epi32(high, 1), 1);
    store(_mm512_extracti32x4_epi32(low, 2), _mm512_extracti32x4_epi32(high, 2), 2);
    store(_mm512_extracti32x4_epi32(low, 3), _mm512_extracti32x4_epi32(high, 3), 3);
  }

  static void Score(const CodeQueries& queries, const KeyCodes& keys, MatrixView<float> scores,
                    std::span<ScoreFilter> filters, const KeyCodes& upcoming) {
    const CodesAhead ahead(keys, upcoming, /*is_fine=*/false);
    for (size_t group = 0; group < keys.group_count; ++group) {
      ahead.PrefetchNumbers(group);
      size_t q = 0;
      for (; q + 4 <= queries.size(); q += 4) {
        ScoreGroup<4>(queries, q, keys, group, ahead, scores);
      }
      for (; q < queries.size(); ++q) ScoreGroup<1>(queries, q, keys, group, ahead, scores);
      FilterQueries(scores, keys.coarse_scale, keys.coarse_error, group, filters);
    }
  }
#undef ALAYA_VBMI
};

#endif  // HWY_TARGET == HWY_AVX3

void CoarseScores(const CodeQueries& queries, const KeyCodes& keys, MatrixView<float> scores,
                  std::span<ScoreFilter> filters, const KeyCodes& upcoming) {
#if HWY_TARGET == HWY_AVX3
  // 16-bit sums hold 4096 elements.
  if (VbmiScores::Supported() && keys.head_dim <= 2048) {
    return VbmiScores::Score(queries, keys, scores, filters, upcoming);
  }
#endif
  (void)upcoming;
  for (size_t group = 0; group < keys.group_count; ++group) {
    CoarseGroup(queries, keys, group, scores);
    FilterQueries(scores, keys.coarse_scale, keys.coarse_error, group, filters);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace alaya {

HWY_EXPORT(CoarseScores);

void CoarseScores(const CodeQueries& queries, const KeyCodes& keys, MatrixView<float> scores,
                  std::span<ScoreFilter> filters, const KeyCodes& upcoming) {
  assert(queries.head_dim() == keys.head_dim && scores.rows() == queries.size());
  assert(scores.cols() == keys.token_count());
  assert(filters.empty() || filters.size() == queries.size());
  HWY_DYNAMIC_DISPATCH(CoarseScores)(queries, keys, scores, filters, upcoming);
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
