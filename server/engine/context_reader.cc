#include "server/engine/context_reader.h"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/prefetch.h"
#include "server/engine/request_checks.h"
#include "server/engine/segment_reader.h"

namespace alaya {
namespace {

// Keys and values of one chunk together.
constexpr size_t kChunkBytesMax = size_t{1} << 20;
// Chunks that are read from disk while one is sent.
constexpr size_t kChunksAhead = 8;

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

// In the order in which they are sent.
std::vector<Piece> Pieces(const StoredContext& context, TokenRange wanted,
                          std::span<const uint32_t> layers) {
  const Model& model = context.model->model;
  const size_t token_bytes = size_t{2} * model.num_kv_heads * model.row_bytes();
  const uint64_t chunk_tokens = std::max<uint64_t>(1, kChunkBytesMax / token_bytes);
  std::vector<Piece> pieces;
  for (const uint32_t layer : layers) {
    for (const SegmentLink& link : context.chain) {
      const TokenRange tokens = Intersect(link.range(), wanted);
      for (uint64_t begin = tokens.begin; begin < tokens.end; begin += chunk_tokens) {
        const uint64_t end = std::min(begin + chunk_tokens, tokens.end);
        pieces.push_back({&link, LayerIndex{layer}, {begin, end}});
      }
    }
  }
  return pieces;
}

ReadPool::Pending StartLoading(ContextStore* store, const Piece& piece) {
  std::vector<PageId> pages;
  AppendTokenPages(*piece.link->segment, piece.layer, piece.in_segment(), &pages);
  return store->StartLoading(piece.link->segment, pages);
}

// Appends the rows of tokens `range`, positions in the segment: a token's of all heads together,
// as the API sends them.
Status AppendRows(const std::deque<SegmentReader>& heads, KvKind kind, TokenRange range,
                  std::string* rows) {
  const size_t block_tokens = heads.front().block_tokens();
  std::vector<PinnedRows> blocks(heads.size());
  uint64_t token = range.begin;
  while (token < range.end) {
    const size_t block_index = token / block_tokens;
    for (size_t head = 0; head < heads.size(); ++head) {
      ALAYA_ASSIGN_OR_RETURN(blocks[head], heads[head].ReadBlock(kind, block_index));
    }
    const uint64_t block_begin = block_index * block_tokens;
    const uint64_t end = std::min<uint64_t>(range.end, block_begin + block_tokens);
    for (; token < end; ++token) {
      for (const PinnedRows& block : blocks) {
        rows->append(reinterpret_cast<const char*>(block.rows.row(token - block_begin)),
                     block.rows.row_bytes());
      }
    }
  }
  return OkStatus();
}

StatusOr<ReadChunk> ReadTokens(ContextStore* store, const Piece& piece) {
  const auto& [link, layer, range] = piece;
  const Model& model = link->segment->model->model;
  const size_t bytes = range.size() * model.num_kv_heads * model.row_bytes();
  ReadChunk chunk{
      .layer = layer, .token_begin = range.begin, .tokens = range.size(), .keys = {}, .values = {}};
  chunk.keys.reserve(bytes);
  chunk.values.reserve(bytes);
  std::deque<SegmentReader> heads;
  for (uint32_t head = 0; head < model.num_kv_heads; ++head) {
    heads.emplace_back(store, *link, layer, KvHeadIndex{head});
  }
  ALAYA_RETURN_IF_ERROR(AppendRows(heads, KvKind::kKey, piece.in_segment(), &chunk.keys));
  ALAYA_RETURN_IF_ERROR(AppendRows(heads, KvKind::kValue, piece.in_segment(), &chunk.values));
  return chunk;
}

}  // namespace

Status ReadStoredContext(ContextStore* store, const StoredContext& context,
                         const std::optional<TokenRange>& range, std::span<const uint32_t> layers,
                         const std::function<bool(ReadChunk)>& sink) {
  const Model& model = context.model->model;
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

  const TokenRange all{0, context.token_count()};
  const TokenRange wanted = range ? Intersect(*range, all) : all;
  const std::vector<Piece> pieces = Pieces(context, wanted, layers);
  std::deque<ReadPool::Pending> ahead;
  size_t started = 0;
  for (const Piece& piece : pieces) {
    while (ahead.size() <= kChunksAhead && started < pieces.size()) {
      ahead.push_back(StartLoading(store, pieces[started++]));
    }
    ahead.pop_front();  // waits
    ALAYA_ASSIGN_OR_RETURN(ReadChunk chunk, ReadTokens(store, piece));
    if (!sink(std::move(chunk))) return OkStatus();
  }
  return OkStatus();
}

}  // namespace alaya
