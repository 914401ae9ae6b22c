// The flat index: quantised key codes that are scanned whole, and exact scores of what
// the scan cannot exclude. Sound searches miss nothing; see flat_search.h.

#ifndef ALAYA_INDEX_FLAT_FLAT_INDEX_H_
#define ALAYA_INDEX_FLAT_FLAT_INDEX_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include "hwy/aligned_allocator.h"
#include "index/flat/flat_blocks.h"
#include "index/flat/flat_search.h"
#include "index/index_blocks.h"
#include "index/kv_reader.h"
#include "index/token_index.h"
#include "storage/types/status.h"

namespace alaya {

// A stored index, as BuildFlatIndex (flat_builder.h) made it.
class FlatIndex : public TokenIndex {
 public:
  // `blocks` and `reader` must outlive the index. The index may cover fewer tokens than
  // the reader has; the others are scored exactly.
  //
  // Errors: DataLoss if the first block is no header, or not one for this reader;
  //   whatever its read returns.
  static StatusOr<std::unique_ptr<FlatIndex>> Open(const IndexBlockReader* blocks,
                                                   const KvReader* reader);

  IndexKind kind() const override { return IndexKind::kFlat; }
  size_t token_count() const { return source_.header().token_count; }
  // Holds at most two pins of the index and a GatherPins of the reader at a time, or a few of the
  // index alone: those of open groups that are read ahead, and GatherPins::kMax for means.
  StatusOr<SearchResult> Search(const SearchRequest& request) const override {
    return SearchFlat(source_, *reader_, request);
  }

 private:
  class Source : public FlatSource {
   public:
    Source(const IndexBlockReader* blocks, FlatHeader header);

    const FlatHeader& header() const override { return header_; }
    Status MapQueries(MatrixView<const float> queries, MatrixView<float> mapped) const override;
    StatusOr<PinnedFlatBlock> Block(size_t block) const override;

   private:
    const IndexBlockReader* blocks_;
    const FlatHeader header_;
    const Rotation rotation_;
    // Blocks whose numbers were looked at; they do not change.
    const std::unique_ptr<std::atomic<bool>[]> is_checked_;
  };

  FlatIndex(const IndexBlockReader* blocks, FlatHeader header, const KvReader* reader)
      : source_(blocks, std::move(header)), reader_(reader) {}

  const Source source_;
  const KvReader* reader_;
};

// An index in memory that grows with its reader: for the tail of a session.
//
// Life: Extend whenever tokens were added; Search; Truncate when tokens are taken away.
// Threads: any number of searches at a time, none during Extend or Truncate.
class GrowingFlatIndex : public TokenIndex {
 public:
  // `reader` must outlive the index.
  explicit GrowingFlatIndex(const KvReader* reader) : reader_(reader) {}

  // Codes the whole groups of 64 tokens that the reader has more now. The first call
  // that finds kFirstTokens fixes the centre.
  //
  // Errors: as BuildFlatIndex; what was coded before stays.
  // Cost: follows the new tokens alone.
  static constexpr size_t kFirstTokens = 256;
  Status Extend();

  // Forgets tokens from `token_count` on. They may change before the next Extend.
  void Truncate(size_t token_count);

  IndexKind kind() const override { return IndexKind::kFlat; }
  size_t token_count() const { return source_ == nullptr ? 0 : source_->header().token_count; }
  size_t memory_bytes() const;
  StatusOr<SearchResult> Search(const SearchRequest& request) const override;

 private:
  class Source : public FlatSource {
   public:
    explicit Source(FlatHeader header);

    const FlatHeader& header() const override { return header_; }
    Status MapQueries(MatrixView<const float> queries, MatrixView<float> mapped) const override {
      Rotate(rotation_, queries, mapped);
      return OkStatus();
    }
    StatusOr<PinnedFlatBlock> Block(size_t block) const override;

    Status Extend(const KvReader& reader);
    void Truncate(size_t token_count);
    size_t memory_bytes() const;

   private:
    // A view of `token_count` tokens in a block that has room for block_tokens.
    MutableFlatBlock View(size_t block) const;

    FlatHeader header_;
    const Rotation rotation_;
    std::vector<hwy::AlignedFreeUniquePtr<std::byte[]>> blocks_;
  };

  const KvReader* reader_;
  std::unique_ptr<Source> source_;  // null before kFirstTokens
};

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_FLAT_INDEX_H_
