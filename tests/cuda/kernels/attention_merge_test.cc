#include "cuda/kernels/attention_merge.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "cuda/device/device_list.h"
#include "index/attention/attention_merge.h"

namespace alaya {
namespace {

constexpr float kEmpty = -std::numeric_limits<float>::infinity();

struct FreeOnDevice {
  void operator()(float* data) const { cudaFree(data); }
};
using DeviceFloats = std::unique_ptr<float, FreeOnDevice>;

DeviceFloats ToDevice(const std::vector<float>& host) {
  void* device = nullptr;
  EXPECT_EQ(cudaMalloc(&device, host.size() * sizeof(float)), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(device, host.data(), host.size() * sizeof(float), cudaMemcpyHostToDevice),
            cudaSuccess);
  return DeviceFloats(static_cast<float*>(device));
}

std::vector<float> ToHost(const DeviceFloats& device, size_t count) {
  std::vector<float> host(count);
  EXPECT_EQ(cudaMemcpy(host.data(), device.get(), count * sizeof(float), cudaMemcpyDeviceToHost),
            cudaSuccess);
  return host;
}

// Random attention; every third query has no tokens.
struct Part {
  std::vector<float> output;
  std::vector<float> log_sum_exp;
};
Part RandomPart(size_t query_count, size_t head_dim, uint32_t seed, size_t empty_phase) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Part part{std::vector<float>(query_count * head_dim), std::vector<float>(query_count)};
  for (size_t q = 0; q < query_count; ++q) {
    const bool empty = q % 3 == empty_phase;
    part.log_sum_exp[q] = empty ? kEmpty : 40 * normal(random);
    for (size_t i = 0; i < head_dim; ++i) {
      part.output[q * head_dim + i] = empty ? 0 : normal(random);
    }
  }
  return part;
}

TEST(CudaAttentionMergeTest, EqualsTheMergeOnTheCpu) {
  const auto devices = ListCudaDevices();
  if (!devices.ok() || devices->empty()) GTEST_SKIP() << "this machine has no CUDA device";
  for (const size_t head_dim : {8U, 64U, 96U, 128U, 256U}) {
    constexpr size_t kQueryCount = 37;
    const Part part = RandomPart(kQueryCount, head_dim, 1, 0);
    Part total = RandomPart(kQueryCount, head_dim, 2, 1);
    total.log_sum_exp[0] = kEmpty;  // both empty
    for (size_t i = 0; i < head_dim; ++i) total.output[i] = 0;
    const DeviceFloats part_output = ToDevice(part.output);
    const DeviceFloats part_lse = ToDevice(part.log_sum_exp);
    const DeviceFloats total_output = ToDevice(total.output);
    const DeviceFloats total_lse = ToDevice(total.log_sum_exp);

    cudaStream_t stream = nullptr;
    ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
    ASSERT_EQ(
        LaunchMergeAttention({part_output.get(), part_lse.get()},
                             {total_output.get(), total_lse.get()}, kQueryCount, head_dim, stream),
        cudaSuccess);
    ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    ASSERT_EQ(cudaStreamDestroy(stream), cudaSuccess);

    MergeAttention(
        {MatrixView<const float>(part.output.data(), kQueryCount, head_dim), part.log_sum_exp},
        {MatrixView<float>(total.output.data(), kQueryCount, head_dim), total.log_sum_exp});
    const std::vector<float> output = ToHost(total_output, total.output.size());
    const std::vector<float> log_sum_exp = ToHost(total_lse, kQueryCount);
    for (size_t i = 0; i < output.size(); ++i) EXPECT_NEAR(output[i], total.output[i], 1e-5);
    for (size_t q = 0; q < kQueryCount; ++q) {
      if (total.log_sum_exp[q] == kEmpty) {
        EXPECT_EQ(log_sum_exp[q], kEmpty);
      } else {
        EXPECT_NEAR(log_sum_exp[q], total.log_sum_exp[q], 1e-5 * std::abs(log_sum_exp[q]) + 1e-6);
      }
    }
  }
}

}  // namespace
}  // namespace alaya
