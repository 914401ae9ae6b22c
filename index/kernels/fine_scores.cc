#include <algorithm>
#include <cassert>
#include <cstring>

#include "index/kernels/bf16.h"
#include "index/kernels/code_scores.h"
#include "index/scratch_buffer.h"

// Compiles the code inside HWY_NAMESPACE once per instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/kernels/fine_scores.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.h:
#include "hwy/highway.h"
#include "index/kernels/codes_ahead-inl.h"
#include "index/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace alaya {
namespace HWY_NAMESPACE {

// One group of any instruction set: its codes one byte each, then plain sums, of which
// the compiler makes vectors.
void FineGroup(const CodeQueries& queries, const KeyCodes& keys, size_t group,
               MatrixView<float> scores) {
  const size_t head_dim = keys.head_dim;
  const size_t rows = HighRowCount(head_dim);
  thread_local ScratchBuffer<int16_t> code_buffer;
  thread_local ScratchBuffer<int16_t> query_buffer;
  const std::span<int16_t> codes = code_buffer.Take(head_dim);
  const std::span<int16_t> query_codes = query_buffer.Take(queries.size() * head_dim);
  for (size_t q = 0; q < queries.size(); ++q) {
    for (size_t i = 0; i < head_dim; ++i) {
      query_codes[q * head_dim + i] = queries.codes(q)[CodeQueries::CodePlace(i)];
    }
  }
  const std::byte* high = keys.high + group * HighBytes(head_dim);
  for (size_t t = 0; t < kCodeGroupTokens; ++t) {
    const size_t token = group * kCodeGroupTokens + t;
    const std::byte* low = keys.low + token * LowRowBytes(head_dim);
    for (size_t r = 0; r < rows; ++r) {
      const auto upper = static_cast<uint32_t>(high[r * kCodeGroupTokens + t]);
      const auto lower = static_cast<uint32_t>(low[r]);
      for (size_t i = 0; i < 4; ++i) {
        codes[4 * r + i] =
            static_cast<int16_t>(4 * (upper >> (2 * i) & 3) + (lower >> (2 * i) & 3));
      }
    }
    const float scale = BF16ToFloat(keys.fine_scale[token]);
    for (size_t q = 0; q < queries.size(); ++q) {
      const int16_t* query = &query_codes[q * head_dim];
      int32_t sum = 0;
      for (size_t i = 0; i < head_dim; ++i) sum += int32_t{codes[i]} * int32_t{query[i]};
      // Doubled, so that the middle of the levels is whole: 2 * code - 15.
      const auto doubled = static_cast<float>(2 * sum - 15 * queries[q].code_sum);
      scores.row(q)[token] = queries[q].centre_score + 0.5F * queries[q].step * doubled * scale;
    }
  }
}

#if HWY_TARGET == HWY_AVX3

// AVX512_VNNI multiplies 64 pairs of bytes and adds them by fours in one instruction.
// A 32-bit lane holds four elements of one token. Measured on Zen 4: see the README.
struct VnniScores {
#define ALAYA_VNNI __attribute__((target(HWY_TARGET_STR ",avx512vnni")))

  static bool Supported() {
    static const bool supported = __builtin_cpu_supports("avx512vnni") != 0;
    return supported;
  }

  // Codes of 16 elements of 16 tokens.
  struct Planes {
    __m512i high;
    __m512i low;
  };

  // Four vectors of which lane L, dword m of vector k holds four bytes of token
  // 16L + 4k + m.
  struct Four {
    __m512i v[4];
  };

  // Rows of 64 bytes, one of each token; rows that do not exist are zeros.
  ALAYA_VNNI static HWY_INLINE Four TransposeRows(const std::byte* rows, size_t count) {
    __m512i row[4];
    ALAYA_UNROLL
    for (size_t i = 0; i < 4; ++i) {
      row[i] = i < count ? _mm512_load_si512(rows + i * kCodeGroupTokens) : _mm512_setzero_si512();
    }
    const __m512i low01 = _mm512_unpacklo_epi8(row[0], row[1]);
    const __m512i high01 = _mm512_unpackhi_epi8(row[0], row[1]);
    const __m512i low23 = _mm512_unpacklo_epi8(row[2], row[3]);
    const __m512i high23 = _mm512_unpackhi_epi8(row[2], row[3]);
    return {{_mm512_unpacklo_epi16(low01, low23), _mm512_unpackhi_epi16(low01, low23),
             _mm512_unpacklo_epi16(high01, high23), _mm512_unpackhi_epi16(high01, high23)}};
  }

