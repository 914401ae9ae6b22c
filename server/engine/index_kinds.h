// The kinds of index that segments can have, and how each is built and opened.
//
// One table: whoever adds a kind adds its number here and a row in index_kinds.cc, and
// nothing else in the engine names a concrete index.

#ifndef ALAYA_SERVER_ENGINE_INDEX_KINDS_H_
#define ALAYA_SERVER_ENGINE_INDEX_KINDS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string_view>
#include <vector>

#include "index/graph/nearest_key_finder.h"
#include "index/index_blocks.h"
#include "index/kv_reader.h"
#include "index/token_index.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

// Kinds that are built and stored, in the order of their numbers; kExact needs neither.
inline constexpr std::array kBuiltIndexKinds = {IndexKind::kFlat, IndexKind::kCoarse,
                                                IndexKind::kFine};

// Which kinds.
class IndexKindSet {
 public:
  constexpr IndexKindSet() = default;
  constexpr IndexKindSet(std::initializer_list<IndexKind> kinds) {
    for (const IndexKind kind : kinds) Add(kind);
  }

  constexpr void Add(IndexKind kind) { bits_ |= Bit(kind); }
  constexpr void Remove(IndexKind kind) { bits_ &= ~Bit(kind); }
  constexpr bool contains(IndexKind kind) const { return (bits_ & Bit(kind)) != 0; }
  constexpr bool empty() const { return bits_ == 0; }
  friend constexpr bool operator==(IndexKindSet, IndexKindSet) = default;

 private:
  static constexpr uint32_t Bit(IndexKind kind) { return 1U << static_cast<uint32_t>(kind); }
  uint32_t bits_ = 0;
};

// What an index of one kv head is built from.
struct IndexBuildInput {
  const KvReader* kv = nullptr;
  // [query_count, head_dim] sampled queries by rising position, all of the group's query
  // heads of a position together; empty if none were stored or the kind does not ask for
  // them.
  MatrixView<const float> queries;
  NearestKeyFinder* nearest_keys = nullptr;  // may help; null: nobody
  // Ask often, at least every few milliseconds of work: true ends the build with
  // Cancelled. May sleep, to keep the build to its share of the machine.
  std::function<bool()> should_stop;
};

struct IndexKindRow {
  IndexKind kind{};
  std::string_view name;  // "flat"
  // Of the blocks' format: an index of another version is not opened but rebuilt.
  uint32_t version = 1;
  bool wants_queries = false;

  std::function<Status(const IndexBuildInput& input, const IndexBlockSink& sink)> build;
  // Both readers outlive the index. Errors: DataLoss for blocks that the build did not
  // write; whatever a block read returns.
  std::function<StatusOr<std::unique_ptr<TokenIndex>>(const IndexBlockReader* blocks,
                                                      const KvReader* kv)>
      open;
};

using IndexKindTable = std::vector<IndexKindRow>;

// Every kind of this build.
IndexKindTable StandardIndexKinds();

// Null: the table has no such kind.
const IndexKindRow* FindIndexKind(const IndexKindTable& table, IndexKind kind);

// "exact", "flat", ...
std::string_view IndexKindName(IndexKind kind);

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_INDEX_KINDS_H_
