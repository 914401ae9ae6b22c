// The store's IndexWriter: pages to disk, then one record to the catalog.

#ifndef ALAYA_STORAGE_CONTEXT_INDEX_COMMIT_H_
#define ALAYA_STORAGE_CONTEXT_INDEX_COMMIT_H_

#include <cstdint>
#include <memory>
#include <string>

#include "storage/context/catalog.h"
#include "storage/context/disk_quota.h"
#include "storage/context/index_writer.h"
#include "storage/context/segment_reaper.h"
#include "storage/context/stored_context.h"
#include "storage/database/database.h"
#include "storage/types/status.h"

namespace alaya {

// What a writer works with; all of it must outlive the writer.
struct IndexWriting {
  Catalog* catalog = nullptr;
  Database* database = nullptr;
  const SegmentReaper* reaper = nullptr;
  uint64_t disk_reserve_bytes = 0;
  DiskQuota* quota = nullptr;
};

struct IndexFormat {
  uint8_t kind = 0;
  uint32_t version = 0;
};

// Begins an index of the segment. Its files are made in a new directory that is named
// `directory_prefix` and the index's number.
StatusOr<std::unique_ptr<IndexWriter>> BeginStoredIndex(const IndexWriting& writing,
                                                        const std::string& directory_prefix,
                                                        std::shared_ptr<const Segment> segment,
                                                        IndexFormat format);

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_INDEX_COMMIT_H_
