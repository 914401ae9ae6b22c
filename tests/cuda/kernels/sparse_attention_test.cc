#include "cuda/kernels/sparse_attention.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "cuda/device/cuda_memory.h"
#include "cuda/device/cuda_stream.h"
#include "cuda/device/device_list.h"
#include "tests/cuda/kernels/sparse_fixture.h"

namespace alaya {
namespace {

constexpr float kLogAlpha = -4.4228486F;  // ln(0.012)

// Copies to and from one reservation.
class DeviceArena {
 public:
  DeviceArena() : memory_(*DeviceMemory::Reserve(0, uint64_t{256} << 20)) {}

  // Poisoned: NaN in every type of float.
  std::byte* Take(size_t bytes) {
    blocks_.push_back(*memory_->pool().Allocate(bytes + 1));
    std::byte* data = memory_->address(blocks_.back());
    EXPECT_EQ(cudaMemset(data, 0xFF, bytes), cudaSuccess);
    return data;
  }
  template <class T>
  T* Copy(std::span<const T> host) {
    std::byte* data = Take(host.size_bytes());
    EXPECT_EQ(cudaMemcpy(data, host.data(), host.size_bytes(), cudaMemcpyHostToDevice),
              cudaSuccess);
    return reinterpret_cast<T*>(data);
  }
  template <class T>
  static void Read(const T* device, std::span<T> host) {
    EXPECT_EQ(cudaMemcpy(host.data(), device, host.size_bytes(), cudaMemcpyDeviceToHost),
              cudaSuccess);
  }

 private:
  std::unique_ptr<DeviceMemory> memory_;
  std::vector<PoolBlock> blocks_;
};

class SparseAttentionTest : public testing::TestWithParam<SparseCase> {
 protected:
  void SetUp() override {
    const auto devices = ListCudaDevices();
    if (!devices.ok() || devices->empty()) GTEST_SKIP() << "this machine has no CUDA device";
    arena_ = std::make_unique<DeviceArena>();
    stream_ = std::make_unique<CudaStream>(*CudaStream::Create());
    head_ = at().Head();
  }

  const SparseCase& at() const { return GetParam(); }

  std::span<const std::byte> Bytes(const DeviceRows& rows) const {
    return {rows.data, at().token_count * rows.stride_bytes};
  }
  DeviceRows RowsAt(const std::byte* data, const DeviceRows& rows) const {
    return {data, rows.stride_bytes, rows.dtype};
  }

  // The head's task over rows in device memory, or in pinned host memory.
  SparseTask MakeTask(bool is_pinned) {
    SparseTask task = head_->task();
    const DeviceRows host_keys = task.keys;
    const DeviceRows host_values = task.values;
    task.keys = RowsAt(Place(Bytes(host_keys), is_pinned), host_keys);
    task.values = RowsAt(Place(Bytes(host_values), is_pinned), host_values);
    task.windows[0] = {task.keys, task.values, head_->sink};
    const size_t recent = size_t{task.token_end} * host_keys.stride_bytes;
    task.windows[1] = {RowsAt(task.keys.data + recent, host_keys),
                       RowsAt(task.values.data + recent, host_values), head_->recent};
    task.head = FlatHeadAt(arena_->Take(FlatHeadBytes(at().head_dim, at().token_count)),
                           at().head_dim, at().token_count);
    EXPECT_EQ(LaunchEncodeFlatHead({task.keys, task.values, task.head}, stream_->get()),
              cudaSuccess);
    EXPECT_TRUE(stream_->Wait().ok());
    return task;
  }

