// Which tokens of a group may reach the queries' bars; compiled once per instruction set.

#if defined(ALAYA_INDEX_KERNELS_SCORE_FILTER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ALAYA_INDEX_KERNELS_SCORE_FILTER_INL_H_
#undef ALAYA_INDEX_KERNELS_SCORE_FILTER_INL_H_
#else
#define ALAYA_INDEX_KERNELS_SCORE_FILTER_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "hwy/highway.h"
#include "index/kernels/code_scores.h"
#include "index/kernels/key_codes.h"
#include "index/kernels/mask_bits-inl.h"

HWY_BEFORE_NAMESPACE();
namespace alaya {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Scales and errors of a group as floats; the queries share them.
struct GroupNumbers {
  HWY_INLINE GroupNumbers(const uint16_t* scale_bits, const uint16_t* error_bits) {
    const hn::ScalableTag<float> d;
    const hn::RebindToUnsigned<decltype(d)> d_bits;
    const hn::Rebind<uint16_t, decltype(d)> d_half;
    const auto number = [&](const uint16_t* bits) HWY_ATTR {
      return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d_bits, hn::LoadU(d_half, bits))));
    };
    auto scale_max = hn::Zero(d);
    auto error_max = hn::Zero(d);
    for (size_t t = 0; t < kCodeGroupTokens; t += hn::Lanes(d)) {
      const auto scale = number(scale_bits + t);
      const auto error = number(error_bits + t);
      scale_max = hn::Max(scale_max, scale);
      error_max = hn::Max(error_max, error);
      hn::Store(scale, d, scales + t);
      hn::Store(error, d, errors + t);
    }
    largest_scale = hn::GetLane(hn::MaxOfLanes(d, scale_max));
    largest_error = hn::GetLane(hn::MaxOfLanes(d, error_max));
  }
  HWY_ALIGN float scales[kCodeGroupTokens];
  HWY_ALIGN float errors[kCodeGroupTokens];
  float largest_scale;
  float largest_error;
};

// `top`: the highest of the group's scores that the filter looks at, by lanes.
HWY_INLINE void RaiseTop(hn::Vec<hn::ScalableTag<float>> top, const float* scores, size_t place,
                         ScoreFilter& filter) {
  const hn::ScalableTag<float> d;
  if (hn::AllFalse(d, hn::Gt(top, hn::Set(d, filter.top)))) return;
  filter.top = hn::GetLane(hn::MaxOfLanes(d, top));
  size_t t = filter.begin > place ? filter.begin - place : 0;
  while (scores[t] != filter.top) ++t;
  filter.top_token = filter.first_token + static_cast<uint32_t>(place + t);
}

// Marks what FilterGroup would list.
HWY_INLINE void MarkGroup(const float* scores, const GroupNumbers& numbers, size_t place,
                          ScoreFilter& filter) {
  const hn::ScalableTag<float> d;
  const auto error_factor = hn::Set(d, filter.factors.error_factor);
  const auto scale_factor = hn::Set(d, filter.factors.scale_factor);
  const auto constant = hn::Set(d, filter.factors.constant);
  const auto bar = hn::Set(d, filter.bar);
  auto top = hn::Set(d, -std::numeric_limits<float>::infinity());
  uint64_t found = 0;
  for (size_t t = 0; t < kCodeGroupTokens; t += hn::Lanes(d)) {
    const auto score = hn::LoadU(d, scores + t);
    const auto bound =
        hn::MulAdd(error_factor, hn::Load(d, numbers.errors + t),
                   hn::MulAdd(scale_factor, hn::Load(d, numbers.scales + t), constant));
    found |= BitsOf(d, hn::Ge(hn::Add(score, bound), bar)) << t;
    top = hn::Max(top, score);
  }
  filter.marks[place / kCodeGroupTokens] |= found;
  filter.count += static_cast<size_t>(hwy::PopCount(found));
  RaiseTop(top, scores, place, filter);
}