  // Bytes 0-15 of the tokens 16L + 4k + m: vector w holds dword w of each.
  template <size_t kRowBytes>
  ALAYA_VNNI static HWY_INLINE Four LoadLow(const std::byte* low, size_t some_row_bytes, size_t k) {
    // Addresses known at compile time cost nothing.
    const size_t row_bytes = kRowBytes == 0 ? some_row_bytes : kRowBytes;
    __m512i token[4];
    ALAYA_UNROLL
    for (size_t m = 0; m < 4; ++m) {
      const std::byte* first = low + (4 * k + m) * row_bytes;
      const auto load = [&](size_t lane) ALAYA_VNNI {
        return _mm_load_si128(reinterpret_cast<const __m128i*>(first + 16 * lane * row_bytes));
      };
      __m512i all = _mm512_castsi128_si512(load(0));
      all = _mm512_inserti32x4(all, load(1), 1);
      all = _mm512_inserti32x4(all, load(2), 2);
      token[m] = _mm512_inserti32x4(all, load(3), 3);
    }
    const __m512i low01 = _mm512_unpacklo_epi32(token[0], token[1]);
    const __m512i high01 = _mm512_unpackhi_epi32(token[0], token[1]);
    const __m512i low23 = _mm512_unpacklo_epi32(token[2], token[3]);
    const __m512i high23 = _mm512_unpackhi_epi32(token[2], token[3]);
    return {{_mm512_unpacklo_epi64(low01, low23), _mm512_unpackhi_epi64(low01, low23),
             _mm512_unpacklo_epi64(high01, high23), _mm512_unpackhi_epi64(high01, high23)}};
  }

  // The codes of 16 elements, four in each vector.
  ALAYA_VNNI static HWY_INLINE Four Codes(const Planes& planes) {
    const __m512i high = planes.high;
    const __m512i low = planes.low;
    const __m512i upper_pairs = _mm512_set1_epi8(static_cast<char>(0xCC));
    const __m512i nibble = _mm512_set1_epi8(0x0F);
    // (a & mask) | (b & ~mask)
    const auto select = [&](__m512i a, __m512i b) ALAYA_VNNI {
      return _mm512_ternarylogic_epi32(upper_pairs, a, b, 0xCA);
    };
    const __m512i even = select(_mm512_slli_epi32(high, 2), low);
    const __m512i odd = select(high, _mm512_srli_epi32(low, 2));
    return {{_mm512_and_si512(even, nibble), _mm512_and_si512(odd, nibble),
             _mm512_and_si512(_mm512_srli_epi32(even, 4), nibble),
             _mm512_and_si512(_mm512_srli_epi32(odd, 4), nibble)}};
  }