  // Launches once, and once more from a graph, which has to answer the same.
  SparseAnswer Answer(const SparseTask& task, const SparseOptions& options) {
    SparseAnswer answer(std::span(&task, 1), at().head_dim, at().Queries());
    SparseBatch batch;
    batch.tasks = arena_->Copy(std::span(&task, 1));
    batch.queries = arena_->Copy(std::span<const float>(answer.queries));
    batch.scratch = arena_->Take(SparseScratchBytes(answer.shape));
    batch.outputs = arena_->Copy(std::span<const float>(answer.outputs));
    batch.log_sum_exps = arena_->Copy(std::span<const float>(answer.log_sum_exps));
    batch.rest_shares = arena_->Copy(std::span<const float>(answer.rest_shares));
    batch.step = arena_->Copy(std::span<const uint32_t>(answer.step));
    batch.counts.tokens_attended = arena_->Copy(std::span<const uint32_t>(answer.tokens_attended));
    batch.counts.rows_scored = arena_->Copy(std::span<const uint32_t>(answer.rows_scored));
    EXPECT_EQ(LaunchSparseAttention(answer.shape, options, batch, stream_->get()), cudaSuccess);
    EXPECT_TRUE(stream_->Wait().ok());
    std::vector<float> launched(answer.outputs.size());
    DeviceArena::Read(batch.outputs, std::span(launched));

    const auto graph = stream_->Capture([&](cudaStream_t target) {
      return LaunchSparseAttention(answer.shape, options, batch, target);
    });
    EXPECT_TRUE(graph.ok() && graph->Launch(stream_->get()).ok() && stream_->Wait().ok());
    DeviceArena::Read(batch.outputs, std::span(answer.outputs));
    DeviceArena::Read(batch.log_sum_exps, std::span(answer.log_sum_exps));
    DeviceArena::Read(batch.counts.tokens_attended, std::span(answer.tokens_attended));
    DeviceArena::Read(batch.counts.rows_scored, std::span(answer.rows_scored));
    const SparseScratch scratch(batch.scratch, answer.shape);
    DeviceArena::Read(scratch.codes, std::span(answer.states));
    DeviceArena::Read(scratch.approximations.units, std::span(answer.units));
    EXPECT_EQ(launched, answer.outputs);
    return answer;
  }

  std::unique_ptr<DeviceArena> arena_;
  std::unique_ptr<CudaStream> stream_;
  std::unique_ptr<TestHead> head_;

 private:
  const std::byte* Place(std::span<const std::byte> bytes, bool is_pinned) {
    if (!is_pinned) return arena_->Copy(bytes);
    pinned_.push_back(*AllocatePinned(bytes.size()));
    std::memcpy(pinned_.back().bytes().data(), bytes.data(), bytes.size());
    return pinned_.back().bytes().data();
  }

  std::vector<PinnedBuffer> pinned_;
};

TEST_P(SparseAttentionTest, CodesAreThoseOfTheHost) {
  const SparseTask task = MakeTask(/*is_pinned=*/false);
  const size_t words = size_t{CodeGroups(at().token_count)} * CodeWords(at().head_dim) * 64;
  std::vector<uint32_t> codes(words);
  DeviceArena::Read(task.head.codes, std::span(codes));

  uint32_t different = 0;
  for (size_t i = 0; i < words; ++i) {
    different += codes[i] != head_->index.view().codes[i] ? 1U : 0U;
  }

  // An element at the edge of two levels may fall to either side, where one multiplies
  // and adds at once.
  EXPECT_LE(different, words / 200);
}

TEST_P(SparseAttentionTest, SoundSearchAttendsToEveryTokenThatReachesTheBarAndNoOther) {
  const SparseOptions options = {at().scale(), kLogAlpha, /*deviations=*/0, /*rest_error=*/0};
  for (const bool is_pinned : {false, true}) {
    ExpectAttentionToAllAboveTheBar(*head_, Answer(MakeTask(is_pinned), options), options);
  }
}

TEST_P(SparseAttentionTest, EstimatesAreThoseOfTheHost) {
  const SparseOptions options = {at().scale(), kLogAlpha, /*deviations=*/3, /*rest_error=*/0.01F};

  const SparseAnswer on_device = Answer(MakeTask(/*is_pinned=*/true), options);
  const SparseAnswer on_host =
      AnswerOnHost({head_->task()}, at().head_dim, at().Queries(), options);

  for (uint32_t q = 0; q < at().query_count; ++q) {
    // A token at one of the bars may be attended by one and estimated by the other.
    const std::vector<double> expected(on_host.output(q).begin(), on_host.output(q).end());
    EXPECT_LT(OutputError(on_device.output(q), expected), 0.01);
    EXPECT_NEAR(on_device.log_sum_exps[q], on_host.log_sum_exps[q], 0.01);
    EXPECT_NEAR(on_device.tokens_attended[q], on_host.tokens_attended[q],
                2 + 0.01 * on_host.tokens_attended[q]);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, SparseAttentionTest, testing::ValuesIn(SparseCases()),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace alaya