// `scores`: of the group that begins with token `place` of the block. `kIsWhole`: the
// filter looks at all of them.
template <bool kIsWhole>
HWY_INLINE void FilterGroup(const float* scores, const GroupNumbers& numbers, size_t place,
                            ScoreFilter& filter) {
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> d_bits;
  const auto error_factor = hn::Set(d, filter.factors.error_factor);
  const auto scale_factor = hn::Set(d, filter.factors.scale_factor);
  const auto constant = hn::Set(d, filter.factors.constant);
  const auto bar = hn::Set(d, filter.bar);
  const auto least = hn::Set(d, -std::numeric_limits<float>::infinity());
  const auto places = hn::Iota(d_bits, 0);  // of which GCC makes sixteen stores where it varies
  const auto bound_of = [&](auto scale, auto error) HWY_ATTR {
    return hn::MulAdd(error_factor, error, hn::MulAdd(scale_factor, scale, constant));
  };
  auto top = least;
  if constexpr (kIsWhole) {
    for (size_t t = 0; t < kCodeGroupTokens; t += hn::Lanes(d)) {
      top = hn::Max(top, hn::LoadU(d, scores + t));
    }
    // Rounding keeps order: no token's sum is above that of the largest numbers.
    const auto bound =
        bound_of(hn::Set(d, numbers.largest_scale), hn::Set(d, numbers.largest_error));
    if (hn::AllFalse(d, hn::Ge(hn::Add(top, bound), bar))) {
      return RaiseTop(top, scores, place, filter);
    }
  }
  for (size_t t = 0; t < kCodeGroupTokens; t += hn::Lanes(d)) {
    auto score = hn::LoadU(d, scores + t);
    const auto bound = bound_of(hn::Load(d, numbers.scales + t), hn::Load(d, numbers.errors + t));
    const auto most = hn::Add(score, bound);
    auto above = hn::Ge(most, bar);
    const auto at = hn::Add(places, hn::Set(d_bits, static_cast<uint32_t>(place + t)));
    if constexpr (!kIsWhole) {
      const auto begin = hn::Set(d_bits, static_cast<uint32_t>(filter.begin));
      const auto end = hn::Set(d_bits, static_cast<uint32_t>(filter.end));
      const auto is_seen = hn::RebindMask(d, hn::AndNot(hn::Lt(at, begin), hn::Lt(at, end)));
      above = hn::And(above, is_seen);
      score = hn::IfThenElse(is_seen, score, least);
      top = hn::Max(top, score);
    }
    if (filter.marks != nullptr) {
      filter.marks[place / kCodeGroupTokens] |= BitsOf(d, above) << t;
      filter.count += hn::CountTrue(d, above);
      continue;
    }
    // No branch: most groups that come here have one or two such tokens, anywhere.
    const auto token = hn::Add(at, hn::Set(d_bits, filter.first_token));
    hn::StoreU(hn::Compress(token, hn::RebindMask(d_bits, above)), d_bits,
               &filter.tokens[filter.count]);
    hn::StoreU(hn::Compress(most, above), d, &filter.upper[filter.count]);
    filter.count += hn::CountTrue(d, above);
  }
  RaiseTop(top, scores, place, filter);
}

HWY_INLINE bool LooksAt(const ScoreFilter& filter, size_t place) {
  return filter.begin < place + kCodeGroupTokens && place < filter.end;
}

// Passes a group's scores through a filter that looks at some of them.
HWY_INLINE void FilterGroup(const float* scores, const GroupNumbers& numbers, size_t place,
                            ScoreFilter& filter) {
  if (filter.begin <= place && place + kCodeGroupTokens <= filter.end) {
    if (filter.marks != nullptr) return MarkGroup(scores, numbers, place, filter);
    FilterGroup<true>(scores, numbers, place, filter);
  } else {
    FilterGroup<false>(scores, numbers, place, filter);
  }
}

// Passes the scores of a group, while the cache has them, through the filters; they begin at
// `place_of_scores`.
HWY_INLINE void FilterQueries(MatrixView<const float> scores, size_t place_of_scores,
                              const uint16_t* scales, const uint16_t* errors, size_t group,
                              std::span<ScoreFilter> filters) {
  if (filters.empty()) return;
  const size_t place = group * kCodeGroupTokens;
  const GroupNumbers numbers(scales + place, errors + place);
  for (size_t q = 0; q < filters.size(); ++q) {
    if (!LooksAt(filters[q], place)) continue;
    FilterGroup(scores.row(q).data() + place_of_scores, numbers, place, filters[q]);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#endif  // ALAYA_INDEX_KERNELS_SCORE_FILTER_INL_H_
