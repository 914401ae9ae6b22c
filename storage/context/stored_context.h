// Contexts as chains of immutable segments.
//
// A segment is stored once and shared: a context is a list of links, each the first
// `token_count` tokens of a segment. A context that grew out of another one links to
// (a prefix of) its segments and adds one of its own.

#ifndef ALAYA_STORAGE_CONTEXT_STORED_CONTEXT_H_
#define ALAYA_STORAGE_CONTEXT_STORED_CONTEXT_H_

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "storage/context/stored_index.h"
#include "storage/types/ids.h"
#include "storage/types/model.h"
#include "storage/types/status.h"

namespace alaya {

using WallTime = std::chrono::time_point<std::chrono::system_clock, std::chrono::milliseconds>;

// A registered model and the number that its pages carry.
struct RegisteredModel {
  ModelId id{};
  Model model;
};
// Errors: InvalidArgument for a shape that cannot be stored.
Status CheckStorable(const Model& model);

// Immutable once committed, but for its indexes. While anyone holds a Segment its pages and
// tokens stay readable, even after the last context that links to it was deleted.
struct Segment {
  SegmentId id{};
  std::shared_ptr<const RegisteredModel> model;
  std::string tenant;
  uint64_t token_begin = 0;  // position of its first token in a context
  // Their ids are in the database and read through TokenReader.
  uint64_t token_count = 0;
  std::vector<uint32_t> query_counts;  // [num_layers] sampled queries stored per query head
  uint64_t stored_bytes = 0;           // bytes on disk, indexes not counted
  // Kinds of index that the context's writer asked for; empty: it did not say.
  std::vector<uint8_t> wanted_indexes;
  // Those that are built; they come while the segment is in use.
  mutable SegmentIndexes indexes;
  // What contexts link to instead since it was joined with others. The catalog's, under its
  // write lock.
  mutable std::weak_ptr<const Segment> joined_into;

  uint64_t stored_bytes_with_indexes() const {
    uint64_t bytes = stored_bytes;
    for (const StoredIndex* index : indexes.list()) bytes += index->stored_bytes;
    return bytes;
  }
};

// The first token_count tokens of a segment.
struct SegmentLink {
  std::shared_ptr<const Segment> segment;
  uint64_t token_count = 0;  // 1 .. segment->token_count

  TokenRange range() const { return {segment->token_begin, segment->token_begin + token_count}; }
};

using Labels = std::map<std::string, std::string>;

// A snapshot; an update makes a new one.
struct StoredContext {
  std::string id;
  std::string tenant;
  std::shared_ptr<const RegisteredModel> model;
  std::vector<SegmentLink> chain;  // links' ranges follow each other from 0
  Labels labels;
  WallTime create_time;
  std::optional<WallTime> expire_time;
  bool pinned = false;
  // Milliseconds since 1970; of this process, shared by all snapshots. 0: not used.
  std::shared_ptr<std::atomic<int64_t>> last_use_ms = std::make_shared<std::atomic<int64_t>>(0);

  // When the context was last used since the start, else when it was made.
  WallTime last_use() const {
    const WallTime used{std::chrono::milliseconds(last_use_ms->load(std::memory_order_relaxed))};
    return std::max(used, create_time);
  }
  void Touch(WallTime now) const {
    last_use_ms->store(now.time_since_epoch().count(), std::memory_order_relaxed);
  }

  uint64_t token_count() const { return chain.empty() ? 0 : chain.back().range().end; }
  // Bytes of KV that the chain spans.
  uint64_t kv_bytes() const { return token_count() * model->model.token_bytes(); }
  bool expired_at(WallTime now) const { return !pinned && expire_time && *expire_time <= now; }
};

// About what the context takes in memory, with its places in the catalog; segments apart.
uint64_t MemoryBytes(const StoredContext& context);

// The chain's first token_count tokens. Requires: no more than the chain has.
std::vector<SegmentLink> ChainPrefix(const std::vector<SegmentLink>& chain, uint64_t token_count);

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_STORED_CONTEXT_H_
