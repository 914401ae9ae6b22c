#include <gtest/gtest.h>

#include "cuda/device/device_list.h"
#include "server/gpu/gpu.h"

namespace alaya {
namespace {

// Runs on every machine.
TEST(GpuCudaTest, OpensTheFirstDeviceOrSaysThatThereIsNone) {
  const auto devices = ListCudaDevices();
  const auto gpu =
      OpenGpu({.memory_budget_bytes = 256 << 20, .on_given_up = {}, .on_wrong_build = {}});

  if (devices.ok() && !devices->empty()) {
    ASSERT_TRUE(gpu.ok()) << Message(gpu.status());
    EXPECT_EQ((*gpu)->name(), "cuda:0");
    EXPECT_LE((*gpu)->stats().used_bytes, 256U << 20);
  } else {
    EXPECT_EQ(gpu.status().code(), StatusCode::kUnavailable);
    EXPECT_FALSE(Message(gpu.status()).empty());
  }
}

}  // namespace
}  // namespace alaya
