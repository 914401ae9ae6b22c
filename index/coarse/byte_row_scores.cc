#include "index/coarse/byte_row_scores.h"

#include <cassert>
#include <cstddef>

// Compiles the code inside HWY_NAMESPACE once per instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/coarse/byte_row_scores.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.h:
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace alaya {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void ByteRowScores(std::span<const float> weights, std::span<const uint8_t> rows,
                   std::span<float> scores) {
  // At most 16 lanes, so that the weights are whole vectors.
  const hn::CappedTag<float, 16> d;
  const hn::RebindToSigned<decltype(d)> d_int;
  const hn::Rebind<uint8_t, decltype(d)> d_bytes;
  const size_t lanes = hn::Lanes(d);
  for (size_t i = 0; i < scores.size(); ++i) {
    const uint8_t* row = rows.data() + i * weights.size();
    auto sum = hn::Zero(d);
    for (size_t j = 0; j < weights.size(); j += lanes) {
      const auto bytes = hn::PromoteTo(d_int, hn::LoadU(d_bytes, row + j));
      sum = hn::MulAdd(hn::LoadU(d, &weights[j]), hn::ConvertTo(d, bytes), sum);
    }
    scores[i] = hn::GetLane(hn::SumOfLanes(d, sum));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace alaya {

HWY_EXPORT(ByteRowScores);

void ByteRowScores(std::span<const float> weights, std::span<const uint8_t> rows,
                   std::span<float> scores) {
  assert(weights.size() % 16 == 0 && rows.size() == scores.size() * weights.size());
  HWY_DYNAMIC_DISPATCH(ByteRowScores)(weights, rows, scores);
}

void ByteRowScoresReference(std::span<const float> weights, std::span<const uint8_t> rows,
                            std::span<double> scores) {
  for (size_t i = 0; i < scores.size(); ++i) {
    scores[i] = 0;
    for (size_t j = 0; j < weights.size(); ++j) {
      scores[i] += double{weights[j]} * static_cast<double>(rows[i * weights.size() + j]);
    }
  }
}

}  // namespace alaya
#endif  // HWY_ONCE
