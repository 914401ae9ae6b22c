#include "tests/benchmarks/our_indexes.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <optional>
#include <utility>

#include "index/coarse/coarse_index.h"
#include "index/coarse/stretch_bounds.h"
#include "index/flat/flat_builder.h"
#include "index/flat/flat_index.h"
#include "index/graph/fine_index.h"
#include "index/index_blocks.h"
#include "index/memory_index_blocks.h"
#include "storage/types/check.h"
#include "tests/benchmarks/arena.h"
#include "tests/support/attention_workload.h"

namespace alaya {
namespace {

// Blocks in frames of huge pages, as a server's page cache holds them.
class ArenaBlocks : public IndexBlockReader {
 public:
  explicit ArenaBlocks(const MemoryIndexBlocks& blocks)
      : arena_(std::max<size_t>(1, blocks.block_count()) * kIndexBlockBytesMax) {
    for (size_t i = 0; i < blocks.block_count(); ++i) {
      const auto pinned = blocks.ReadBlock(i);
      ALAYA_CHECK(pinned.ok());
      std::ranges::copy(pinned->bytes, arena_.data() + i * kIndexBlockBytesMax);
      sizes_.push_back(pinned->bytes.size());
    }
  }

  size_t block_count() const override { return sizes_.size(); }
  StatusOr<PinnedBytes> ReadBlock(size_t block_index) const override {
    return PinnedBytes{{arena_.data() + block_index * kIndexBlockBytesMax, sizes_[block_index]},
                       BlockPin()};
  }
  uint64_t bytes() const { return std::accumulate(sizes_.begin(), sizes_.end(), uint64_t{0}); }

 private:
  Arena arena_;
  std::vector<size_t> sizes_;
};

// Any index over blocks in memory.
template <class Index>
class BlocksIndex : public BenchmarkIndex {
 public:
  // `build` fills the blocks through its sink.
  template <typename Build>
  BlocksIndex(const KvReader& reader, const Build& build) {
    MemoryIndexBlocks built;
    ALAYA_CHECK(build(built.Sink()).ok());
    blocks_.emplace(built);
    auto index = Index::Open(&*blocks_, &reader);
    ALAYA_CHECK(index.ok());
    index_ = *std::move(index);
  }

  IndexKind kind() const override { return index_->kind(); }
  StatusOr<SearchResult> Search(const SearchRequest& request) const override {
    return index_->Search(request);
  }
  uint64_t bytes() const override { return blocks_->bytes(); }

 private:
  std::optional<ArenaBlocks> blocks_;
  std::unique_ptr<Index> index_;
};

// Queries that an import of the layer samples.
class Sample {
 public:
  Sample(const BenchmarkLayer& layer, size_t head)
      : head_dim_(layer.model().head_dim),
        queries_(layer.SampledQueries(head, SampledPositionCount(layer.token_count()))) {}

  MatrixView<const float> view() const {
    return {queries_.data(), queries_.size() / head_dim_, head_dim_};
  }

 private:
  size_t head_dim_;
  std::vector<float> queries_;
};

std::shared_ptr<BenchmarkIndex> BuildFlat(const BenchmarkLayer& layer, size_t head) {
  const KvReader& reader = layer.reader(head);
  const Sample sample(layer, head);
  return std::make_shared<BlocksIndex<FlatIndex>>(reader, [&](const IndexBlockSink& sink) {
    return BuildFlatIndex(reader, sample.view(), sink);
  });
}

std::shared_ptr<BenchmarkIndex> BuildFlatWithoutQueries(const BenchmarkLayer& layer, size_t head) {
  const KvReader& reader = layer.reader(head);
  return std::make_shared<BlocksIndex<FlatIndex>>(
      reader, [&](const IndexBlockSink& sink) { return BuildFlatIndex(reader, {}, sink); });
}

std::shared_ptr<BenchmarkIndex> BuildCoarse(const BenchmarkLayer& layer, size_t head) {
  const KvReader& reader = layer.reader(head);
  return std::make_shared<BlocksIndex<CoarseIndex>>(
      reader, [&](const IndexBlockSink& sink) { return BuildStretchBounds(reader, {}, sink); });
}

std::shared_ptr<BenchmarkIndex> BuildFine(const BenchmarkLayer& layer, size_t head) {
  const KvReader& reader = layer.reader(head);
  const Sample sample(layer, head);
  return std::make_shared<BlocksIndex<FineIndex>>(reader, [&](const IndexBlockSink& sink) {
    return BuildFineIndex(reader, sample.view(), {}, sink);
  });
}

}  // namespace

void SampleQueries(const BenchmarkLayer& layer) {
  layer.SampledQueries(0, SampledPositionCount(layer.token_count()));
}

OurIndexKind FlatWithoutQueries() {
  return {.name = "flat, no queries", .estimates = true, .build = BuildFlatWithoutQueries};
}

std::vector<OurIndexKind> OurIndexKinds() {
  return {{.name = "flat", .estimates = true, .build = BuildFlat},
          {.name = "coarse", .estimates = false, .build = BuildCoarse},
          {.name = "fine", .estimates = false, .build = BuildFine}};
}

}  // namespace alaya
