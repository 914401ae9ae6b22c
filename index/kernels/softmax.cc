#include "index/kernels/softmax.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

// Compiles the code inside HWY_NAMESPACE once per instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/kernels/softmax.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.h:
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace alaya {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using FloatVector = hn::Vec<FloatTag>;

float MaxScore(std::span<const float> scores) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  auto best = hn::Set(d, -std::numeric_limits<float>::infinity());
  size_t i = 0;
  for (; i + lanes <= scores.size(); i += lanes) {
    best = hn::Max(best, hn::LoadU(d, &scores[i]));
  }
  float max = hn::GetLane(hn::MaxOfLanes(d, best));
  for (; i < scores.size(); ++i) max = std::max(max, scores[i]);
  return max;
}

// 2^x for x <= 0; 0 below 2^-126.
//
// Source: Cephes exp2f; its polynomial's relative error is 1.7e-7 on [-0.5, 0.5].
HWY_INLINE FloatVector Exp2OfNegative(FloatVector x) {
  const FloatTag d;
  const hn::RebindToSigned<FloatTag> d_int;
  const auto lowest = hn::Set(d, -126.0F);
  const auto bounded = hn::Max(x, lowest);
  const auto whole = hn::NearestInt(bounded);
  const auto rest = hn::Sub(bounded, hn::ConvertTo(d, whole));
  auto power = hn::Set(d, 1.535336188319500e-4F);
  power = hn::MulAdd(power, rest, hn::Set(d, 1.339887440266574e-3F));
  power = hn::MulAdd(power, rest, hn::Set(d, 9.618437357674640e-3F));
  power = hn::MulAdd(power, rest, hn::Set(d, 5.550332471162809e-2F));
  power = hn::MulAdd(power, rest, hn::Set(d, 2.402264791363012e-1F));
  power = hn::MulAdd(power, rest, hn::Set(d, 6.931472028550421e-1F));
  power = hn::MulAdd(power, rest, hn::Set(d, 1.0F));
  const auto exponent = hn::ShiftLeft<23>(hn::Add(whole, hn::Set(d_int, 127)));
  return hn::IfThenElseZero(hn::Ge(x, lowest), hn::Mul(power, hn::BitCast(d, exponent)));
}

double SoftmaxWeights(std::span<const float> scores, float scale, float max,
                      std::span<float> weights) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  const auto scale_log2 = hn::Set(d, static_cast<float>(scale * 1.4426950408889634));
  const auto top = hn::Set(d, max);
  const auto weigh = [&](FloatVector score) HWY_ATTR {
    // The difference first: it is exact near the maximum, where it matters.
    return Exp2OfNegative(hn::Mul(hn::Sub(score, top), scale_log2));
  };
  auto sum = hn::Zero(d);
  size_t i = 0;
  for (; i + lanes <= scores.size(); i += lanes) {
    const auto weight = weigh(hn::LoadU(d, &scores[i]));
    hn::StoreU(weight, d, &weights[i]);
    sum = hn::Add(sum, weight);
  }
  double total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < scores.size(); ++i) {
    // The same arithmetic on one lane, so that a weight does not depend on its place.
    weights[i] = hn::GetLane(weigh(hn::Set(d, scores[i])));
    total += double{weights[i]};
  }
  return total;
}

size_t FilterScores(std::span<const float> scores, float bar, uint32_t first_token,
                    std::span<uint32_t> tokens, std::span<float> kept) {
  const FloatTag d;
  const hn::RebindToUnsigned<FloatTag> d_token;
  const size_t lanes = hn::Lanes(d);
  const auto bars = hn::Set(d, bar);
  const auto places = hn::Iota(d_token, 0);  // of which GCC makes sixteen stores where it varies
  size_t count = 0;
  size_t i = 0;
  for (; i + lanes <= scores.size(); i += lanes) {
    const auto score = hn::LoadU(d, &scores[i]);
    const auto above = hn::Ge(score, bars);
    if (hn::AllFalse(d, above)) continue;
    // Compress and a whole store: storing only the chosen lanes is slow on Zen 4.
    const auto token = hn::Add(places, hn::Set(d_token, first_token + static_cast<uint32_t>(i)));
    hn::StoreU(hn::Compress(token, hn::RebindMask(d_token, above)), d_token, &tokens[count]);
    hn::StoreU(hn::Compress(score, above), d, &kept[count]);
    count += hn::CountTrue(d, above);
  }
  for (; i < scores.size(); ++i) {
    if (scores[i] < bar) continue;
    tokens[count] = first_token + static_cast<uint32_t>(i);
    kept[count] = scores[i];
    ++count;
  }
  return count;
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace alaya {

HWY_EXPORT(MaxScore);
HWY_EXPORT(SoftmaxWeights);
HWY_EXPORT(FilterScores);

float MaxScore(std::span<const float> scores) { return HWY_DYNAMIC_DISPATCH(MaxScore)(scores); }

double SoftmaxWeights(std::span<const float> scores, float scale, float max,
                      std::span<float> weights) {
  assert(scores.size() == weights.size() && std::isfinite(max));
  return HWY_DYNAMIC_DISPATCH(SoftmaxWeights)(scores, scale, max, weights);
}

double SoftmaxWeightsReference(std::span<const float> scores, float scale, float max,
                               std::span<double> weights) {
  double sum = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    weights[i] = std::exp(double{scale} * (double{scores[i]} - double{max}));
    sum += weights[i];
  }
  return sum;
}

size_t FilterScores(std::span<const float> scores, float bar, uint32_t first_token,
                    std::span<uint32_t> tokens, std::span<float> kept) {
  assert(tokens.size() >= scores.size() + kFilterPadding);
  assert(kept.size() >= scores.size() + kFilterPadding);
  return HWY_DYNAMIC_DISPATCH(FilterScores)(scores, bar, first_token, tokens, kept);
}

}  // namespace alaya
#endif  // HWY_ONCE
