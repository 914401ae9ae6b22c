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
  const size_t rows = HighRowCount(queries.coarse_dim());
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

// Weights of coarse scores, off by a nat, are exponentials as a float's bits have them: linear in
// the mantissa, right on average, off by 4 % at most. One more and their squares would be 2^254.
constexpr float kBitsPerNat = 0x1p23F * 1.442695041F;
constexpr float kBitsOfOne = 0x1p23F * (127 - 0.0573F);
constexpr float kBitsMax = 0x1p23F * 189;

// Of a group's scores.
void WeighScores(const float* scores, const GroupNumbers& numbers, size_t group,
                 const CoarseWeighing& weighing) {
  const FloatTag d;
  const hn::RebindToSigned<FloatTag> d_bits;
  const auto scale = hn::Set(d, weighing.scale * kBitsPerNat);
  const auto error_factor = hn::Set(d, weighing.error_nats * kBitsPerNat);
  auto sum = hn::Zero(d);
  auto square_sum = hn::Zero(d);
  for (size_t t = 0; t < kCodeGroupTokens; t += hn::Lanes(d)) {
    const auto error = hn::Load(d, numbers.errors + t);
    const auto above = hn::Sub(hn::LoadU(d, scores + t), hn::Set(d, weighing.top));
    const auto bits = hn::NegMulAdd(hn::Mul(error_factor, error), error,
                                    hn::MulAdd(scale, above, hn::Set(d, kBitsOfOne)));
    // What is not a number is nothing.
    const auto bounded =
        hn::IfThenElseZero(hn::Gt(bits, hn::Zero(d)), hn::Min(bits, hn::Set(d, kBitsMax)));
    const auto weight = hn::BitCast(d, hn::ConvertTo(d_bits, bounded));
    sum = hn::Add(sum, weight);
    square_sum = hn::MulAdd(weight, weight, square_sum);
  }
  weighing.weights[group] = hn::GetLane(hn::SumOfLanes(d, sum));
  weighing.square_sums[group] = hn::GetLane(hn::SumOfLanes(d, square_sum));
}

#if HWY_TARGET == HWY_AVX3

// For each of four queries and each quarter of a group the least sum of table entries with which
// a token may reach its filter's bar. With the token's scale s and error e,
//     s (step sum + bias + scale_factor) + error_factor e + centre + constant >= bar.
class LeastSums {
 public:
  static constexpr size_t kQueries = 4;

  LeastSums(const CodeQueries& queries, size_t first_query, std::span<const ScoreFilter> filters) {
    HWY_ALIGN float room[kQueries] = {};
    HWY_ALIGN float error_factor[kQueries] = {};
    HWY_ALIGN float offset[kQueries] = {};
    HWY_ALIGN float inverse_step[kQueries] = {};
    for (size_t i = 0; i < filters.size(); ++i) {
      const CodeQueries::Query& query = queries[first_query + i];
      const ScoreFilter& filter = filters[i];
      const float known = query.centre_score + filter.factors.constant;
      // What may round in the filter, and less than constant holds ready for it.
      const float rounding = 0x1p-20F * (std::fabs(filter.bar) + std::fabs(known));
      room[i] = filter.bar - known - rounding;
      error_factor[i] = filter.factors.error_factor;
      offset[i] = query.table_bias + filter.factors.scale_factor;
      inverse_step[i] = 1 / query.table_step;
    }
    room_ = _mm512_broadcast_f32x4(_mm_load_ps(room));
    error_factor_ = _mm512_broadcast_f32x4(_mm_load_ps(error_factor));
    offset_ = _mm512_broadcast_f32x4(_mm_load_ps(offset));
    inverse_step_ = _mm512_broadcast_f32x4(_mm_load_ps(inverse_step));
  }

  // By the largest scale and error of any token in the quarter; 0 if every sum will do.
  // 128 bits are a quarter, 32 bits in them a query.
  HWY_INLINE __m512i Of(const uint16_t* scales, const uint16_t* errors) const {
    const __m512 scale = Largest(scales);
    const __m512 needed = _mm512_fnmadd_ps(error_factor_, Largest(errors), room_);
    const __m512 sum = _mm512_mul_ps(
        _mm512_fmsub_ps(needed, _mm512_div_ps(_mm512_set1_ps(1), scale), offset_), inverse_step_);
    // One less, for what rounds here. Comparisons are false for what is not a number.
    const __m512 most = _mm512_set1_ps(65536.0F);
    const __m512 one_less =
        _mm512_sub_ps(_mm512_mask_mov_ps(sum, _mm512_cmp_ps_mask(sum, most, _CMP_GE_OQ), most),
                      _mm512_set1_ps(1));
    const __mmask16 is_some = _mm512_cmp_ps_mask(needed, _mm512_setzero_ps(), _CMP_GT_OQ) &
                              _mm512_cmp_ps_mask(one_less, _mm512_setzero_ps(), _CMP_GT_OQ);
    return _mm512_maskz_cvttps_epi32(is_some, one_less);
  }