  // Adds the products of 64 elements to the sums of 64 tokens for kQueries queries:
  // [k][q], tokens ordered as in Four.
  template <size_t kQueries, size_t kRowBytes>
  ALAYA_VNNI static HWY_INLINE void AddSpan(const std::byte* high, size_t high_rows,
                                            const std::byte* low, size_t low_row_bytes,
                                            const int8_t* const (&codes)[kQueries],
                                            __m512i (&sums)[4][kQueries]) {
    // In memory, as there are too many for registers.
    Planes vectors[4][4];  // [w][k]
    ALAYA_UNROLL
    for (size_t w = 0; w < 4; ++w) {
      const size_t rows = std::min<size_t>(4, high_rows - std::min(high_rows, 4 * w));
      const Four upper = TransposeRows(high + 4 * w * kCodeGroupTokens, rows);
      ALAYA_UNROLL
      for (size_t k = 0; k < 4; ++k) vectors[w][k].high = upper.v[k];
    }
    ALAYA_UNROLL
    for (size_t k = 0; k < 4; ++k) {
      const Four lower = LoadLow<kRowBytes>(low, low_row_bytes, k);
      ALAYA_UNROLL
      for (size_t w = 0; w < 4; ++w) vectors[w][k].low = lower.v[w];
    }
    // Two vectors of tokens at a time: a broadcast of query bytes serves both. The loops
    // stay loops: unrolled, the compiler runs out of registers.
#pragma GCC unroll 1
    for (size_t k = 0; k < 4; k += 2) {
      __m512i sum[2][kQueries];
      ALAYA_UNROLL
      for (size_t q = 0; q < kQueries; ++q) {
        sum[0][q] = sums[k][q];
        sum[1][q] = sums[k + 1][q];
      }
#pragma GCC unroll 1
      for (size_t w = 0; w < 4; ++w) {
        const Four first = Codes(vectors[w][k]);
        const Four second = Codes(vectors[w][k + 1]);
        ALAYA_UNROLL
        for (size_t i = 0; i < 4; ++i) {
          ALAYA_UNROLL
          for (size_t q = 0; q < kQueries; ++q) {
            int32_t bytes;
            std::memcpy(&bytes, codes[q] + 16 * w + 4 * i, sizeof(bytes));
            const __m512i four = _mm512_set1_epi32(bytes);
            sum[0][q] = _mm512_dpbusd_epi32(sum[0][q], first.v[i], four);
            sum[1][q] = _mm512_dpbusd_epi32(sum[1][q], second.v[i], four);
          }
        }
      }
      ALAYA_UNROLL
      for (size_t q = 0; q < kQueries; ++q) {
        sums[k][q] = sum[0][q];
        sums[k + 1][q] = sum[1][q];
      }
    }
  }

  // Puts tokens back in order and makes scores of sums.
  ALAYA_VNNI static HWY_INLINE void Store(const CodeQueries::Query& query, __m512i sum0,
                                          __m512i sum1, __m512i sum2, __m512i sum3,
                                          const uint16_t* scales, float* scores) {
    // Four times four blocks of 128 bits, transposed.
    const __m512i a = _mm512_shuffle_i32x4(sum0, sum1, 0x44);
    const __m512i b = _mm512_shuffle_i32x4(sum2, sum3, 0x44);
    const __m512i c = _mm512_shuffle_i32x4(sum0, sum1, 0xEE);
    const __m512i d = _mm512_shuffle_i32x4(sum2, sum3, 0xEE);
    const __m512i ordered[4] = {_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xDD),
                                _mm512_shuffle_i32x4(c, d, 0x88), _mm512_shuffle_i32x4(c, d, 0xDD)};
    const __m512 centre = _mm512_set1_ps(query.centre_score);
    const __m512 half_step = _mm512_set1_ps(0.5F * query.step);
    const __m512i middle = _mm512_set1_epi32(15 * query.code_sum);
    ALAYA_UNROLL
    for (size_t k = 0; k < 4; ++k) {
      const __m512i doubled = _mm512_sub_epi32(_mm512_slli_epi32(ordered[k], 1), middle);
      const __m512i scale_bits = _mm512_slli_epi32(
          _mm512_cvtepu16_epi32(
              _mm256_loadu_si256(reinterpret_cast<const __m256i*>(scales + 16 * k))),
          16);
      const __m512 product = _mm512_mul_ps(_mm512_mul_ps(half_step, _mm512_cvtepi32_ps(doubled)),
                                           _mm512_castsi512_ps(scale_bits));
      _mm512_storeu_ps(scores + 16 * k, _mm512_add_ps(centre, product));
    }
  }

