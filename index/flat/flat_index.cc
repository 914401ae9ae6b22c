#include "index/flat/flat_index.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "index/exact_index.h"
#include "index/flat/flat_builder.h"
#include "index/kernels/weighted_values.h"

namespace alaya {
namespace {

FlatBlock ConstView(const MutableFlatBlock& block) {
  FlatBlock view;
  view.token_count = block.token_count;
  view.codes = {block.codes.head_dim,   block.codes.group_count,  block.codes.high,
                block.codes.low,        block.codes.coarse_scale, block.codes.coarse_error,
                block.codes.fine_scale, block.codes.fine_error};
  view.value_means = block.value_means;
  view.value_deviations = block.value_deviations;
  return view;
}

}  // namespace

StatusOr<std::unique_ptr<FlatIndex>> FlatIndex::Open(const IndexBlockReader* blocks,
                                                     const KvReader* reader) {
  if (blocks->block_count() == 0) return DataLoss("flat index: no blocks");
  ALAYA_ASSIGN_OR_RETURN(const PinnedBytes first, blocks->ReadBlock(0));
  ALAYA_ASSIGN_OR_RETURN(FlatHeader header, DecodeFlatHeader(first.bytes));
  if (header.head_dim != reader->head_dim() || header.token_count > reader->token_count() ||
      1 + header.map_block_count() + header.block_count() != blocks->block_count()) {
    return DataLoss("flat index: head_dim " + std::to_string(header.head_dim) + ", " +
                    std::to_string(header.token_count) + " tokens in " +
                    std::to_string(blocks->block_count()) + " blocks, keys have head_dim " +
                    std::to_string(reader->head_dim()) + " and " +
                    std::to_string(reader->token_count()) + " tokens");
  }
  return std::unique_ptr<FlatIndex>(new FlatIndex(blocks, std::move(header), reader));
}

FlatIndex::Source::Source(const IndexBlockReader* blocks, FlatHeader header)
    : blocks_(blocks),
      header_(std::move(header)),
      rotation_(header_.head_dim, header_.rotation_seed),
      is_checked_(std::make_unique<std::atomic<bool>[]>(header_.block_count())) {}

Status FlatIndex::Source::MapQueries(MatrixView<const float> queries,
                                     MatrixView<float> mapped) const {
  if (!header_.query_map) {
    Rotate(rotation_, queries, mapped);
    return OkStatus();
  }
  for (size_t q = 0; q < mapped.rows(); ++q) std::ranges::fill(mapped.row(q), 0.0F);
  size_t element = 0;
  for (size_t block = 0; block < header_.map_block_count(); ++block) {
    ALAYA_ASSIGN_OR_RETURN(const PinnedBytes pinned, blocks_->ReadBlock(1 + block));
    ALAYA_ASSIGN_OR_RETURN(const MatrixView<const float> rows,
                           DecodeMapBlock(header_, block, pinned.bytes));
    const EncodedMatrixView encoded = {pinned.bytes.data(), rows.rows(), rows.cols(), DType::kF32};
    const MatrixView<const float> factors(queries.data() + element, queries.rows(), rows.rows(),
                                          queries.stride());
    AddWeightedValues(factors, encoded, mapped);
    element += rows.rows();
  }
  return OkStatus();
}

StatusOr<PinnedFlatBlock> FlatIndex::Source::Block(size_t block) const {
  ALAYA_ASSIGN_OR_RETURN(PinnedBytes pinned,
                         blocks_->ReadBlock(1 + header_.map_block_count() + block));
  if (!is_checked_[block].load(std::memory_order_relaxed)) {
    ALAYA_RETURN_IF_ERROR(DecodeFlatBlock(header_, block, pinned.bytes).status());
    is_checked_[block].store(true, std::memory_order_relaxed);
  }
  return PinnedFlatBlock{ViewFlatBlock(header_, block, pinned.bytes), std::move(pinned.pin)};
}

GrowingFlatIndex::Source::Source(FlatHeader header)
    : header_(std::move(header)), rotation_(header_.head_dim, header_.rotation_seed) {}

MutableFlatBlock GrowingFlatIndex::Source::View(size_t block) const {
  const size_t capacity = header_.block_tokens;
  MutableFlatBlock view =
      MutableFlatBlockOf(header_.head_dim, capacity,
                         {blocks_[block].get(), FlatBlockBytes(header_.head_dim, capacity)});
  return view;
}

StatusOr<PinnedFlatBlock> GrowingFlatIndex::Source::Block(size_t block) const {
  FlatBlock view = ConstView(View(block));
  view.token_count = header_.block_token_count(block);
  view.codes.group_count = view.token_count / kCodeGroupTokens;
  return PinnedFlatBlock{view, BlockPin()};
}

Status GrowingFlatIndex::Source::Extend(const KvReader& reader) {
  const FlatGroupEncoder encoder(&header_);
  const size_t block_tokens = header_.block_tokens;
  while (header_.token_count + kCodeGroupTokens <= reader.token_count()) {
    const uint64_t first = header_.token_count;
    const size_t block = first / block_tokens;
    if (block == blocks_.size()) {
      const size_t bytes = FlatBlockBytes(header_.head_dim, block_tokens);
      blocks_.push_back(hwy::AllocateAligned<std::byte>(bytes));
      std::memset(blocks_.back().get(), 0, bytes);
    }
    ALAYA_RETURN_IF_ERROR(encoder.Encode(reader, {first, first + kCodeGroupTokens},
                                         first % block_tokens / kCodeGroupTokens, View(block)));
    header_.token_count += kCodeGroupTokens;
  }
  return OkStatus();
}

void GrowingFlatIndex::Source::Truncate(size_t token_count) {
  header_.token_count =
      std::min(header_.token_count, token_count / kCodeGroupTokens * kCodeGroupTokens);
  blocks_.resize(header_.block_count());
}

size_t GrowingFlatIndex::Source::memory_bytes() const {
  return blocks_.size() * FlatBlockBytes(header_.head_dim, header_.block_tokens);
}

Status GrowingFlatIndex::Extend() {
  if (source_ == nullptr) {
    if (reader_->token_count() < kFirstTokens) return OkStatus();
    ALAYA_ASSIGN_OR_RETURN(FlatHeader header, MakeFlatHeader(*reader_, reader_->token_count()));
    header.token_count = 0;
    source_ = std::make_unique<Source>(std::move(header));
  }
  return source_->Extend(*reader_);
}

void GrowingFlatIndex::Truncate(size_t token_count) {
  if (source_ != nullptr) source_->Truncate(token_count);
}

size_t GrowingFlatIndex::memory_bytes() const {
  return source_ == nullptr ? 0 : source_->memory_bytes();
}

StatusOr<SearchResult> GrowingFlatIndex::Search(const SearchRequest& request) const {
  if (source_ == nullptr) return ExactIndex(reader_).Search(request);
  return SearchFlat(*source_, *reader_, request);
}

}  // namespace alaya
