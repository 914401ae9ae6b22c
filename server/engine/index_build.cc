#include "server/engine/index_build.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "index/kernels/encoding.h"
#include "server/engine/segment_reader.h"

namespace alaya {
namespace {

// The sampled queries of a group's query heads, as floats: all heads of the first
// position, then of the next.
StatusOr<std::vector<float>> ReadGroupQueries(ContextStore* store, const Segment& segment,
                                              LayerIndex layer, KvHeadIndex head) {
  const Model& model = segment.model->model;
  const size_t row_count = segment.query_counts[ToInt(layer)];
  const size_t d = model.head_dim;
  std::vector<float> queries(row_count * model.group_size() * d);
  std::vector<float> rows;
  const size_t page_tokens = PageTokens(model);
  for (uint32_t g = 0; g < model.group_size(); ++g) {
    PageId id{.segment = segment.id,
              .layer = ToInt(layer),
              .kind = PageKind::kQuery,
              .head = ToInt(head) * model.group_size() + g};
    for (size_t begin = 0; begin < row_count; begin += page_tokens, ++id.page_index) {
      ALAYA_ASSIGN_OR_RETURN(const PinnedPage page, store->ReadPage(segment, id, PageUse::kOnce));
      const size_t page_rows = std::min(page_tokens, row_count - begin);
      rows.resize(page_rows * d);
      DecodeElements(model.dtype, page.payload(), rows);
      for (size_t i = 0; i < page_rows; ++i) {
        const auto row = std::span(rows).subspan(i * d, d);
        std::ranges::copy(row, &queries[((begin + i) * model.group_size() + g) * d]);
      }
    }
  }
  return queries;
}

Status Stopped(const Segment& segment, const IndexKindRow& kind) {
  return MakeError(StatusCode::kCancelled, "building the " + std::string(kind.name) +
                                               " index of segment " +
                                               std::to_string(ToInt(segment.id)) + " was stopped");
}

}  // namespace

Status BuildSegmentIndex(ContextStore* store, const std::shared_ptr<const Segment>& segment,
                         const IndexKindRow& kind, const std::function<bool()>& should_stop,
                         NearestKeyFinder* nearest_keys) {
  const Model& model = segment->model->model;
  ALAYA_ASSIGN_OR_RETURN(const std::unique_ptr<IndexWriter> writer,
                         store->BeginIndex(segment, static_cast<uint8_t>(kind.kind), kind.version));
  for (uint32_t layer = 0; layer < model.num_layers; ++layer) {
    for (uint32_t head = 0; head < model.num_kv_heads; ++head) {
      if (should_stop()) return Stopped(*segment, kind);
      const LayerIndex layer_index{layer};
      const KvHeadIndex head_index{head};
      SegmentReader keys(store, *segment, layer_index, head_index);
      keys.ReadOnce();
      IndexBuildInput input;
      input.kv = &keys;
      input.nearest_keys = nearest_keys;
      input.should_stop = should_stop;
      std::vector<float> queries;
      if (kind.wants_queries) {
        ALAYA_ASSIGN_OR_RETURN(queries, ReadGroupQueries(store, *segment, layer_index, head_index));
        input.queries = {queries.data(), queries.size() / model.head_dim, model.head_dim};
      }
      ALAYA_RETURN_IF_ERROR(kind.build(input, [&](std::span<const std::byte> block) -> Status {
        if (should_stop()) return Stopped(*segment, kind);
        return writer->AppendBlock(layer_index, head_index, block);
      }));
    }
  }
  return writer->Commit();
}

}  // namespace alaya
