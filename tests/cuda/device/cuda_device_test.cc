#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "cuda/device/cuda_memory.h"
#include "cuda/device/cuda_stream.h"
#include "cuda/device/device_list.h"

namespace alaya {
namespace {

class CudaDeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto devices = ListCudaDevices();
    if (!devices.ok() || devices->empty()) GTEST_SKIP() << "this machine has no CUDA device";
  }
};

TEST_F(CudaDeviceTest, BlocksOfAReservationHoldWhatIsCopiedThere) {
  const auto memory = DeviceMemory::Reserve(0, 1 << 20);
  ASSERT_TRUE(memory.ok());
  const auto first = (*memory)->pool().Allocate(1000);
  const auto second = (*memory)->pool().Allocate(1000);
  ASSERT_TRUE(first.ok() && second.ok());
  const auto stream = CudaStream::Create();
  const auto pinned = AllocatePinned(2000);
  ASSERT_TRUE(stream.ok() && pinned.ok());
  for (size_t i = 0; i < 1000; ++i) pinned->bytes()[i] = static_cast<std::byte>(i % 251);

  const std::byte* from = pinned->bytes().data();
  std::byte* a = (*memory)->address(*first);
  std::byte* b = (*memory)->address(*second);
  ASSERT_EQ(cudaMemcpyAsync(a, from, 1000, cudaMemcpyHostToDevice, stream->get()), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(b, a, 1000, cudaMemcpyDeviceToDevice, stream->get()), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(pinned->bytes().data() + 1000, b, 1000, cudaMemcpyDeviceToHost,
                            stream->get()),
            cudaSuccess);
  ASSERT_TRUE(stream->Wait().ok());

  for (size_t i = 0; i < 1000; ++i) EXPECT_EQ(pinned->bytes()[i], pinned->bytes()[1000 + i]);
}

TEST_F(CudaDeviceTest, AReservationBeyondTheDeviceIsRefused) {
  const auto memory = DeviceMemory::Reserve(0, uint64_t{1} << 50);

  EXPECT_EQ(memory.status().code(), StatusCode::kResourceExhausted);
}

TEST_F(CudaDeviceTest, ARecordedSequenceRunsAsOftenAsItIsLaunched) {
  const auto memory = DeviceMemory::Reserve(0, 1 << 20);
  const auto stream = CudaStream::Create();
  ASSERT_TRUE(memory.ok() && stream.ok());
  const auto block = (*memory)->pool().Allocate(1);
  ASSERT_TRUE(block.ok());
  std::byte* data = (*memory)->address(*block);

  const auto graph =
      stream->Capture([&](cudaStream_t target) { return cudaMemsetAsync(data, 7, 256, target); });
  ASSERT_TRUE(graph.ok());
  auto begin = CudaEvent::Create();
  auto end = CudaEvent::Create();
  ASSERT_TRUE(begin.ok() && end.ok());
  ASSERT_TRUE(begin->Record(stream->get()).ok());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(graph->Launch(stream->get()).ok());
  ASSERT_TRUE(end->Record(stream->get()).ok());
  ASSERT_TRUE(end->Wait().ok());

  std::vector<unsigned char> read(256);
  ASSERT_EQ(cudaMemcpy(read.data(), data, 256, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(read, std::vector<unsigned char>(256, 7));
  EXPECT_GT(*end->MillisecondsSince(*begin), 0);
}

TEST_F(CudaDeviceTest, WhatAGraphCannotHoldIsAnError) {
  const auto stream = CudaStream::Create();
  ASSERT_TRUE(stream.ok());

  const auto graph =
      stream->Capture([](cudaStream_t target) { return cudaStreamSynchronize(target); });

  EXPECT_EQ(graph.status().code(), StatusCode::kUnavailable);
}

}  // namespace
}  // namespace alaya
