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
#include "index/kernels/score_filter-inl.h"

HWY_BEFORE_NAMESPACE();
namespace alaya {
namespace HWY_NAMESPACE {

// One group of any instruction set: its codes one byte each, then plain sums, of which
// the compiler makes vectors.
void FineGroup(const CodeQueries& queries, const KeyCodes& keys, size_t group,
               MatrixView<float> scores, size_t place) {
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
  const std::byte* low = keys.low + group * LowBytes(head_dim);
  for (size_t t = 0; t < kCodeGroupTokens; ++t) {
    const size_t token = group * kCodeGroupTokens + t;
    for (size_t r = 0; r < rows; ++r) {
      const auto upper = static_cast<uint32_t>(high[r * kCodeGroupTokens + t]);
      const auto lower = static_cast<uint32_t>(low[LowPlace(r, t)]);
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
      scores.row(q)[place + t] = queries[q].centre_score + 0.5F * queries[q].step * doubled * scale;
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

  // Adds the products of 16 elements, which `row_count` high rows hold, to the sums of 64
  // tokens for kQueries queries: [k][q], tokens ordered as in Four.
  template <size_t kQueries>
  ALAYA_VNNI static HWY_INLINE void AddRun(const std::byte* high, size_t row_count,
                                           const std::byte* low,
                                           const int8_t* const (&codes)[kQueries], size_t place,
                                           __m512i (&sums)[4][kQueries]) {
    const Four upper = TransposeRows(high, row_count);
    ALAYA_UNROLL
    for (size_t k = 0; k < 4; ++k) {
      const Four four = Codes(upper.v[k], _mm512_load_si512(low + k * kCodeGroupTokens));
      ALAYA_UNROLL
      for (size_t i = 0; i < 4; ++i) {
        ALAYA_UNROLL
        for (size_t q = 0; q < kQueries; ++q) {
          int32_t bytes;
          std::memcpy(&bytes, codes[q] + place + 4 * i, sizeof(bytes));
          sums[k][q] = _mm512_dpbusd_epi32(sums[k][q], four.v[i], _mm512_set1_epi32(bytes));
        }
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

  // Where a group's planes begin, or what is asked for meanwhile.
  struct Planes {
    const std::byte* high;
    const std::byte* low;
  };
  static HWY_INLINE Planes PlanesOf(const KeyCodes& keys, size_t group) {
    return {keys.high + group * HighBytes(keys.head_dim),
            keys.low + group * LowBytes(keys.head_dim)};
  }

  template <size_t kQueries>
  ALAYA_VNNI static void ScoreGroup(const CodeQueries& queries, size_t first_query,
                                    const KeyCodes& keys, size_t group, const Planes& next,
                                    MatrixView<float> scores, size_t place_of_scores) {
    const auto [high, low] = PlanesOf(keys, group);
    const int8_t* codes[kQueries];
    __m512i sums[4][kQueries];
    ALAYA_UNROLL
    for (size_t q = 0; q < kQueries; ++q) {
      codes[q] = queries.codes(first_query + q).data();
      ALAYA_UNROLL
      for (size_t k = 0; k < 4; ++k) sums[k][q] = _mm512_setzero_si512();
    }
    size_t at = 0;  // both planes have 256 bytes per 16 elements, but for a half at the end
    size_t place = 0;
    const size_t rows = HighRowCount(keys.head_dim);
    // A loop, and few lines at a time: the processor takes up so many requests at once,
    // and waits with arithmetic if there are more.
#pragma GCC unroll 1
    for (; place + 16 <= keys.head_dim; place += 16, at += kLowRunBytes) {
      CodesAhead::PrefetchCodes<kLowRunBytes>(next.high + at);
      CodesAhead::PrefetchCodes<kLowRunBytes>(next.low + at);
      AddRun<kQueries>(high + at, 4, low + at, codes, place, sums);
    }
    if (place < keys.head_dim) {
      AddRun<kQueries>(high + at, rows % 4, low + at, codes, place, sums);
    }
    const size_t token = group * kCodeGroupTokens;
    ALAYA_UNROLL
    for (size_t q = 0; q < kQueries; ++q) {
      Store(queries[first_query + q], sums[0][q], sums[1][q], sums[2][q], sums[3][q],
            keys.fine_scale + token, scores.row(first_query + q).data() + place_of_scores);
    }
  }

  static void ScoreGroup(const CodeQueries& queries, const KeyCodes& keys, size_t group,
                         const Planes& next, MatrixView<float> scores, size_t place) {
    size_t q = 0;
    for (; q + 4 <= queries.size(); q += 4) {
      ScoreGroup<4>(queries, q, keys, group, next, scores, place);
    }
    for (; q < queries.size(); ++q) {
      ScoreGroup<1>(queries, q, keys, group, next, scores, place);
    }
  }

  static void Score(const CodeQueries& queries, const KeyCodes& keys, MatrixView<float> scores,
                    std::span<ScoreFilter> filters, const KeyCodes& upcoming) {
    const CodesAhead ahead(keys, upcoming, /*is_fine=*/true);
    for (size_t group = 0; group < keys.group_count; ++group) {
      ahead.PrefetchNumbers(group);
      const Planes next = {
          ahead.high.At(group * HighBytes(keys.head_dim) + CodesAhead::kAheadBytes),
          ahead.low.At(group * LowBytes(keys.head_dim) + CodesAhead::kAheadBytes)};
      const size_t place = group * kCodeGroupTokens;
      ScoreGroup(queries, keys, group, next, scores, place);
      FilterQueries(scores, place, keys.fine_scale, keys.fine_error, group, filters);
    }
  }

  static void ScoreListed(const CodeQueries& queries, const ListedCodes& keys,
                          MatrixView<float> scores, std::span<ScoreFilter> filters,
                          std::span<const ListedCodes> upcoming) {
    for (size_t i = 0; i < keys.groups.size(); ++i) {
      const size_t group = keys.groups[i];
      const size_t place = i * kCodeGroupTokens;
      ScoreGroup(queries, keys.codes, group, Ask(keys, i + kListedAhead, upcoming), scores, place);
      FilterQueries(scores, place, keys.codes.fine_scale, keys.codes.fine_error, group, filters);
    }
  }

 private:
  // Groups of 4.5 KiB that are asked for before they are scored.
  static constexpr size_t kListedAhead = 4;

  // Fetches the scales and errors of the group that comes as number `i`. Returns its planes.
  static HWY_INLINE Planes Ask(const ListedCodes& keys, size_t i,
                               std::span<const ListedCodes> upcoming) {
    const ListedCodes* listed = &keys;
    for (size_t next = 0; i >= listed->groups.size(); ++next) {
      i -= listed->groups.size();
      if (next == upcoming.size()) return PlanesOf(keys.codes, keys.groups.front());
      listed = &upcoming[next];
    }
    const size_t group = listed->groups[i];
    const auto ask = [&](const uint16_t* numbers) {
      CodesAhead::PrefetchCodes<CodesAhead::kGroupNumberBytes>(
          reinterpret_cast<const std::byte*>(numbers + group * kCodeGroupTokens));
    };
    ask(listed->codes.fine_scale);
    ask(listed->codes.fine_error);
    return PlanesOf(listed->codes, group);
  }
#undef ALAYA_VNNI
};

#endif  // HWY_TARGET == HWY_AVX3

void FineScores(const CodeQueries& queries, const KeyCodes& keys, MatrixView<float> scores,
                std::span<ScoreFilter> filters, const KeyCodes& upcoming) {
#if HWY_TARGET == HWY_AVX3
  if (VnniScores::Supported()) return VnniScores::Score(queries, keys, scores, filters, upcoming);
#endif
  (void)upcoming;
  for (size_t group = 0; group < keys.group_count; ++group) {
    const size_t place = group * kCodeGroupTokens;
    FineGroup(queries, keys, group, scores, place);
    FilterQueries(scores, place, keys.fine_scale, keys.fine_error, group, filters);
  }
}

void ListedFineScores(const CodeQueries& queries, const ListedCodes& keys, MatrixView<float> scores,
                      std::span<ScoreFilter> filters, std::span<const ListedCodes> upcoming) {
#if HWY_TARGET == HWY_AVX3
  if (VnniScores::Supported()) {
    return VnniScores::ScoreListed(queries, keys, scores, filters, upcoming);
  }
#endif
  (void)upcoming;
  for (size_t i = 0; i < keys.groups.size(); ++i) {
    const size_t place = i * kCodeGroupTokens;
    FineGroup(queries, keys.codes, keys.groups[i], scores, place);
    FilterQueries(scores, place, keys.codes.fine_scale, keys.codes.fine_error, keys.groups[i],
                  filters);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace alaya {

HWY_EXPORT(FineScores);
HWY_EXPORT(ListedFineScores);

void FineScores(const CodeQueries& queries, const KeyCodes& keys, MatrixView<float> scores,
                std::span<ScoreFilter> filters, const KeyCodes& upcoming) {
  assert(queries.head_dim() == keys.head_dim && scores.rows() == queries.size());
  assert(scores.cols() == keys.token_count());
  assert(filters.empty() || filters.size() == queries.size());
  HWY_DYNAMIC_DISPATCH(FineScores)(queries, keys, scores, filters, upcoming);
}

void ListedFineScores(const CodeQueries& queries, const ListedCodes& keys, MatrixView<float> scores,
                      std::span<ScoreFilter> filters, std::span<const ListedCodes> upcoming) {
  assert(queries.head_dim() == keys.codes.head_dim && scores.rows() == queries.size());
  assert(scores.cols() == keys.groups.size() * kCodeGroupTokens);
  assert(filters.empty() || filters.size() == queries.size());
  HWY_DYNAMIC_DISPATCH(ListedFineScores)(queries, keys, scores, filters, upcoming);
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
