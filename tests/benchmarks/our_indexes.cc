#include "tests/benchmarks/our_indexes.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "index/flat/flat_builder.h"
#include "index/flat/flat_index.h"
#include "index/graph/fine_index.h"
#include "index/index_blocks.h"
#include "index/memory_index_blocks.h"
#include "storage/types/check.h"

namespace alaya {
namespace {

// Any index over blocks in memory.
template <class Index>
class BlocksIndex : public BenchmarkIndex {
 public:
  // `build` fills the blocks through its sink.
  template <typename Build>
  BlocksIndex(const KvReader& reader, const Build& build) {
    ALAYA_CHECK(build(blocks_.Sink()).ok());
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
  MemoryIndexBlocks blocks_;
  std::unique_ptr<Index> index_;
};

// Positions whose queries a context is imported with, at most.
constexpr size_t kSampledPositionsMax = 4096;

std::shared_ptr<BenchmarkIndex> BuildFlat(const BenchmarkLayer& layer, size_t head) {
  const KvReader& reader = layer.reader(head);
  return std::make_shared<BlocksIndex<FlatIndex>>(
      reader, [&](const IndexBlockSink& sink) { return BuildFlatIndex(reader, sink); });
}

std::shared_ptr<BenchmarkIndex> BuildFine(const BenchmarkLayer& layer, size_t head) {
  const KvReader& reader = layer.reader(head);
  const size_t positions = std::min<size_t>(kSampledPositionsMax, reader.token_count() / 10);
  const std::vector<float> queries = layer.SampledQueries(head, positions);
  const size_t head_dim = reader.head_dim();
  return std::make_shared<BlocksIndex<FineIndex>>(reader, [&](const IndexBlockSink& sink) {
    return BuildFineIndex(reader, {queries.data(), queries.size() / head_dim, head_dim}, {}, sink);
  });
}

}  // namespace

std::vector<OurIndexKind> OurIndexKinds() {
  return {{.name = "flat", .estimates = true, .build = BuildFlat},
          {.name = "fine", .estimates = false, .build = BuildFine}};
}

}  // namespace alaya
