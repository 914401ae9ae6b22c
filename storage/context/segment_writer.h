// Turns the KV of one new segment, as it comes, into files of pages.
//
// Every layer is a stream of its own, so layers may interleave; a stream gathers one
// row of pages (all heads, one page's tokens) and writes it when full. That row is all
// the memory a stream takes, and it is given back when the layer is complete.

#ifndef ALAYA_STORAGE_CONTEXT_SEGMENT_WRITER_H_
#define ALAYA_STORAGE_CONTEXT_SEGMENT_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "storage/context/disk_reserve.h"
#include "storage/context/stored_context.h"
#include "storage/database/database.h"
#include "storage/database/page_file.h"
#include "storage/page/page.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"

namespace alaya {

struct SegmentWriterOptions {
  std::string directory;  // for the files; exists and is the writer's alone
  uint64_t file_bytes_target = uint64_t{256} << 20;
  // Writing stops with ResourceExhausted when the file system has less left.
  uint64_t disk_reserve_bytes = 0;
  // And when the quota is used up; may be null, must outlive the writer.
  DiskQuota* quota = nullptr;
  // Called with every page of keys and values that was written; may be null.
  std::function<void(const PageId& id, std::span<const std::byte> payload)> keep = nullptr;
};

// Life: Append*, in any order of layers -> Finish. After an error only destruction.
class SegmentWriter {
 public:
  // Of `segment` only id, model, tenant and tokens count. `database` must outlive it.
  SegmentWriter(const Database* database, const Segment& segment, SegmentWriterOptions options);
  ~SegmentWriter();
  SegmentWriter(const SegmentWriter&) = delete;
  SegmentWriter& operator=(const SegmentWriter&) = delete;

  // As ContextWriter's.
  Status Append(LayerIndex layer, std::span<const std::byte> keys,
                std::span<const std::byte> values);
  Status AppendQueries(LayerIndex layer, std::span<const std::byte> queries);
  uint64_t appended_tokens(LayerIndex layer) const;

  struct Finished {
    std::vector<std::string> files;  // durable; ranges of keys apart
    uint64_t bytes = 0;
    std::vector<uint32_t> query_counts;  // [num_layers]
  };
  // Errors: FailedPrecondition, naming the layer, if tokens are missing.
  StatusOr<Finished> Finish();

 private:
  // One class of pages of one layer. Streams are numbered in key order: keys and
  // values of all layers, then queries of all layers.
  struct Stream {
    size_t number = 0;
    uint32_t layer = 0;
    std::vector<PageKind> kinds;
    uint32_t head_count = 0;
    uint64_t row_count_total = 0;  // appended
    uint32_t row_count_buffered = 0;
    std::unique_ptr<std::byte[]> pages;  // [head][kind], each header and payload
    std::unique_ptr<PageFileWriter> file;
  };

  size_t PageSlotBytes() const { return kPageHeaderBytes + page_tokens_ * row_bytes_; }
  Status AppendRows(Stream* stream, std::span<const std::span<const std::byte>> parts,
                    size_t row_count);
  void GatherRows(Stream* stream, size_t kind_index, const std::byte* rows, size_t row_count);
  Status WritePages(Stream* stream);
  Status PrepareFile(Stream* stream);
  Status FinishFile(std::unique_ptr<PageFileWriter> file);
  Status CloseStream(Stream* stream);
  std::unique_ptr<PageFileWriter> TakeIdleFile(size_t stream_number);
  Status CheckLayer(LayerIndex layer) const;

  const Database* const database_;
  const SegmentId segment_;
  const RegisteredModel model_;
  const uint64_t tenant_hash_;
  const uint64_t token_count_;
  const SegmentWriterOptions options_;
  const size_t page_tokens_;
  const size_t row_bytes_;

  std::vector<Stream> streams_;
  // Files whose last stream (the key) is complete: the next stream may go on in them,
  // so a small context becomes one file and not one per layer.
  std::map<size_t, std::unique_ptr<PageFileWriter>> idle_files_;
  bool all_appended_ = false;
  size_t file_count_ = 0;
  DiskReserve disk_reserve_;
  Finished finished_;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_SEGMENT_WRITER_H_
