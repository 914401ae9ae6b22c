#include "index/kernels/code_scores.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

#include "index/kernels/bf16.h"
#include "index/kernels/softmax.h"
#include "index/scratch_buffer.h"

// Compiles the code inside HWY_NAMESPACE once per instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/kernels/code_scores.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.h:
#include "hwy/highway.h"
#include "index/kernels/rows-inl.h"

#ifndef ALAYA_INDEX_KERNELS_CODE_SCORES_ONCE_
#define ALAYA_INDEX_KERNELS_CODE_SCORES_ONCE_
namespace alaya {
namespace {

// The 4-bit code of one element of one token.
int32_t FineCode(const KeyCodes& keys, size_t token, size_t element) {
  const size_t group = token / kCodeGroupTokens;
  const size_t shift = element % 4 * 2;
  const auto high =
      static_cast<uint32_t>(keys.high[group * HighBytes(keys.head_dim) +
                                      element / 4 * kCodeGroupTokens + token % kCodeGroupTokens]);
  const auto low =
      static_cast<uint32_t>(keys.low[token * LowRowBytes(keys.head_dim) + element / 4]);
  return static_cast<int32_t>(4 * (high >> shift & 3) + (low >> shift & 3));
}

// Where CodeQueries keeps element i.
size_t CodePlace(size_t i) { return i / 16 * 16 + i % 4 * 4 + i / 4 % 4; }

// Doubled, so that the middle of the levels is whole: 2 * code - 15.
float ScoreOf(const CodeQueries::Query& query, int32_t doubled_sum, float scale) {
  return query.centre_score + 0.5F * query.step * static_cast<float>(doubled_sum) * scale;
}

}  // namespace
}  // namespace alaya
#endif  // ALAYA_INDEX_KERNELS_CODE_SCORES_ONCE_

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
      query_codes[q * head_dim + i] = queries.codes(q)[CodePlace(i)];
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
      scores.row(q)[token] = ScoreOf(queries[q], 2 * sum - 15 * queries[q].code_sum, scale);
    }
  }
}

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

// Where the scans ask for memory: some groups ahead, then in the codes that come next.
struct CodesAhead {
  CodesAhead(const KeyCodes& keys, const KeyCodes& upcoming)
      : high(Plane(keys, keys.high, HighBytes(keys.head_dim)),
             Plane(upcoming, upcoming.high, HighBytes(upcoming.head_dim))),
        low(Plane(keys, keys.low, kCodeGroupTokens * LowRowBytes(keys.head_dim)),
            Plane(upcoming, upcoming.low, kCodeGroupTokens * LowRowBytes(upcoming.head_dim))) {}

  static constexpr size_t kBytes = size_t{8} * 1024;
  ReadAhead high;
  ReadAhead low;

 private:
  static std::span<const std::byte> Plane(const KeyCodes& keys, const std::byte* begin,
                                          size_t group_bytes) {
    return {begin, keys.group_count * group_bytes};
  }
};

// AVX512_VNNI multiplies 64 pairs of bytes and adds them by fours in one instruction.
// A 32-bit lane holds four elements of one token. Measured on Zen 4: see the README.
struct VnniScores {
#define ALAYA_VNNI __attribute__((target(HWY_TARGET_STR ",avx512vnni")))