 private:
  // The largest of each quarter's numbers, four times; those of bf16 that are not negative lie in
  // the order of their bits.
  static HWY_INLINE __m512 Largest(const uint16_t* numbers) {
    const __m512i first = _mm512_loadu_si512(numbers);
    const __m512i second = _mm512_loadu_si512(numbers + 32);
    // Each quarter has two of the eight blocks of 128 bits.
    const __m512i eight = _mm512_max_epu16(_mm512_shuffle_i32x4(first, second, 0x88),
                                           _mm512_shuffle_i32x4(first, second, 0xDD));
    const __m512i four = _mm512_max_epu16(eight, _mm512_shuffle_epi32(eight, _MM_PERM_BADC));
    const __m512i two = _mm512_max_epu16(four, _mm512_shuffle_epi32(four, _MM_PERM_CDAB));
    const __m512i one = _mm512_max_epu16(two, _mm512_slli_epi32(two, 16));
    return _mm512_castsi512_ps(
        _mm512_and_si512(one, _mm512_set1_epi32(static_cast<int32_t>(0xFFFF0000U))));
  }

  __m512 room_;
  __m512 error_factor_;
  __m512 offset_;
  __m512 inverse_step_;
};

// AVX512_VBMI looks up 64 bytes in a table of 64 in one instruction: a lane is a token.
struct VbmiScores {
#define ALAYA_VBMI __attribute__((target(HWY_TARGET_STR ",avx512vbmi")))
  static constexpr size_t kQueriesMax = LeastSums::kQueries;  // at a time

  static bool Supported() {
    static const bool supported = __builtin_cpu_supports("avx512vbmi") != 0;
    return supported;
  }

  // Of a group's tokens, the even and the odd ones, by query. 16 bytes are a quarter's.
  struct Sums {
    HWY_ALIGN uint16_t even[kQueriesMax][kCodeGroupTokens / 2];
    HWY_ALIGN uint16_t odd[kQueriesMax][kCodeGroupTokens / 2];
  };

