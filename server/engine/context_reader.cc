#include "server/engine/context_reader.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <deque>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

#include "server/engine/prefetch.h"
#include "server/engine/request_checks.h"
#include "storage/types/check.h"

namespace alaya {
namespace {

// Keys and values of one chunk together. Of half of it a fifth less is read in the same time
// (tests/benchmarks/results/storage.md), and gRPC's clients take no more than 4 MiB unasked.
constexpr size_t kChunkBytesMax = size_t{2} << 20;

// Memory of chunks, which is used again: touching fresh memory takes longer than what is to be
// copied there. Lives as long as the last chunk.
class ChunkMemory : public std::enable_shared_from_this<ChunkMemory> {
 public:
  explicit ChunkMemory(size_t chunk_bytes) : chunk_bytes_(chunk_bytes) {}

  std::shared_ptr<std::byte> Take() {
    std::unique_ptr<std::byte[]> memory;
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        memory = std::move(free_.back());
        free_.pop_back();
      }
    }
    if (memory == nullptr) memory = std::make_unique_for_overwrite<std::byte[]>(chunk_bytes_);
    return {memory.release(), [self = shared_from_this()](std::byte* taken) {
              std::unique_ptr<std::byte[]> returned(taken);
              const std::lock_guard lock(self->mutex_);
              self->free_.push_back(std::move(returned));
            }};
  }

 private:
  const size_t chunk_bytes_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<std::byte[]>> free_;  // guarded by mutex_
};

// What one chunk holds: sequence positions `range` of one layer, all of one link.
struct Piece {
  const SegmentLink* link;
  LayerIndex layer;
  TokenRange range;

  TokenRange in_segment() const {
    const uint64_t segment_begin = link->range().begin;
    return {range.begin - segment_begin, range.end - segment_begin};
  }
};

size_t TokenBytes(const Model& model) { return size_t{2} * model.num_kv_heads * model.row_bytes(); }

uint64_t ChunkTokens(const Model& model) {
  return std::max<uint64_t>(1, kChunkBytesMax / TokenBytes(model));
}

// In the order in which they are sent. Where they can, pieces end with a page: it is read once.
std::vector<Piece> Pieces(const StoredContext& context, TokenRange wanted,
                          std::span<const uint32_t> layers) {
  const Model& model = context.model->model;
  const uint64_t chunk_tokens = ChunkTokens(model);
  const uint64_t page_tokens = PageTokens(model);
  std::vector<Piece> pieces;
  for (const uint32_t layer : layers) {
    for (const SegmentLink& link : context.chain) {
      const uint64_t segment_begin = link.range().begin;
      const TokenRange tokens = Intersect(link.range(), wanted);
      for (uint64_t begin = tokens.begin; begin < tokens.end;) {
        uint64_t end = begin + chunk_tokens;
        const uint64_t behind_page = (end - segment_begin) % page_tokens;
        if (end - behind_page > begin) end -= behind_page;
        end = std::min(end, tokens.end);
        pieces.push_back({&link, LayerIndex{layer}, {begin, end}});
        begin = end;
      }
    }
  }
  return pieces;
}

class StoredContextReading final : public ContextReading {
 public:
  StoredContextReading(ContextStore* store, Admission* admission,
                       std::shared_ptr<const StoredContext> context, TokenRange wanted,
                       std::span<const uint32_t> layers)
      : store_(store),
        admission_(admission),
        context_(std::move(context)),
        pieces_(Pieces(*context_, wanted, layers)),
        memory_(std::make_shared<ChunkMemory>(chunk_bytes_max())) {}

  uint64_t chunk_bytes_max() const override {
    return ChunkTokens(context_->model->model) * TokenBytes(context_->model->model);
  }
  void ReadAhead(size_t chunk_count) override { ahead_count_ = chunk_count; }

