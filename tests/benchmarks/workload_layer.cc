#include "tests/benchmarks/workload_layer.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "index/kernels/encoding.h"
#include "storage/types/check.h"
#include "tests/support/parallel_for.h"

namespace alaya {
namespace {

constexpr size_t kPageBytes = size_t{64} * 1024;
constexpr uint64_t kStepDistance = 101;
constexpr uint64_t kMakeTokens = 4096;  // made at a time

size_t PageTokensOf(const Model& model) { return kPageBytes / model.row_bytes() / 8 * 8; }

size_t ArenaBytes(const WorkloadLayer::Options& options) {
  const size_t page_tokens = PageTokensOf(options.model);
  const size_t pages = (options.token_count + page_tokens - 1) / page_tokens;
  return pages * options.model.num_kv_heads * 2 * kPageBytes;
}

WorkloadOptions WorkloadOf(const WorkloadLayer::Options& options) {
  WorkloadOptions workload;
  workload.model = options.model;
  workload.model.num_layers = std::max(options.model.num_layers, options.layer + 1);
  workload.token_count = options.token_count;
  workload.seed = options.seed;
  return workload;
}

}  // namespace

class WorkloadLayer::HeadReader : public KvReader {
 public:
  HeadReader(const WorkloadLayer* layer, size_t head) : layer_(layer), head_(head) {}

  size_t token_count() const override { return layer_->options_.token_count; }
  size_t block_tokens() const override { return layer_->page_tokens_; }
  size_t head_dim() const override { return layer_->model().head_dim; }
  StatusOr<PinnedRows> ReadBlock(KvKind kind, size_t block_index) const override {
    return PinnedRows{layer_->Page(head_, kind, block_index), BlockPin()};
  }

 private:
  const WorkloadLayer* layer_;
  size_t head_;
};

std::byte* WorkloadLayer::PageData(size_t head, KvKind kind, size_t block) const {
  const size_t frame = (block * model().num_kv_heads + head) * 2 + static_cast<size_t>(kind);
  return arena_.data() + frame * kPageBytes;
}

EncodedMatrixView WorkloadLayer::Page(size_t head, KvKind kind, size_t block) const {
  const uint64_t first = block * page_tokens_;
  return {PageData(head, kind, block), std::min<uint64_t>(page_tokens_, token_count() - first),
          model().head_dim, model().dtype};
}

WorkloadLayer::WorkloadLayer(const Options& options)
    : options_(options),
      workload_(WorkloadOf(options)),
      page_tokens_(PageTokensOf(options.model)),
      arena_(ArenaBytes(options)) {
  const Model& shape = model();
  for (size_t head = 0; head < shape.num_kv_heads; ++head) {
    readers_.push_back(std::make_unique<HeadReader>(this, head));
  }
  const size_t row_bytes = shape.row_bytes();
  const uint64_t parts = (token_count() + kMakeTokens - 1) / kMakeTokens;
  ParallelFor(parts * shape.num_kv_heads, [&](size_t task) {
    const auto head = static_cast<uint32_t>(task % shape.num_kv_heads);
    const uint64_t begin = task / shape.num_kv_heads * kMakeTokens;
    const TokenRange range{begin, std::min(begin + kMakeTokens, token_count())};
    std::vector<std::byte> encoded(range.size() * row_bytes);
    for (const KvKind kind : {KvKind::kKey, KvKind::kValue}) {
      EncodeElements(kind == KvKind::kKey ? workload_.HeadKeys(options_.layer, head, range)
                                          : workload_.HeadValues(options_.layer, head, range),
                     shape.dtype, encoded);
      for (uint64_t token = range.begin; token < range.end; ++token) {
        std::byte* page = PageData(head, kind, token / page_tokens_);
        std::memcpy(page + token % page_tokens_ * row_bytes,
                    &encoded[(token - range.begin) * row_bytes], row_bytes);
      }
    }
  });
}

std::vector<float> WorkloadLayer::Queries(size_t step) const {
  std::vector<float> queries =
      workload_.Queries(options_.layer, token_count() - 1 + step * kStepDistance);
  std::vector<std::byte> encoded(queries.size() * ElementBytes(model().dtype));
  EncodeElements(queries, model().dtype, encoded);
  DecodeElements(model().dtype, encoded, queries);
  return queries;
}

std::vector<float> WorkloadLayer::SampledQueries(size_t head, size_t count) const {
  const size_t group_elements = size_t{model().group_size()} * model().head_dim;
  std::vector<float> queries(count * group_elements);
  ParallelFor(count, [&](size_t i) {
    const uint64_t position = (i * 2 + 1) * token_count() / (2 * count);
    const std::vector<float> all = workload_.Queries(options_.layer, position);
    std::copy_n(&all[head * group_elements], group_elements, &queries[i * group_elements]);
  });
  return queries;
}

void WorkloadLayer::Read(size_t head) const {
  for (size_t block = 0; block < reader(head).block_count(); ++block) {
    for (const KvKind kind : {KvKind::kKey, KvKind::kValue}) {
      ALAYA_CHECK(AllFinite(model().dtype, Page(head, kind, block).bytes()));
    }
  }
}

std::vector<float> FloatRows(const KvReader& reader, KvKind kind) {
  std::vector<float> floats(reader.token_count() * reader.head_dim());
  size_t filled = 0;
  for (size_t block = 0; block < reader.block_count(); ++block) {
    const auto read = reader.ReadBlock(kind, block);
    ALAYA_CHECK(read.ok());
    const size_t count = read->rows.rows * reader.head_dim();
    DecodeElements(read->rows.dtype, read->rows.bytes(), std::span(floats).subspan(filled, count));
    filled += count;
  }
  return floats;
}

}  // namespace alaya
