#include "storage/context/index_commit.h"

#include <utility>

#include "storage/context/index_page_writer.h"
#include "storage/file/file_system.h"

namespace alaya {
namespace {

class StoredIndexWriter : public IndexWriter {
 public:
  // Takes over the directory.
  StoredIndexWriter(const IndexWriting& writing, std::shared_ptr<const Segment> segment,
                    std::unique_ptr<StoredIndex> index, std::string directory)
      : writing_(writing),
        segment_(std::move(segment)),
        index_(std::move(index)),
        directory_(std::move(directory)),
        pages_(std::make_unique<IndexPageWriter>(
            writing.database, *segment_, *index_,
            SegmentWriterOptions{.directory = directory_,
                                 .disk_reserve_bytes = writing.disk_reserve_bytes,
                                 .quota = writing.quota})) {}
  ~StoredIndexWriter() override {
    pages_.reset();
    // What cannot be removed is swept at the next start.
    RemoveTree(directory_).IgnoreError();
  }

  Status AppendBlock(LayerIndex layer, KvHeadIndex head,
                     std::span<const std::byte> block) override {
    if (first_error_.ok()) first_error_ = pages_->AppendBlock(layer, head, block);
    return first_error_;
  }

  Status Commit() override {
    ALAYA_RETURN_IF_ERROR(first_error_);
    // A second call, or one after an error, has nothing to commit.
    first_error_ = FailedPrecondition("the index was committed before, or failed to");
    ALAYA_ASSIGN_OR_RETURN(IndexPageWriter::Finished finished, pages_->Finish());
    index_->block_counts = std::move(finished.block_counts);
    index_->stored_bytes = finished.bytes;
    // Once pages may be in the database the index must die through the reaper.
    std::shared_ptr<const StoredIndex> index = writing_.reaper->Adopt(std::move(index_));
    if (!finished.files.empty()) {
      ALAYA_RETURN_IF_ERROR(writing_.database->IngestPages(finished.files));
    }
    return writing_.catalog->CommitIndex(*segment_, std::move(index));
  }

 private:
  const IndexWriting writing_;
  const std::shared_ptr<const Segment> segment_;
  std::unique_ptr<StoredIndex> index_;
  const std::string directory_;
  std::unique_ptr<IndexPageWriter> pages_;
  Status first_error_;
};

}  // namespace

StatusOr<std::unique_ptr<IndexWriter>> BeginStoredIndex(const IndexWriting& writing,
                                                        const std::string& directory_prefix,
                                                        std::shared_ptr<const Segment> segment,
                                                        IndexFormat format) {
  if (format.kind < 1 || format.kind > kIndexKindMax) {
    return InvalidArgument("index kind " + std::to_string(format.kind) + ": allowed is 1 to " +
                           std::to_string(kIndexKindMax));
  }
  auto index = std::make_unique<StoredIndex>();
  ALAYA_ASSIGN_OR_RETURN(index->id, writing.catalog->AllocateSegmentId());
  index->kind = format.kind;
  index->version = format.version;
  index->num_kv_heads = segment->model->model.num_kv_heads;
  const std::string directory = directory_prefix + std::to_string(ToInt(index->id));
  ALAYA_RETURN_IF_ERROR(CreateDirectories(directory));
  return std::make_unique<StoredIndexWriter>(writing, std::move(segment), std::move(index),
                                             directory);
}

}  // namespace alaya
