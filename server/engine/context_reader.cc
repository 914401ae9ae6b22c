#include "server/engine/context_reader.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/request_checks.h"
#include "server/engine/segment_reader.h"
#include "server/engine/token_gather.h"

namespace alaya {
namespace {

// Keys and values of one chunk together.
constexpr size_t kChunkBytesMax = size_t{1} << 20;

// Tokens of `link` in sequence positions `range`, which lies within the link.
StatusOr<ReadChunk> ReadTokens(ContextStore* store, const SegmentLink& link, LayerIndex layer,
                               TokenRange range) {
  const Model& model = link.segment->model->model;
  const size_t bytes = range.size() * model.num_kv_heads * model.row_bytes();
  ReadChunk chunk{.layer = layer,
                  .token_begin = range.begin,
                  .tokens = range.size(),
                  .keys = std::string(bytes, '\0'),
                  .values = std::string(bytes, '\0')};
  const uint64_t segment_begin = link.range().begin;
  const TokenRange in_segment{range.begin - segment_begin, range.end - segment_begin};
  for (uint32_t head = 0; head < model.num_kv_heads; ++head) {
    const SegmentReader reader(store, link, layer, KvHeadIndex{head});
    ALAYA_RETURN_IF_ERROR(GatherHead(reader, KvKind::kKey, in_segment, head, model.num_kv_heads,
                                     std::as_writable_bytes(std::span(chunk.keys))));
    ALAYA_RETURN_IF_ERROR(GatherHead(reader, KvKind::kValue, in_segment, head, model.num_kv_heads,
                                     std::as_writable_bytes(std::span(chunk.values))));
  }
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
  const size_t token_bytes = size_t{2} * model.num_kv_heads * model.row_bytes();
  const uint64_t chunk_tokens = std::max<uint64_t>(1, kChunkBytesMax / token_bytes);
  for (const uint32_t layer : layers) {
    for (const SegmentLink& link : context.chain) {
      const TokenRange tokens = Intersect(link.range(), wanted);
      for (uint64_t begin = tokens.begin; begin < tokens.end; begin += chunk_tokens) {
        const TokenRange piece{begin, std::min(begin + chunk_tokens, tokens.end)};
        ALAYA_ASSIGN_OR_RETURN(ReadChunk chunk, ReadTokens(store, link, LayerIndex{layer}, piece));
        if (!sink(std::move(chunk))) return OkStatus();
      }
    }
  }
  return OkStatus();
}

}  // namespace alaya