  template <size_t kQueries, size_t kRowBytes>
  ALAYA_VNNI static void ScoreGroup(const CodeQueries& queries, size_t first_query,
                                    const KeyCodes& keys, size_t group, const CodesAhead& ahead,
                                    MatrixView<float> scores) {
    const size_t head_dim = keys.head_dim;
    const size_t rows = HighRowCount(head_dim);
    const size_t low_row_bytes = LowRowBytes(head_dim);
    const std::byte* next_high = ahead.high.At(group * HighBytes(head_dim) + CodesAhead::kBytes);
    const std::byte* next_low =
        ahead.low.At(group * kCodeGroupTokens * low_row_bytes + CodesAhead::kBytes);
    const std::byte* high = keys.high + group * HighBytes(head_dim);
    const std::byte* low = keys.low + group * kCodeGroupTokens * low_row_bytes;
    __m512i sums[4][kQueries];
    ALAYA_UNROLL
    for (size_t k = 0; k < 4; ++k) {
      ALAYA_UNROLL
      for (size_t q = 0; q < kQueries; ++q) sums[k][q] = _mm512_setzero_si512();
    }
    for (size_t r = 0; r < rows; r += 16) {
      const int8_t* codes[kQueries];
      ALAYA_UNROLL
      for (size_t q = 0; q < kQueries; ++q) codes[q] = &queries.codes(first_query + q)[4 * r];
      PrefetchLines<1024>(next_high + r * kCodeGroupTokens);
      PrefetchLines<1024>(next_low + r * kCodeGroupTokens);
      AddSpan<kQueries, kRowBytes>(high + r * kCodeGroupTokens, rows - r, low + r, low_row_bytes,
                                   codes, sums);
    }
    const size_t token = group * kCodeGroupTokens;
    ALAYA_UNROLL
    for (size_t q = 0; q < kQueries; ++q) {
      Store(queries[first_query + q], sums[0][q], sums[1][q], sums[2][q], sums[3][q],
            keys.fine_scale + token, scores.row(first_query + q).data() + token);
    }
  }

  static void Score(const CodeQueries& queries, const KeyCodes& keys, MatrixView<float> scores,
                    const KeyCodes& upcoming) {
    switch (LowRowBytes(keys.head_dim)) {
      case 16:
        return ScoreRows<16>(queries, keys, scores, upcoming);
      case 32:
        return ScoreRows<32>(queries, keys, scores, upcoming);
      case 64:
        return ScoreRows<64>(queries, keys, scores, upcoming);
      default:
        return ScoreRows<0>(queries, keys, scores, upcoming);
    }
  }

  // Low rows of a length known at compile time, or 0.
  template <size_t kRowBytes>
  static void ScoreRows(const CodeQueries& queries, const KeyCodes& keys, MatrixView<float> scores,
                        const KeyCodes& upcoming) {
    const CodesAhead ahead(keys, upcoming);
    for (size_t group = 0; group < keys.group_count; ++group) {
      size_t q = 0;
      for (; q + 4 <= queries.size(); q += 4) {
        ScoreGroup<4, kRowBytes>(queries, q, keys, group, ahead, scores);
      }
      for (; q < queries.size(); ++q)
        ScoreGroup<1, kRowBytes>(queries, q, keys, group, ahead, scores);
    }
  }
#undef ALAYA_VNNI
};

#endif  // HWY_TARGET == HWY_AVX3

void FineScores(const CodeQueries& queries, const KeyCodes& keys, MatrixView<float> scores,
                const KeyCodes& upcoming) {
#if HWY_TARGET == HWY_AVX3
  if (VnniScores::Supported()) return VnniScores::Score(queries, keys, scores, upcoming);
#endif
  (void)upcoming;
  for (size_t group = 0; group < keys.group_count; ++group) {
    FineGroup(queries, keys, group, scores);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace alaya {

HWY_EXPORT(FineScores);

void FineScores(const CodeQueries& queries, const KeyCodes& keys, MatrixView<float> scores,
                const KeyCodes& upcoming) {
  assert(queries.head_dim() == keys.head_dim && scores.rows() == queries.size());
  assert(scores.cols() == keys.token_count());
  HWY_DYNAMIC_DISPATCH(FineScores)(queries, keys, scores, upcoming);
}

void FineScoresReference(const CodeQueries& queries, const KeyCodes& keys,
                         MatrixView<double> scores) {
  for (size_t q = 0; q < queries.size(); ++q) {
    for (size_t token = 0; token < keys.token_count(); ++token) {
      double sum = 0;
      for (size_t i = 0; i < keys.head_dim; ++i) {
        sum += (4.0 * HighCode(keys, token, i) + LowCode(keys, token, i) - 7.5) *
               queries.codes(q)[CodeQueries::CodePlace(i)];
      }
      scores.row(q)[token] = double{queries[q].centre_score} +
                             double{queries[q].step} * sum * BF16ToFloat(keys.fine_scale[token]);
    }
  }
}

}  // namespace alaya
#endif  // HWY_ONCE
