#include "index/kernels/group_weights.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>

// Compiles the code inside HWY_NAMESPACE once per instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/kernels/group_weights.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.h:
#include "hwy/highway.h"
#include "index/kernels/mask_bits-inl.h"

HWY_BEFORE_NAMESPACE();
namespace alaya {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using FloatVector = hn::Vec<FloatTag>;

// What is added before steps are rounded down: for the 64 places of a group, 64 numbers evenly
// between 0 and 1, such that those of neighbours are, too.
constexpr std::array<float, kCodeGroupTokens> MakeLifts() {
  std::array<float, kCodeGroupTokens> lifts{};
  for (size_t place = 0; place < kCodeGroupTokens; ++place) {
    size_t reversed = 0;
    for (size_t bit = 0; bit < 6; ++bit) reversed |= (place >> bit & 1) << (5 - bit);
    lifts[place] = (static_cast<float>(reversed) + 0.5F) / float{kCodeGroupTokens};
  }
  return lifts;
}
constexpr std::array<float, kCodeGroupTokens> kLifts = MakeLifts();

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

// How many steps below 1 a score's weight is, and that weight.
class Weigher {
 public:
  Weigher(float scale, float top)
      : steps_per_score_(
            static_cast<float>(double{scale} * 1.4426950408889634 * double{kStepsPerOctave})),
        top_(top) {}

  // `lift`: of the tokens' places in their group.
  HWY_INLINE FloatVector Steps(FloatVector scores, FloatVector lift) const {
    const FloatTag d;
    const auto below = hn::Sub(hn::Set(d, top_), scores);
    const auto steps = hn::MulAdd(below, hn::Set(d, steps_per_score_), lift);
    return hn::Floor(hn::Min(steps, hn::Set(d, static_cast<float>(kStepCount))));
  }
  static HWY_INLINE FloatVector Weights(FloatVector steps) {
    const FloatTag d;
    const auto weight =
        CoarseExp2OfNegative(hn::Mul(steps, hn::Set(d, -1.0F / float{kStepsPerOctave})));
    return hn::IfThenElseZero(hn::Lt(steps, hn::Set(d, static_cast<float>(kStepCount))), weight);
  }

 private:
  float steps_per_score_;
  float top_;
};

void FillWeights(std::span<float> weights) {
  const FloatTag d;
  for (size_t i = 0; i < weights.size(); i += hn::Lanes(d)) {
    hn::StoreU(Weigher::Weights(hn::Iota(d, static_cast<float>(i))), d, &weights[i]);
  }
}

WeightTotals GroupWeights(std::span<const float> scores, float scale, float top, GroupSums groups) {
  const FloatTag d;
  const hn::RebindToSigned<FloatTag> d_int;
  const hn::Rebind<uint8_t, FloatTag> d_byte;
  const Weigher weigher(scale, top);
  WeightTotals totals;
  for (size_t g = 0; g < groups.size(); ++g) {
    auto sum = hn::Zero(d);
    auto square_sum = hn::Zero(d);
    auto fewest = hn::Set(d, static_cast<float>(kStepCount));
    for (size_t i = g * kCodeGroupTokens; i < (g + 1) * kCodeGroupTokens; i += hn::Lanes(d)) {
      const auto steps =
          weigher.Steps(hn::LoadU(d, &scores[i]), hn::LoadU(d, &kLifts[i % kCodeGroupTokens]));
      const auto weight = Weigher::Weights(steps);
      fewest = hn::Min(fewest, steps);
      sum = hn::Add(sum, weight);
      square_sum = hn::MulAdd(weight, weight, square_sum);
      hn::StoreU(hn::DemoteTo(d_byte, hn::ConvertTo(d_int, steps)), d_byte, &groups.steps[i]);
    }
    groups.weights[g] = hn::GetLane(hn::SumOfLanes(d, sum));
    groups.square_sums[g] = hn::GetLane(hn::SumOfLanes(d, square_sum));
    groups.fewest_steps[g] = static_cast<uint8_t>(hn::GetLane(hn::MinOfLanes(d, fewest)));
    totals.sum += double{groups.weights[g]};
    totals.square_sum += double{groups.square_sums[g]};
  }
  return totals;
}

void LowerAll(std::span<uint8_t> steps, uint8_t by) {
  const hn::ScalableTag<uint8_t> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= steps.size(); i += lanes) {
    hn::StoreU(hn::SaturatedAdd(hn::LoadU(d, &steps[i]), hn::Set(d, by)), d, &steps[i]);
  }
  for (; i < steps.size(); ++i) {
    steps[i] = static_cast<uint8_t>(std::min<size_t>(kStepCount, size_t{steps[i]} + by));
  }
}

