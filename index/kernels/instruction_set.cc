#include "index/kernels/instruction_set.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/kernels/instruction_set.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target.h:
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace alaya {
namespace HWY_NAMESPACE {

std::string_view InstructionSet() {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  return "AVX-512";
#elif HWY_TARGET == HWY_AVX2
  return "AVX2";
#elif HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR
  return "scalar";
#else
  return hwy::TargetName(HWY_TARGET);
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace alaya
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace alaya {

HWY_EXPORT(InstructionSet);

std::string_view InstructionSet() { return HWY_DYNAMIC_DISPATCH(InstructionSet)(); }

}  // namespace alaya
#endif  // HWY_ONCE
