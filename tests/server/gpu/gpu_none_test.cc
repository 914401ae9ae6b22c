#include <gtest/gtest.h>

#include "server/gpu/gpu.h"

namespace alaya {
namespace {

TEST(GpuNoneTest, SaysThatThisBuildHasNoGpu) {
  const auto gpu =
      OpenGpu({.memory_budget_bytes = 1 << 20, .on_given_up = {}, .on_wrong_build = {}});

  EXPECT_EQ(gpu.status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(Message(gpu.status()), "this build has no GPU backend");
}

}  // namespace
}  // namespace alaya
