#include "index/kernels/group_weights.h"

#include <algorithm>
#include <cassert>
#include <cmath>

// Compiles the code inside HWY_NAMESPACE once per instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/kernels/group_weights.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.h:
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace alaya {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using FloatVector = hn::Vec<FloatTag>;

// 2^x for x <= 0; 0 below 2^-124. The minimax cubic on [-0.5, 0.5] has a relative
// error of 8e-5.
HWY_INLINE FloatVector CoarseExp2OfNegative(FloatVector x) {
  const FloatTag d;
  const auto lowest = hn::Set(d, -124.0F);
  const auto power_of = [&](FloatVector rest) HWY_ATTR {
    auto power = hn::MulAdd(hn::Set(d, 5.5171500e-2F), rest, hn::Set(d, 2.4261114e-1F));
    power = hn::MulAdd(power, rest, hn::Set(d, 6.9326102e-1F));
    return hn::MulAdd(power, rest, hn::Set(d, 9.9992807e-1F));
  };
#if HWY_TARGET == HWY_AVX3
  // One instruction multiplies by 2^whole, and the mask keeps it from subnormal numbers.
  const __m512 whole_part = _mm512_roundscale_ps(x.raw, _MM_FROUND_TO_NEAREST_INT);
  const FloatVector part_power = power_of(hn::Sub(x, FloatVector{whole_part}));
  return FloatVector{_mm512_maskz_scalef_ps(hn::Gt(x, lowest).raw, part_power.raw, whole_part)};
#else
  const hn::RebindToSigned<FloatTag> d_int;
  const auto bounded = hn::Max(x, lowest);
  const auto whole = hn::NearestInt(bounded);
  const auto power = power_of(hn::Sub(bounded, hn::ConvertTo(d, whole)));
  // Adding to the exponent's bits multiplies by 2^whole: no underflow above lowest.
  const auto bits = hn::Add(hn::BitCast(d_int, power), hn::ShiftLeft<23>(whole));
  return hn::IfThenElseZero(hn::Gt(x, lowest), hn::BitCast(d, bits));
#endif
}

class Weigher {
 public:
  Weigher(float scale, float top)
      : scale_log2_(static_cast<float>(double{scale} * 1.4426950408889634)), top_(top) {}

  HWY_INLINE FloatVector operator()(FloatVector scores) const {
    const FloatTag d;
    const auto below_top = hn::Sub(scores, hn::Set(d, top_));
    return CoarseExp2OfNegative(hn::Mul(below_top, hn::Set(d, scale_log2_)));
  }
  // The same arithmetic on one lane, so that a weight does not depend on its place.
  HWY_INLINE float operator()(float score) const {
    return hn::GetLane((*this)(hn::Set(FloatTag(), score)));
  }

 private:
  float scale_log2_;
  float top_;
};

void CoarseWeights(std::span<const float> scores, float scale, float top,
                   std::span<float> weights) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  const Weigher weigh(scale, top);
  size_t i = 0;
  for (; i + lanes <= scores.size(); i += lanes) {
    hn::StoreU(weigh(hn::LoadU(d, &scores[i])), d, &weights[i]);
  }
  for (; i < scores.size(); ++i) weights[i] = weigh(scores[i]);
}

WeightTotals GroupWeights(std::span<const float> scores, float scale, float top,
                          size_t first_group_tokens, GroupSums groups) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  const Weigher weigh(scale, top);
  WeightTotals totals;
  size_t begin = 0;
  for (size_t g = 0; g < groups.weights.size(); ++g) {
    const size_t group_tokens = g == 0 ? first_group_tokens : kGroupTokens;
    const size_t end = std::min(begin + group_tokens, scores.size());
    auto sum = hn::Zero(d);
    auto square_sum = hn::Zero(d);
    auto highest = hn::Set(d, scores[begin]);
    size_t i = begin;
    for (; i + lanes <= end; i += lanes) {
      const auto score = hn::LoadU(d, &scores[i]);
      const auto weight = weigh(score);
      highest = hn::Max(highest, score);
      sum = hn::Add(sum, weight);
      square_sum = hn::MulAdd(weight, weight, square_sum);
    }
    float group_sum = hn::GetLane(hn::SumOfLanes(d, sum));
    float group_square_sum = hn::GetLane(hn::SumOfLanes(d, square_sum));
    float group_top = hn::GetLane(hn::MaxOfLanes(d, highest));
    for (; i < end; ++i) {
      const float weight = weigh(scores[i]);
      group_sum += weight;
      group_square_sum += weight * weight;
      group_top = std::max(group_top, scores[i]);
    }
    groups.weights[g] = group_sum;
    groups.square_sums[g] = group_square_sum;
    groups.tops[g] = group_top;
    totals.sum += double{group_sum};
    totals.square_sum += double{group_square_sum};
    begin = end;
  }
  return totals;
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace alaya {

HWY_EXPORT(CoarseWeights);
HWY_EXPORT(GroupWeights);

void CoarseWeights(std::span<const float> scores, float scale, float top,
                   std::span<float> weights) {
  assert(scores.size() == weights.size());
  HWY_DYNAMIC_DISPATCH(CoarseWeights)(scores, scale, top, weights);
}

WeightTotals GroupWeights(std::span<const float> scores, float scale, float top,
                          size_t first_group_tokens, GroupSums groups) {
  assert(groups.weights.size() == groups.tops.size());
  assert(groups.weights.size() == groups.square_sums.size());
  assert(first_group_tokens >= 1 && first_group_tokens <= kGroupTokens);
  assert(scores.size() <= first_group_tokens + (groups.weights.size() - 1) * kGroupTokens);
  return HWY_DYNAMIC_DISPATCH(GroupWeights)(scores, scale, top, first_group_tokens, groups);
}

WeightTotals GroupWeightsReference(std::span<const float> scores, float scale, float top,
                                   size_t first_group_tokens, std::span<double> group_sums) {
  std::ranges::fill(group_sums, 0.0);
  WeightTotals totals;
  for (size_t i = 0; i < scores.size(); ++i) {
    const double weight = std::exp(double{scale} * (double{scores[i]} - double{top}));
    const size_t group = i < first_group_tokens ? 0 : 1 + (i - first_group_tokens) / kGroupTokens;
    group_sums[group] += weight;
    totals.sum += weight;
    totals.square_sum += weight * weight;
  }
  return totals;
}

}  // namespace alaya
#endif  // HWY_ONCE
