#include "tests/benchmarks/benchmark_layer.h"

#include <algorithm>
#include <cstring>

#include "index/kernels/encoding.h"
#include "storage/page/page.h"
#include "storage/types/check.h"

namespace alaya {
namespace {

constexpr size_t kPageBytes = kKvPagePayloadBytesMax;

// As the server chooses it: the largest multiple of 8 whose rows fit.
size_t PageTokensOf(const Model& model) { return kPageBytes / model.row_bytes() / 8 * 8; }

size_t ArenaBytes(const Model& model, uint64_t token_count) {
  const size_t page_tokens = PageTokensOf(model);
  return (token_count + page_tokens - 1) / page_tokens * model.num_kv_heads * 2 * kPageBytes;
}

}  // namespace

class BenchmarkLayer::HeadReader : public KvReader {
 public:
  HeadReader(const BenchmarkLayer* layer, size_t head) : layer_(layer), head_(head) {}

  size_t token_count() const override { return layer_->token_count(); }
  size_t block_tokens() const override { return layer_->page_tokens_; }
  size_t head_dim() const override { return layer_->model().head_dim; }
  StatusOr<PinnedRows> ReadBlock(KvKind kind, size_t block_index) const override {
    return PinnedRows{layer_->Page(head_, kind, block_index), BlockPin()};
  }

 private:
  const BenchmarkLayer* layer_;
  size_t head_;
};

BenchmarkLayer::BenchmarkLayer(const Model& model, uint64_t token_count)
    : model_(model),
      token_count_(token_count),
      page_tokens_(PageTokensOf(model)),
      arena_(ArenaBytes(model, token_count)) {
  model_.num_layers = 1;
  for (size_t head = 0; head < model.num_kv_heads; ++head) {
    readers_.push_back(std::make_unique<HeadReader>(this, head));
  }
}

std::byte* BenchmarkLayer::PageData(size_t head, KvKind kind, size_t block) const {
  const size_t frame = (block * model_.num_kv_heads + head) * 2 + static_cast<size_t>(kind);
  return arena_.data() + frame * kPageBytes;
}

EncodedMatrixView BenchmarkLayer::Page(size_t head, KvKind kind, size_t block) const {
  const uint64_t first = block * page_tokens_;
  return {PageData(head, kind, block), std::min<uint64_t>(page_tokens_, token_count_ - first),
          model_.head_dim, model_.dtype};
}

void BenchmarkLayer::Fill(size_t head, KvKind kind, TokenRange tokens,
                          std::span<const std::byte> rows) {
  const size_t row_bytes = model_.row_bytes();
  for (uint64_t token = tokens.begin; token < tokens.end; ++token) {
    std::memcpy(PageData(head, kind, token / page_tokens_) + token % page_tokens_ * row_bytes,
                &rows[(token - tokens.begin) * row_bytes], row_bytes);
  }
}

void BenchmarkLayer::Read(size_t head) const {
  for (size_t block = 0; block < reader(head).block_count(); ++block) {
    for (const KvKind kind : {KvKind::kKey, KvKind::kValue}) {
      ALAYA_CHECK(AllFinite(model_.dtype, Page(head, kind, block).bytes()));
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
