#include "tests/benchmarks/our_indexes.h"

#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include "hwy/aligned_allocator.h"
#include "index/flat/flat_builder.h"
#include "index/flat/flat_index.h"
#include "index/index_blocks.h"
#include "storage/types/check.h"

namespace alaya {
namespace {

// An index's blocks in memory.
class MemoryBlocks : public IndexBlockReader {
 public:
  Status Append(std::span<const std::byte> bytes) {
    auto copy = hwy::AllocateAligned<std::byte>(bytes.size());
    std::memcpy(copy.get(), bytes.data(), bytes.size());
    blocks_.push_back({std::move(copy), bytes.size()});
    bytes_ += bytes.size();
    return OkStatus();
  }

  uint64_t bytes() const { return bytes_; }
  size_t block_count() const override { return blocks_.size(); }
  StatusOr<PinnedBytes> ReadBlock(size_t block_index) const override {
    const Block& block = blocks_[block_index];
    return PinnedBytes{{block.memory.get(), block.size}, BlockPin()};
  }

 private:
  struct Block {
    hwy::AlignedFreeUniquePtr<std::byte[]> memory;
    size_t size;
  };
  std::vector<Block> blocks_;
  uint64_t bytes_ = 0;
};

// Any index over blocks in memory.
template <class Index>
class BlocksIndex : public BenchmarkIndex {
 public:
  // `build` fills the blocks through its sink.
  template <typename Build>
  BlocksIndex(const KvReader& reader, const Build& build) {
    ALAYA_CHECK(
        build([this](std::span<const std::byte> bytes) { return blocks_.Append(bytes); }).ok());
    auto index = Index::Open(&blocks_, &reader);
    ALAYA_CHECK(index.ok());
    index_ = *std::move(index);
  }

  IndexKind kind() const override { return index_->kind(); }
  StatusOr<SearchResult> Search(const SearchRequest& request) const override {
    return index_->Search(request);
  }
  uint64_t bytes() const override { return blocks_.bytes(); }

 private:
  MemoryBlocks blocks_;
  std::unique_ptr<Index> index_;
};

}  // namespace

std::vector<OurIndexKind> OurIndexKinds() {
  return {{.name = "flat",
           .estimates = true,
           .build = [](const WorkloadLayer& layer, size_t head) -> std::shared_ptr<BenchmarkIndex> {
             const KvReader& reader = layer.reader(head);
             return std::make_shared<BlocksIndex<FlatIndex>>(
                 reader, [&](const IndexBlockSink& sink) { return BuildFlatIndex(reader, sink); });
           }}};
}

}  // namespace alaya
