// Writes segments that follow each other as one.
//
// The pages of the new segment are written and made durable beside those of the old ones;
// then one batch of the catalog has every context link to it instead. Before the batch
// nothing has changed; after it the old segments are nobody's but of those who are reading
// them, and die when these let go.

#ifndef ALAYA_STORAGE_CONTEXT_SEGMENT_MERGE_H_
#define ALAYA_STORAGE_CONTEXT_SEGMENT_MERGE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "storage/cache/page_cache.h"
#include "storage/context/catalog.h"
#include "storage/context/page_reader.h"
#include "storage/context/segment_reaper.h"
#include "storage/context/stored_context.h"
#include "storage/context/token_reader.h"
#include "storage/database/database.h"
#include "storage/types/status.h"

namespace alaya {

// What a merge works with; all of it must outlive the merge.
struct SegmentMerging {
  Catalog* catalog = nullptr;
  Database* database = nullptr;
  PageCache* cache = nullptr;
  PageReader* reader = nullptr;
  const TokenReader* tokens = nullptr;
  const SegmentReaper* reaper = nullptr;
  uint64_t disk_reserve_bytes = 0;
  // A segment of at most so many bytes stays in memory if the old ones were there.
  uint64_t kept_bytes_max = 0;
};

// Joins the run, which FindMergeRun returned. The files are made in a new directory that is
// named `directory_prefix` and the segment's number.
//
// Errors: NotFound if one of the segments was deleted meanwhile; Cancelled once
//   `should_stop` says so; DataLoss for a damaged page; ResourceExhausted for a full disk.
//   Nothing has changed then.
StatusOr<std::shared_ptr<const Segment>> MergeSegmentRun(
    const SegmentMerging& merging, const std::string& directory_prefix,
    const std::vector<std::shared_ptr<const Segment>>& run,
    const std::function<bool()>& should_stop);

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_SEGMENT_MERGE_H_
