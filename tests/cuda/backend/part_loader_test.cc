#include "cuda/backend/part_loader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

#include "tests/cuda/backend/made_part.h"
#include "tests/cuda/device/fake_device.h"
#include "tests/cuda/kernels/host_launch.h"
#include "tests/cuda/kernels/host_sequences.h"

namespace alaya {
namespace {

// More than one run of rows, and an odd end.
constexpr uint32_t kTokens = 5001;
constexpr DevicePartShape kShape = {kTokens, 2, 128, DType::kBF16};

class PartLoaderTest : public testing::Test {
 protected:
  PartLoaderTest()
      : device_(MakeFakeDevice(16 << 20, control_)),
        pool_(device_->memory().size()),
        loader_(*PartLoader::Create(device_.get())),
        block_(*pool_.Allocate(layout_.bytes())) {}

  Status Load(const MadePart& part) {
    loader_->SetSource(part.key(), layout_, part.source());
    return loader_->Load(part.key(), block_);
  }

  const std::shared_ptr<FakeDeviceControl> control_ = std::make_shared<FakeDeviceControl>();
  const std::unique_ptr<Device> device_;
  MemoryPool pool_;
  const std::unique_ptr<PartLoader> loader_;
  const PartLayout layout_ = *PartLayout::Of(kShape);
  PoolBlock block_;
};

TEST_F(PartLoaderTest, MakesTheIndexOfAllRowsAndKeepsThoseOfTheWindows) {
  const MadePart part(1, kShape);

  ASSERT_TRUE(Load(part).ok());

  for (uint32_t head = 0; head < kShape.kv_head_count; ++head) {
    const SparseTask task = layout_.Task(device_->memory().data() + block_.offset(), head);
    PoisonedMemory memory(FlatHeadBytes(128, kTokens));
    const FlatHead expected = FlatHeadAt(memory.as<void>(), 128, kTokens);
    EncodeTask all;
    all.keys = {part.head(head).row(KvKind::kKey, 0), 256, DType::kBF16};
    all.values = {part.head(head).row(KvKind::kValue, 0), 256, DType::kBF16};
    all.head = expected;
    EncodeFlatHeadOnHost(all);
    EXPECT_EQ(std::memcmp(task.head.centre, expected.centre, FlatHeadBytes(128, kTokens)), 0);

    const uint32_t recent = kTokens - layout_.recent_tokens();
    for (uint32_t i = 0; i < layout_.sink_tokens(); ++i) {
      ASSERT_EQ(std::memcmp(task.windows[0].keys.row(i), part.head(head).row(KvKind::kKey, i), 256),
                0);
    }
    for (uint32_t i = 0; i < layout_.recent_tokens(); ++i) {
      ASSERT_EQ(std::memcmp(task.windows[1].values.row(i),
                            part.head(head).row(KvKind::kValue, recent + i), 256),
                0);
    }
    for (uint32_t slot = 0; slot < task.cache.set_count * kCacheWays; ++slot) {
      ASSERT_EQ(task.cache.tags[slot], 0U);
    }
  }
}

TEST_F(PartLoaderTest, SaysWhatKeepsAPartFromComing) {
  MadePart damaged(1, kShape);
  damaged.Damage();
  EXPECT_EQ(Load(damaged).code(), StatusCode::kDataLoss);

  MadePart gone(2, kShape);
  loader_->SetSource(gone.key(), layout_, gone.source());
  gone.Drop();
  EXPECT_EQ(loader_->Load(gone.key(), block_).code(), StatusCode::kNotFound);
  EXPECT_EQ(loader_->Load({77, 0}, block_).code(), StatusCode::kNotFound);

  control_->is_lost = true;
  EXPECT_EQ(Load(MadePart(3, kShape)).code(), StatusCode::kUnavailable);
}

TEST_F(PartLoaderTest, NamesThePartsThatAreGoneOnce) {
  MadePart first(1, kShape);
  const MadePart second(2, kShape);
  loader_->SetSource(first.key(), layout_, first.source());
  loader_->SetSource(second.key(), layout_, second.source());
  EXPECT_TRUE(loader_->TakeGone().empty());

  first.Drop();

  EXPECT_EQ(loader_->TakeGone(), std::vector<uint64_t>{1});
  EXPECT_TRUE(loader_->TakeGone().empty());
}

}  // namespace
}  // namespace alaya
