#include "server/engine/index_kinds.h"

#include <algorithm>

namespace alaya {

IndexKindTable StandardIndexKinds() { return {}; }

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