  static bool Supported() {
    static const bool supported = __builtin_cpu_supports("avx512vnni") != 0;
    return supported;
  }

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
  ALAYA_VNNI static HWY_INLINE Four LoadLow(const std::byte* low, size_t row_bytes, size_t k) {
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
  ALAYA_VNNI static HWY_INLINE Four Codes(__m512i high, __m512i low) {
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
  template <size_t kQueries>
  ALAYA_VNNI static HWY_INLINE void AddSpan(const std::byte* high, size_t high_rows,
                                            const std::byte* low, size_t low_row_bytes,
                                            const int8_t* const (&codes)[kQueries],
                                            __m512i (&sums)[4][kQueries]) {
    __m512i upper[4][4];  // [k][w]; in memory, as there are too many for registers
    for (size_t w = 0; w < 4; ++w) {
      const size_t rows = std::min<size_t>(4, high_rows - std::min(high_rows, 4 * w));
      const Four four = TransposeRows(high + 4 * w * kCodeGroupTokens, rows);
      ALAYA_UNROLL
      for (size_t k = 0; k < 4; ++k) upper[k][w] = four.v[k];
    }
    // Two vectors of tokens at a time: a broadcast of query bytes serves both.
#pragma GCC unroll 1
    for (size_t k = 0; k < 4; k += 2) {
      const Four lower[2] = {LoadLow(low, low_row_bytes, k), LoadLow(low, low_row_bytes, k + 1)};
      __m512i sum[2][kQueries];
      ALAYA_UNROLL
      for (size_t q = 0; q < kQueries; ++q) {
        sum[0][q] = sums[k][q];
        sum[1][q] = sums[k + 1][q];
      }
      ALAYA_UNROLL
      for (size_t w = 0; w < 4; ++w) {
        const Four first = Codes(upper[k][w], lower[0].v[w]);
        const Four second = Codes(upper[k + 1][w], lower[1].v[w]);
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

  template <size_t kQueries>
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
      AddSpan<kQueries>(high + r * kCodeGroupTokens, rows - r, low + r, low_row_bytes, codes, sums);
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
    const CodesAhead ahead(keys, upcoming);
    for (size_t group = 0; group < keys.group_count; ++group) {
      size_t q = 0;
      for (; q + 4 <= queries.size(); q += 4) {
        ScoreGroup<4>(queries, q, keys, group, ahead, scores);
      }
      for (; q < queries.size(); ++q) ScoreGroup<1>(queries, q, keys, group, ahead, scores);
    }
  }
#undef ALAYA_VNNI
};

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
                    const KeyCodes& upcoming) {
    const CodesAhead ahead(keys, upcoming);
    for (size_t group = 0; group < keys.group_count; ++group) {
      size_t q = 0;
      for (; q + 4 <= queries.size(); q += 4) {
        ScoreGroup<4>(queries, q, keys, group, ahead, scores);
      }
      for (; q < queries.size(); ++q) ScoreGroup<1>(queries, q, keys, group, ahead, scores);
    }
  }
#undef ALAYA_VBMI
};

#endif  // HWY_TARGET == HWY_AVX3

void CoarseScores(const CodeQueries& queries, const KeyCodes& keys, MatrixView<float> scores,
                  const KeyCodes& upcoming) {
#if HWY_TARGET == HWY_AVX3
  // 16-bit sums hold 4096 elements.
  if (VbmiScores::Supported() && keys.head_dim <= 2048) {
    return VbmiScores::Score(queries, keys, scores, upcoming);
  }
#endif
  (void)upcoming;
  for (size_t group = 0; group < keys.group_count; ++group) {
    CoarseGroup(queries, keys, group, scores);
  }
}

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

FilteredScores FilterUpperBounds(std::span<const float> scores, const TokenBounds& bounds,
                                 float bar, uint32_t first_token, std::span<uint32_t> tokens,
                                 std::span<float> upper) {
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> d_bits;
  const hn::Rebind<uint16_t, decltype(d)> d_half;
  const size_t lanes = hn::Lanes(d);
  const auto error_factor = hn::Set(d, bounds.factors.error_factor);
  const auto scale_factor = hn::Set(d, bounds.factors.scale_factor);
  const auto constant = hn::Set(d, bounds.factors.constant);
  const auto bars = hn::Set(d, bar);
  auto top = hn::Set(d, -std::numeric_limits<float>::infinity());
  FilteredScores result;
  const auto number = [&](const uint16_t* bits) HWY_ATTR {
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d_bits, hn::LoadU(d_half, bits))));
  };
  size_t i = 0;
  for (; i + lanes <= scores.size(); i += lanes) {
    const auto score = hn::LoadU(d, &scores[i]);
    auto bound = hn::MulAdd(scale_factor, number(&bounds.scales[i]), constant);
    bound = hn::MulAdd(error_factor, number(&bounds.errors[i]), bound);
    const auto most = hn::Add(score, bound);
    top = hn::Max(top, score);
    const auto above = hn::Ge(most, bars);
    if (hn::AllFalse(d, above)) continue;
    const auto token = hn::Iota(d_bits, first_token + static_cast<uint32_t>(i));
    hn::StoreU(hn::Compress(token, hn::RebindMask(d_bits, above)), d_bits, &tokens[result.count]);
    hn::StoreU(hn::Compress(most, above), d, &upper[result.count]);
    result.count += hn::CountTrue(d, above);
  }
  result.top = hn::GetLane(hn::MaxOfLanes(d, top));
  for (; i < scores.size(); ++i) {
    const float bound =
        bounds.factors.scale_factor * BF16ToFloat(bounds.scales[i]) + bounds.factors.constant;
    const float most =
        scores[i] + (bounds.factors.error_factor * BF16ToFloat(bounds.errors[i]) + bound);
    result.top = std::max(result.top, scores[i]);
    if (most < bar) continue;
    tokens[result.count] = first_token + static_cast<uint32_t>(i);
    upper[result.count] = most;
    ++result.count;
  }
  return result;
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace alaya {

CodeQueries::CodeQueries(MatrixView<const float> rotated, std::span<const float> centre_scores)
    : head_dim_(rotated.cols()),
      padded_dim_((rotated.cols() + 63) / 64 * 64),
      queries_(rotated.rows()),
      codes_(rotated.rows() * padded_dim_),
      tables_(hwy::AllocateAligned<uint8_t>((rotated.rows() + 1) * triple_count() * kTripleBytes)) {
  assert(centre_scores.size() == rotated.rows());
  for (size_t i = 0; i < rotated.rows(); ++i) {
    queries_[i].centre_score = centre_scores[i];
    MakeCodes(rotated.row(i), i);
    MakeTables(rotated.row(i), i);
  }
}

void CodeQueries::MakeCodes(std::span<const float> elements, size_t i) {
  Query& query = queries_[i];
  float largest = 0;
  for (const float element : elements) largest = std::max(largest, std::fabs(element));
  query.step = largest / 127;
  // A step too small to divide by leaves codes 0, and all of the query as error.
  const float inverse = query.step < 1e-37F ? 0.0F : 1 / query.step;
  double square_sum = 0;
  double error_sum = 0;
  for (size_t e = 0; e < elements.size(); ++e) {
    const float place = std::clamp(elements[e] * inverse, -127.0F, 127.0F);
    const auto code = static_cast<int32_t>(place + std::copysign(0.5F, place));
    codes_[i * padded_dim_ + CodePlace(e)] = static_cast<int8_t>(code);
    query.code_sum += code;
    const double left = double{elements[e]} - double{query.step} * code;
    square_sum += double{elements[e]} * double{elements[e]};
    error_sum += left * left;
  }
  query.length = std::sqrt(square_sum);
  query.error_length = std::sqrt(error_sum);
}

void CodeQueries::MakeTables(std::span<const float> elements, size_t i) {
  // Element `place` of a table, and which element of the query that is.
  const auto element_of = [&](size_t triple, size_t table, size_t place) {
    const size_t row = 3 * triple + (table < 3 ? table : place);
    const size_t e = 4 * row + (table < 3 ? place : 3);
    return e < elements.size() ? elements[e] : 0.0F;
  };
  const size_t table_count = 4 * triple_count();
  float widest = 0;
  float sum = 0;
  for (const float element : elements) sum += element;
  float least_sum = 0;
  for (size_t t = 0; t < table_count; ++t) {
    float width = 0;
    for (size_t place = 0; place < 3; ++place) {
      const float element = element_of(t / 4, t % 4, place);
      width += 3 * std::fabs(element);
      least_sum += 3 * std::min(element, 0.0F);
    }
    widest = std::max(widest, width);
  }
  Query& query = queries_[i];
  // A little wider, so that nothing rounds to 64.
  query.table_step = widest * 1.0001F / 63;
  query.table_bias = least_sum - 1.5F * sum;
  query.table_deviation =
      double{query.table_step} * std::sqrt(static_cast<double>(table_count) / 12);
  const float inverse = query.table_step < 1e-37F ? 0.0F : 1 / query.table_step;
  uint8_t* entry = tables_.get() + i * table_count * kTableBytes;
  for (size_t t = 0; t < table_count; ++t) {
    float steps[3][4];  // of each place and code, from the least one up
    for (size_t place = 0; place < 3; ++place) {
      const float element = element_of(t / 4, t % 4, place) * inverse;
      const float least = 3 * std::min(element, 0.0F);
      for (size_t code = 0; code < 4; ++code) {
        steps[place][code] = static_cast<float>(code) * element - least;
      }
    }
    for (size_t upper = 0; upper < 16; ++upper) {
      const float base = steps[2][upper / 4] + steps[1][upper % 4] + 0.5F;
      for (size_t code = 0; code < 4; ++code) {
        *entry++ = static_cast<uint8_t>(base + steps[0][code]);
      }
    }
  }
}

HWY_EXPORT(FineScores);
HWY_EXPORT(CoarseScores);
HWY_EXPORT(FilterUpperBounds);

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
        sum += (FineCode(keys, token, i) - 7.5) * queries.codes(q)[CodePlace(i)];
      }
      scores.row(q)[token] = double{queries[q].centre_score} +
                             double{queries[q].step} * sum * BF16ToFloat(keys.fine_scale[token]);
    }
  }
}