  StatusOr<std::optional<ReadChunk>> Next() override {
    ALAYA_ASSIGN_OR_RETURN(const auto ticket, admission_->Enter());
    while (started_ < pieces_.size() && loading_.size() <= ahead_count_) Start(pieces_[started_++]);
    if (loading_.empty()) return std::optional<ReadChunk>();
    const std::unique_ptr<Loading> next = std::move(loading_.front());
    loading_.pop_front();
    next->pending.Wait();
    ALAYA_RETURN_IF_ERROR(next->status);
    const TokenRange range = next->piece->range;
    const size_t kind_bytes = range.size() * TokenBytes(context_->model->model) / 2;
    return ReadChunk{.layer = next->piece->layer,
                     .token_begin = range.begin,
                     .tokens = range.size(),
                     .keys = {next->memory.get(), kind_bytes},
                     .values = {next->memory.get() + kind_bytes, kind_bytes},
                     .memory = next->memory};
  }

 private:
  struct Loading {
    const Piece* piece;
    std::shared_ptr<std::byte> memory;
    Status status;
    ReadPool::Pending pending = {};  // last, so that it is waited for first
  };

  void Start(const Piece& piece) {
    auto loading = std::make_unique<Loading>(Loading{&piece, memory_->Take(), OkStatus()});
    loading->pending = store_->StartReading([this, target = loading.get()] {
      target->status = Read(*target->piece, target->memory.get());
    });
    loading_.push_back(std::move(loading));
  }

  // Keys to `memory` and values behind them: a token's of all heads together, as the API sends
  // them.
  Status Read(const Piece& piece, std::byte* memory) const {
    const Segment& segment = *piece.link->segment;
    const Model& model = segment.model->model;
    const TokenRange tokens = piece.in_segment();
    const size_t row_bytes = model.row_bytes();
    const size_t token_bytes = TokenBytes(model) / 2;
    const uint64_t page_tokens = PageTokens(model);
    std::vector<PageId> pages;
    AppendTokenPages(segment, piece.layer, tokens, &pages);
    return store_->ScanPages(segment, pages, [&](size_t i, std::span<const std::byte> payload) {
      const PageId& page = pages[i];
      const uint64_t page_begin = page.page_index * page_tokens;
      const TokenRange part = Intersect(tokens, {page_begin, page_begin + page_tokens});
      ALAYA_CHECK(payload.size() >= (part.end - page_begin) * row_bytes);
      const std::byte* from = payload.data() + (part.begin - page_begin) * row_bytes;
      std::byte* to = memory + (part.begin - tokens.begin) * token_bytes + page.head * row_bytes;
      if (page.kind == PageKind::kValue) to += tokens.size() * token_bytes;
      for (uint64_t token = part.begin; token < part.end; ++token) {
        std::memcpy(to, from, row_bytes);
        from += row_bytes;
        to += token_bytes;
      }
    });
  }

  ContextStore* const store_;
  Admission* const admission_;
  const std::shared_ptr<const StoredContext> context_;
  const std::vector<Piece> pieces_;
  const std::shared_ptr<ChunkMemory> memory_;
  size_t ahead_count_ = 0;
  size_t started_ = 0;  // of pieces_
  // In the order of pieces_. Last, as reads under way use what stands before.
  std::deque<std::unique_ptr<Loading>> loading_;
};

}  // namespace

StatusOr<std::unique_ptr<ContextReading>> BeginReading(ContextStore* store, Admission* admission,
                                                       std::shared_ptr<const StoredContext> context,
                                                       const std::optional<TokenRange>& range,
                                                       std::span<const uint32_t> layers) {
  const Model& model = context->model->model;
  ALAYA_RETURN_IF_ERROR(CheckTokenRange(range));
  for (const uint32_t layer : layers) {
    ALAYA_RETURN_IF_ERROR(CheckLayer(LayerIndex{layer}, model));
  }
  std::vector<uint32_t> all_layers;
  if (layers.empty()) {
    all_layers.resize(model.num_layers);
    std::iota(all_layers.begin(), all_layers.end(), 0U);
    layers = all_layers;
  }
  const TokenRange all{0, context->token_count()};
  const TokenRange wanted = range ? Intersect(*range, all) : all;
  return std::make_unique<StoredContextReading>(store, admission, std::move(context), wanted,
                                                layers);
}

}  // namespace alaya