  // Returns bit 8 * quarter + query for each with a token whose sum is enough. `least`: of
  // LeastSums.
  template <size_t kQueries>
  ALAYA_VBMI static uint32_t SumGroup(const CodeQueries& queries, size_t first_query,
                                      const KeyCodes& keys, size_t group, const CodesAhead& ahead,
                                      __m512i least, Sums& sums) {
    const size_t rows = HighRowCount(queries.coarse_dim());
    // Where it leaves out half of the rows, groups are passed faster.
    const size_t ahead_bytes = queries.coarse_dim() < keys.head_dim
                                   ? CodesAhead::kAheadBytes * 3 / 2
                                   : CodesAhead::kAheadBytes;
    const std::byte* next = ahead.high.At(group * HighBytes(keys.head_dim) + ahead_bytes);
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
      CodesAhead::PrefetchCodes<192>(next + r * kCodeGroupTokens);
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
      const __m512i even = _mm512_sub_epi16(both[q], _mm512_slli_epi16(upper[q], 8));
      const __m512i odd = upper[q];
      _mm512_store_si512(sums.even[q], even);
      _mm512_store_si512(sums.odd[q], odd);
      // The query's number in each quarter, for all its tokens.
      const auto place = static_cast<int16_t>(4 * q | (4 * q + 1) << 8);
      const __m512i bar = _mm512_shuffle_epi8(least, _mm512_set1_epi16(place));
      uint32_t found = _mm512_cmpge_epu16_mask(_mm512_max_epu16(even, odd), bar);
      // Of each byte, whether there is any bit.
      found |= found >> 4;
      found |= found >> 2;
      found |= found >> 1;
      enough |= (found & 0x01010101U) << q;
    }
    return enough;
  }

  // Scales and errors of a group, of its even and its odd tokens.
  struct PairedNumbers {
    HWY_INLINE PairedNumbers(const uint16_t* scale_bits, const uint16_t* error_bits) {
      const __m512i upper = _mm512_set1_epi32(static_cast<int32_t>(0xFFFF0000U));
      ALAYA_UNROLL
      for (size_t i = 0; i < 2; ++i) {
        const __m512i scale_pairs = _mm512_loadu_si512(scale_bits + 32 * i);
        const __m512i error_pairs = _mm512_loadu_si512(error_bits + 32 * i);
        scales[i] = _mm512_castsi512_ps(_mm512_slli_epi32(scale_pairs, 16));
        scales[2 + i] = _mm512_castsi512_ps(_mm512_and_si512(scale_pairs, upper));
        const __m512 even = _mm512_castsi512_ps(_mm512_slli_epi32(error_pairs, 16));
        const __m512 odd = _mm512_castsi512_ps(_mm512_and_si512(error_pairs, upper));
        error_squares[i] = _mm512_mul_ps(even, even);
        error_squares[2 + i] = _mm512_mul_ps(odd, odd);
      }
    }
    __m512 scales[4];
    __m512 error_squares[4];
  };

  // Sums by lanes of a query's weights and of their squares.
  struct Weights {
    __m512 sum;
    __m512 square_sum;
  };

  // Weighs a group by its sums.
  static HWY_INLINE Weights WeighSums(const CodeQueries::Query& query, const uint16_t* even,
                                      const uint16_t* odd, const PairedNumbers& numbers,
                                      const CoarseWeighing& weighing) {
    const float scale = weighing.scale * kBitsPerNat;
    const __m512 step = _mm512_set1_ps(scale * query.table_step);
    const __m512 bias = _mm512_set1_ps(scale * query.table_bias);
    const __m512 centre = _mm512_set1_ps(scale * (query.centre_score - weighing.top) + kBitsOfOne);
    const __m512 error_factor = _mm512_set1_ps(weighing.error_nats * kBitsPerNat);
    Weights weights = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    ALAYA_UNROLL
    for (size_t i = 0; i < 4; ++i) {
      const uint16_t* sums = (i < 2 ? even : odd) + 16 * (i % 2);
      const __m256i sixteen = _mm256_load_si256(reinterpret_cast<const __m256i*>(sums));
      const __m512 levels =
          _mm512_fmadd_ps(step, _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(sixteen)), bias);
      const __m512 offset = _mm512_fnmadd_ps(error_factor, numbers.error_squares[i], centre);
      // What is not a number is nothing.
      const __m512 bits =
          _mm512_max_ps(_mm512_fmadd_ps(levels, numbers.scales[i], offset), _mm512_setzero_ps());
      const __m512i whole = _mm512_cvtps_epi32(_mm512_min_ps(bits, _mm512_set1_ps(kBitsMax)));
      const __m512 weight = _mm512_castsi512_ps(whole);
      weights.sum = _mm512_add_ps(weights.sum, weight);
      weights.square_sum = _mm512_fmadd_ps(weight, weight, weights.square_sum);
    }
    return weights;
  }

  // The sums of four vectors' lanes, by four.
  static HWY_INLINE __m512 AddLanes(__m512 a, __m512 b, __m512 c, __m512 d) {
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    return _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));
  }
  static HWY_INLINE __m128 AddQuarters(__m512 fours) {
    const __m256 halves =
        _mm256_add_ps(_mm512_castps512_ps256(fours), _mm512_extractf32x8_ps(fours, 1));
    return _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1));
  }

  template <size_t kQueries>
  static HWY_INLINE void WeighGroup(const CodeQueries& queries, size_t first_query,
                                    const Sums& sums, const PairedNumbers& numbers, size_t group,
                                    std::span<const CoarseWeighing> weighing) {
    Weights weights[kQueriesMax];
    ALAYA_UNROLL
    for (size_t q = 0; q < kQueriesMax; ++q) {
      weights[q] = q < kQueries ? WeighSums(queries[first_query + q], sums.even[q], sums.odd[q],
                                            numbers, weighing[q])
                                : weights[0];
    }
    HWY_ALIGN float all[kQueriesMax];
    HWY_ALIGN float squares[kQueriesMax];
    _mm_store_ps(
        all, AddQuarters(AddLanes(weights[0].sum, weights[1].sum, weights[2].sum, weights[3].sum)));
    _mm_store_ps(squares, AddQuarters(AddLanes(weights[0].square_sum, weights[1].square_sum,
                                               weights[2].square_sum, weights[3].square_sum)));
    ALAYA_UNROLL
    for (size_t q = 0; q < kQueries; ++q) {
      weighing[q].weights[group] = all[q];
      weighing[q].square_sums[group] = squares[q];
    }
  }

  // After what was listed before; filter.count counts these already.
  static HWY_INLINE void ListFound(__mmask16 found, __m512i at, __m512 upper, ScoreFilter& filter) {
    const size_t count = filter.count - static_cast<size_t>(std::popcount(uint32_t{found}));
    const __m512i token =
        _mm512_add_epi32(at, _mm512_set1_epi32(static_cast<int32_t>(filter.first_token)));
    _mm512_storeu_si512(&filter.tokens[count], _mm512_maskz_compress_epi32(found, token));
    _mm512_storeu_ps(&filter.upper[count], _mm512_maskz_compress_ps(found, upper));
  }

  // Passes a quarter of a group, with its sums, through a filter.
  static HWY_INLINE void FilterQuarter(const CodeQueries::Query& query, const uint16_t* even,
                                       const uint16_t* odd, const uint16_t* scales,
                                       const uint16_t* errors, size_t place, ScoreFilter& filter) {
    const __m128i even_sums = _mm_load_si128(reinterpret_cast<const __m128i*>(even));
    const __m128i odd_sums = _mm_load_si128(reinterpret_cast<const __m128i*>(odd));
    const __m256i sums =
        _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_unpacklo_epi16(even_sums, odd_sums)),
                                _mm_unpackhi_epi16(even_sums, odd_sums), 1);
    const auto numbers = [&](const uint16_t* bits) HWY_ATTR {
      const __m256i sixteen = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bits));
      return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(sixteen), 16));
    };
    const __m512 levels = _mm512_fmadd_ps(_mm512_set1_ps(query.table_step),
                                          _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(sums)),
                                          _mm512_set1_ps(query.table_bias));
    const __m512 scale = numbers(scales);
    const __m512 score = _mm512_fmadd_ps(levels, scale, _mm512_set1_ps(query.centre_score));
    const __m512 bound =
        _mm512_fmadd_ps(_mm512_set1_ps(filter.factors.error_factor), numbers(errors),
                        _mm512_fmadd_ps(_mm512_set1_ps(filter.factors.scale_factor), scale,
                                        _mm512_set1_ps(filter.factors.constant)));
    const __m512 upper = _mm512_add_ps(score, bound);
    const __m512i at =
        _mm512_add_epi32(_mm512_set1_epi32(static_cast<int32_t>(place)),
                         _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const __mmask16 is_seen =
        _mm512_cmpge_epu32_mask(at, _mm512_set1_epi32(static_cast<int32_t>(filter.begin))) &
        _mm512_cmplt_epu32_mask(at, _mm512_set1_epi32(static_cast<int32_t>(filter.end)));
    const __mmask16 found =
        _mm512_mask_cmp_ps_mask(is_seen, upper, _mm512_set1_ps(filter.bar), _CMP_GE_OQ);
    filter.count += static_cast<size_t>(std::popcount(uint32_t{found}));
    if (filter.marks != nullptr) {
      filter.marks[place / kCodeGroupTokens] |= uint64_t{found} << place % kCodeGroupTokens;
    } else {
      ListFound(found, at, upper, filter);
    }
    const __mmask16 is_top =
        _mm512_mask_cmp_ps_mask(found, score, _mm512_set1_ps(filter.top), _CMP_GT_OQ);
    if (is_top == 0) return;
    filter.top = _mm512_mask_reduce_max_ps(is_top, score);
    const __mmask16 best =
        _mm512_mask_cmp_ps_mask(is_top, score, _mm512_set1_ps(filter.top), _CMP_EQ_OQ);
    filter.top_token = filter.first_token + static_cast<uint32_t>(place) +
                       static_cast<uint32_t>(std::countr_zero(uint32_t{best}));
  }

  static void Filter(const CodeQueries& queries, const KeyCodes& keys,
                     std::span<ScoreFilter> filters, const KeyCodes& upcoming,
                     std::span<const CoarseWeighing> weighing) {
    const CodesAhead ahead(keys, upcoming, /*is_fine=*/false);
    const auto some = [&](size_t first, size_t count) {
      return weighing.empty() ? weighing : weighing.subspan(first, count);
    };
    size_t q = 0;
    for (; q + 4 <= queries.size(); q += 4) {
      FilterSome<4>(queries, q, keys, filters.subspan(q, 4), ahead, some(q, 4));
    }
    for (; q < queries.size(); ++q) {
      FilterSome<1>(queries, q, keys, filters.subspan(q, 1), ahead, some(q, 1));
    }
  }

  template <size_t kQueries>
  static void FilterSome(const CodeQueries& queries, size_t first_query, const KeyCodes& keys,
                         std::span<ScoreFilter> filters, const CodesAhead& ahead,
                         std::span<const CoarseWeighing> weighing) {
    const LeastSums least_sums(queries, first_query, filters);
    for (size_t group = 0; group < keys.group_count; ++group) {
      ahead.PrefetchNumbers(group);
      const size_t place = group * kCodeGroupTokens;
      const uint16_t* scales = keys.coarse_scale + place;
      const uint16_t* errors = keys.coarse_error + place;
      Sums sums;
      const uint32_t enough = SumGroup<kQueries>(queries, first_query, keys, group, ahead,
                                                 least_sums.Of(scales, errors), sums);
      for (uint32_t left = enough; left != 0; left &= left - 1) {
        const auto bit = static_cast<size_t>(std::countr_zero(left));
        const size_t quarter = bit / 8;
        const size_t q = bit % 8;
        FilterQuarter(queries[first_query + q], &sums.even[q][8 * quarter],
                      &sums.odd[q][8 * quarter], scales + 16 * quarter, errors + 16 * quarter,
                      place + 16 * quarter, filters[q]);
      }
      if (weighing.empty()) continue;
      WeighGroup<kQueries>(queries, first_query, sums, PairedNumbers(scales, errors), group,
                           weighing);
    }
  }
  // 16-bit sums hold 4096 elements.
  static constexpr size_t kHeadDimMax = 2048;