void CoarseScores(const CodeQueries& queries, const KeyCodes& keys, MatrixView<float> scores,
                  const KeyCodes& upcoming) {
  assert(queries.head_dim() == keys.head_dim && scores.rows() == queries.size());
  assert(scores.cols() == keys.token_count());
  HWY_DYNAMIC_DISPATCH(CoarseScores)(queries, keys, scores, upcoming);
}

void CoarseScoresReference(const CodeQueries& queries, MatrixView<const float> rotated,
                           const KeyCodes& keys, MatrixView<double> scores) {
  for (size_t q = 0; q < queries.size(); ++q) {
    for (size_t token = 0; token < keys.token_count(); ++token) {
      double sum = 0;
      for (size_t i = 0; i < keys.head_dim; ++i) {
        sum += (FineCode(keys, token, i) / 4 - 1.5) * double{rotated.row(q)[i]};
      }
      scores.row(q)[token] =
          double{queries[q].centre_score} + sum * BF16ToFloat(keys.coarse_scale[token]);
    }
  }
}

FilteredScores FilterUpperBounds(std::span<const float> scores, const TokenBounds& bounds,
                                 float bar, uint32_t first_token, std::span<uint32_t> tokens,
                                 std::span<float> upper) {
  assert(bounds.scales.size() == scores.size() && bounds.errors.size() == scores.size());
  assert(tokens.size() >= scores.size() + kFilterPadding && upper.size() >= tokens.size());
  return HWY_DYNAMIC_DISPATCH(FilterUpperBounds)(scores, bounds, bar, first_token, tokens, upper);
}

}  // namespace alaya
#endif  // HWY_ONCE
