#include "server/engine/index_kinds.h"

#include <algorithm>
#include <utility>

#include "index/coarse/coarse_index.h"
#include "index/coarse/stretch_bounds.h"
#include "index/flat/flat_builder.h"
#include "index/flat/flat_index.h"
#include "index/graph/fine_index.h"

namespace alaya {
namespace {

// Opens an index of one class behind the interface.
template <class Index>
StatusOr<std::unique_ptr<TokenIndex>> Open(const IndexBlockReader* blocks, const KvReader* kv) {
  ALAYA_ASSIGN_OR_RETURN(std::unique_ptr<Index> index, Index::Open(blocks, kv));
  return std::unique_ptr<TokenIndex>(std::move(index));
}

// Whoever builds asks with every block whether to stop: no need to ask here too.
Status BuildFlat(const IndexBuildInput& input, const IndexBlockSink& sink) {
  return BuildFlatIndex(*input.kv, input.queries, sink);
}

Status BuildCoarse(const IndexBuildInput& input, const IndexBlockSink& sink) {
  CoarseBuildOptions options;
  options.should_stop = input.should_stop;
  return BuildStretchBounds(*input.kv, options, sink);
}

Status BuildFine(const IndexBuildInput& input, const IndexBlockSink& sink) {
  GraphBuildOptions options;
  options.nearest_keys = input.nearest_keys;
  options.should_stop = input.should_stop;
  return BuildFineIndex(*input.kv, input.queries, options, sink);
}

}  // namespace

IndexKindTable StandardIndexKinds() {
  return {{.kind = IndexKind::kFlat,
           .name = IndexKindName(IndexKind::kFlat),
           .version = 2,
           .wants_queries = true,
           .build = BuildFlat,
           .open = Open<FlatIndex>},
          {.kind = IndexKind::kCoarse,
           .name = IndexKindName(IndexKind::kCoarse),
           .build = BuildCoarse,
           .open = Open<CoarseIndex>},
          {.kind = IndexKind::kFine,
           .name = IndexKindName(IndexKind::kFine),
           .version = 2,
           .wants_queries = true,
           .build = BuildFine,
           .open = Open<FineIndex>}};
}

const IndexKindRow* FindIndexKind(const IndexKindTable& table, IndexKind kind) {
  const auto row = std::find_if(table.begin(), table.end(),
                                [kind](const IndexKindRow& each) { return each.kind == kind; });
  return row == table.end() ? nullptr : &*row;
}

std::string_view IndexKindName(IndexKind kind) {
  switch (kind) {
    case IndexKind::kExact:
      return "exact";
    case IndexKind::kFlat:
      return "flat";
    case IndexKind::kCoarse:
      return "coarse";
    case IndexKind::kFine:
      return "fine";
  }
  return "unknown";
}

}  // namespace alaya
