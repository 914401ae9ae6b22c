// The index without an index: scores every visible key.
//
// The oracle of the other kinds, and the plan for short segments. Needs no build and
// no memory of its own.

#ifndef ALAYA_INDEX_EXACT_INDEX_H_
#define ALAYA_INDEX_EXACT_INDEX_H_

#include "index/kv_reader.h"
#include "index/token_index.h"

namespace alaya {

class ExactIndex : public TokenIndex {
 public:
  // `reader` must outlive the index.
  explicit ExactIndex(const KvReader* reader) : reader_(reader) {}

  IndexKind kind() const override { return IndexKind::kExact; }
  // Answers every target. Keeps only candidates above the bar that rises during the
  // scan: memory follows the answer, not the segment (for MassTarget these are one).
  StatusOr<SearchResult> Search(const SearchRequest& request) const override;

 private:
  const KvReader* reader_;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_EXACT_INDEX_H_