// A bit for each of a group's tokens that has fewer steps than the bar.
HWY_INLINE uint64_t BitsBelow(const uint8_t* steps, uint8_t bar) {
  const hn::CappedTag<uint8_t, kCodeGroupTokens> d;
  const auto bars = hn::Set(d, bar);
  uint64_t bits = 0;
  for (size_t t = 0; t < kCodeGroupTokens; t += hn::Lanes(d)) {
    bits |= BitsOf(d, hn::Lt(hn::LoadU(d, steps + t), bars)) << t;
  }
  return bits;
}

// Calls use(place) for each token of a group with fewer steps than the bar.
template <class Use>
HWY_INLINE void ForTokensBelow(const GroupSums& groups, size_t group, size_t bar, const Use& use) {
  if (groups.fewest_steps[group] >= bar) return;
  const size_t begin = group * kCodeGroupTokens;
  uint64_t bits = BitsBelow(&groups.steps[begin], static_cast<uint8_t>(bar));
  for (; bits != 0; bits &= bits - 1) use(begin + static_cast<size_t>(std::countr_zero(bits)));
}

void CountSteps(GroupSums groups, size_t stride, size_t bar,
                std::span<uint32_t, kStepCount> counts) {
  for (size_t group = 0; group < groups.size(); group += stride) {
    ForTokensBelow(groups, group, bar, [&](size_t place) { ++counts[groups.steps[place]]; });
  }
}

size_t ListBelowBar(GroupSums groups, size_t bar, uint32_t first, std::span<uint32_t> places) {
  size_t count = 0;
  for (size_t group = 0; group < groups.size(); ++group) {
    ForTokensBelow(groups, group, bar,
                   [&](size_t place) { places[count++] = first + static_cast<uint32_t>(place); });
  }
  return count;
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace alaya {

HWY_EXPORT(FillWeights);
HWY_EXPORT(GroupWeights);
HWY_EXPORT(LowerAll);
HWY_EXPORT(CountSteps);
HWY_EXPORT(ListBelowBar);

std::array<float, kStepCount + 1> WeightsOfSteps() {
  std::array<float, kStepCount + 1> weights;
  HWY_DYNAMIC_DISPATCH(FillWeights)(weights);
  return weights;
}

WeightTotals GroupWeights(std::span<const float> scores, float scale, float top, GroupSums groups) {
  assert(scores.size() == groups.size() * kCodeGroupTokens);
  assert(groups.steps.size() == scores.size());
  return HWY_DYNAMIC_DISPATCH(GroupWeights)(scores, scale, top, groups);
}

void LowerWeights(size_t steps, GroupSums groups) {
  const auto by = static_cast<uint8_t>(std::min(steps, kStepCount));
  HWY_DYNAMIC_DISPATCH(LowerAll)(groups.steps, by);
  HWY_DYNAMIC_DISPATCH(LowerAll)(groups.fewest_steps, by);
  const double factor = std::exp2(-static_cast<double>(steps) / kStepsPerOctave);
  for (float& weight : groups.weights) weight = static_cast<float>(double{weight} * factor);
  for (float& sum : groups.square_sums) sum = static_cast<float>(double{sum} * factor * factor);
}

void CountSteps(GroupSums groups, size_t stride, size_t bar,
                std::span<uint32_t, kStepCount> counts) {
  assert(bar <= kStepCount);
  HWY_DYNAMIC_DISPATCH(CountSteps)(groups, stride, bar, counts);
}

size_t ListBelowBar(GroupSums groups, size_t bar, uint32_t first, std::span<uint32_t> places) {
  assert(bar <= kStepCount && places.size() >= groups.steps.size());
  return HWY_DYNAMIC_DISPATCH(ListBelowBar)(groups, bar, first, places);
}

}  // namespace alaya
#endif  // HWY_ONCE