#undef ALAYA_VBMI
};

#endif  // HWY_TARGET == HWY_AVX3

void FilterCoarseScores(const CodeQueries& queries, const KeyCodes& keys,
                        std::span<ScoreFilter> filters, const KeyCodes& upcoming,
                        std::span<const CoarseWeighing> weighing) {
#if HWY_TARGET == HWY_AVX3
  if (VbmiScores::Supported() && keys.head_dim <= VbmiScores::kHeadDimMax) {
    return VbmiScores::Filter(queries, keys, filters, upcoming, weighing);
  }
#endif
  (void)upcoming;
  float scores[kCodeGroupTokens];
  for (size_t group = 0; group < keys.group_count; ++group) {
    const size_t place = group * kCodeGroupTokens;
    const GroupNumbers numbers(keys.coarse_scale + place, keys.coarse_error + place);
    for (size_t q = 0; q < queries.size(); ++q) {
      const bool looks = LooksAt(filters[q], place);
      if (!looks && weighing.empty()) continue;
      CoarseGroup(queries, q, keys, group, scores);
      if (looks) FilterGroup(scores, numbers, place, filters[q]);
      if (!weighing.empty()) WeighScores(scores, numbers, group, weighing[q]);
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
                        std::span<ScoreFilter> filters, const KeyCodes& upcoming,
                        std::span<const CoarseWeighing> weighing) {
  assert(queries.head_dim() == keys.head_dim && filters.size() == queries.size());
  assert(weighing.empty() || weighing.size() == queries.size());
  HWY_DYNAMIC_DISPATCH(FilterCoarseScores)(queries, keys, filters, upcoming, weighing);
}

void CoarseScoresReference(const CodeQueries& queries, MatrixView<const float> rotated,
                           const KeyCodes& keys, MatrixView<double> scores) {
  for (size_t q = 0; q < queries.size(); ++q) {
    for (size_t token = 0; token < keys.token_count(); ++token) {
      double sum = 0;
      for (size_t i = 0; i < queries.coarse_dim(); ++i) {
        sum += (HighCode(keys, token, i) - 1.5) * double{rotated.row(q)[i]};
      }
      scores.row(q)[token] =
          double{queries[q].centre_score} + sum * BF16ToFloat(keys.coarse_scale[token]);
    }
  }
}

}  // namespace alaya
#endif  // HWY_ONCE
