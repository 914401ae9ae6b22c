// Runs a test suite once per instruction set that this machine and build support.

#ifndef ALAYA_TESTS_INDEX_KERNELS_EACH_INSTRUCTION_SET_H_
#define ALAYA_TESTS_INDEX_KERNELS_EACH_INSTRUCTION_SET_H_

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "hwy/highway.h"
#include "hwy/targets.h"

namespace alaya {

// The parameter is a Highway target; kernels use it while the test runs.
class EachInstructionSetTest : public testing::TestWithParam<int64_t> {
 public:
  static std::vector<int64_t> Targets() {
    std::vector<int64_t> targets;
    for (int64_t left = hwy::SupportedTargets() & HWY_TARGETS; left != 0; left &= left - 1) {
      targets.push_back(left & -left);
    }
    return targets;
  }
  static std::string TargetName(const testing::TestParamInfo<int64_t>& target) {
    return hwy::TargetName(target.param);
  }

 protected:
  void SetUp() override { Use(GetParam()); }
  void TearDown() override { Use(0); }  // all of them again

 private:
  static void Use(int64_t targets) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

}  // namespace alaya

#define ALAYA_EACH_INSTRUCTION_SET(Suite)                                                 \
  INSTANTIATE_TEST_SUITE_P(Targets, Suite,                                                \
                           testing::ValuesIn(::alaya::EachInstructionSetTest::Targets()), \
                           ::alaya::EachInstructionSetTest::TargetName)

#endif  // ALAYA_TESTS_INDEX_KERNELS_EACH_INSTRUCTION_SET_H_
