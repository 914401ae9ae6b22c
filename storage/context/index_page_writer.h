// Turns the blocks of one index, as they come, into files of pages.

#ifndef ALAYA_STORAGE_CONTEXT_INDEX_PAGE_WRITER_H_
#define ALAYA_STORAGE_CONTEXT_INDEX_PAGE_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "storage/context/disk_reserve.h"
#include "storage/context/segment_writer.h"
#include "storage/context/stored_context.h"
#include "storage/context/stored_index.h"
#include "storage/database/database.h"
#include "storage/database/page_file.h"
#include "storage/page/page.h"
#include "storage/types/status.h"

namespace alaya {

// Life: AppendBlock* -> Finish. After an error only destruction.
class IndexPageWriter {
 public:
  // Of `index` only id and kind count; of `segment` what pages carry. `database` must
  // outlive the writer.
  IndexPageWriter(const Database* database, const Segment& segment, const StoredIndex& index,
                  SegmentWriterOptions options);
  IndexPageWriter(const IndexPageWriter&) = delete;
  IndexPageWriter& operator=(const IndexPageWriter&) = delete;

  // As IndexWriter's.
  Status AppendBlock(LayerIndex layer, KvHeadIndex head, std::span<const std::byte> block);

  struct Finished {
    std::vector<std::string> files;  // durable; ranges of keys apart; none without blocks
    uint64_t bytes = 0;
    std::vector<uint32_t> block_counts;  // as StoredIndex's
  };
  StatusOr<Finished> Finish();

 private:
  Status CheckBlock(LayerIndex layer, KvHeadIndex head, std::span<const std::byte> block) const;
  Status PrepareFile();
  Status FinishFile();

  const Database* const database_;
  const uint32_t num_layers_;
  const uint32_t num_kv_heads_;
  const SegmentWriterOptions options_;
  DiskReserve disk_reserve_;
  IndexPageInfo next_page_;  // everything but layer, head and number stays
  std::unique_ptr<PageFileWriter> file_;
  std::string page_bytes_;
  Finished finished_;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_INDEX_PAGE_WRITER_H_
