#include "storage/context/segment_merge.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include "storage/context/segment_writer.h"
#include "storage/file/file_system.h"

namespace alaya {
namespace {

using Run = std::vector<std::shared_ptr<const Segment>>;

// Removes what cannot be removed at the next start.
class ImportDirectory {
 public:
  explicit ImportDirectory(std::string path) : path_(std::move(path)) {}
  ~ImportDirectory() { RemoveTree(path_).IgnoreError(); }
  ImportDirectory(const ImportDirectory&) = delete;
  ImportDirectory& operator=(const ImportDirectory&) = delete;

  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

class SegmentMerge {
 public:
  SegmentMerge(const SegmentMerging& merging, const Run& run, std::string directory,
               std::unique_ptr<Segment> segment, std::vector<TokenId> tokens,
               const std::function<bool()>& should_stop)
      : merging_(merging),
        run_(run),
        model_(segment->model->model),
        should_stop_(should_stop),
        directory_(std::move(directory)),
        segment_(std::move(segment)),
        tokens_(std::move(tokens)) {}
  ~SegmentMerge() {
    files_.reset();
    // Not handed on to the reaper: nobody else will drop what was kept of it.
    if (segment_ != nullptr) merging_.cache->Erase(segment_->id);
  }
  SegmentMerge(const SegmentMerge&) = delete;
  SegmentMerge& operator=(const SegmentMerge&) = delete;

  StatusOr<std::shared_ptr<const Segment>> Write() {
    ALAYA_RETURN_IF_ERROR(CreateDirectories(directory_.path()));
    // No quota: making room for a merge by evicting contexts would be no gain.
    SegmentWriterOptions writing{.directory = directory_.path(),
                                 .disk_reserve_bytes = merging_.disk_reserve_bytes};
    const bool is_kept = IsKeptInMemory();
    if (is_kept) {
      writing.keep = [this](const PageId& id, std::span<const std::byte> payload) {
        merging_.cache->Put(id, payload, segment_->tenant);
      };
    }
    files_ = std::make_unique<SegmentWriter>(merging_.database, *segment_, std::move(writing));
    for (uint32_t layer = 0; layer < model_.num_layers; ++layer) {
      for (const auto& part : run_) {
        ALAYA_RETURN_IF_ERROR(CopyRows(*part, LayerIndex{layer}));
        ALAYA_RETURN_IF_ERROR(CopyQueries(*part, LayerIndex{layer}));
      }
    }
    ALAYA_ASSIGN_OR_RETURN(SegmentWriter::Finished finished, files_->Finish());
    segment_->stored_bytes = finished.bytes;
    segment_->query_counts = std::move(finished.query_counts);
    // Once pages may be in the database the segment must die through the reaper.
    std::shared_ptr<const Segment> merged = merging_.reaper->Adopt(std::move(segment_));
    ALAYA_RETURN_IF_ERROR(merging_.database->IngestPages(finished.files));
    if (is_kept) merging_.tokens->Keep(*merged, tokens_);
    ALAYA_RETURN_IF_ERROR(merging_.catalog->ReplaceRun(run_, merged, tokens_));
    return merged;
  }

 private:
  bool IsKeptInMemory() const {
    if (segment_->token_count * model_.token_bytes() > merging_.kept_bytes_max) return false;
    return std::ranges::all_of(
        run_, [this](const auto& part) { return merging_.cache->Contains({.segment = part->id}); });
  }

  // Gathers page `page_index` of all heads to rows as a writer takes them.
  Status Gather(const Segment& part, LayerIndex layer, uint32_t page_index, PageKind kind,
                uint32_t head_count, std::vector<std::byte>* rows) const {
    const size_t row_bytes = model_.row_bytes();
    rows->clear();
    for (uint32_t head = 0; head < head_count; ++head) {
      const PageId id{part.id, ToInt(layer), page_index, kind, head};
      ALAYA_ASSIGN_OR_RETURN(const PinnedPage page,
                             merging_.reader->ReadPage(part, id, PageUse::kOnce));
      const std::span<const std::byte> payload = page.payload();
      rows->resize(payload.size() * head_count);
      for (size_t row = 0; row < payload.size() / row_bytes; ++row) {
        std::memcpy(rows->data() + (row * head_count + head) * row_bytes,
                    payload.data() + row * row_bytes, row_bytes);
      }
    }
    return OkStatus();
  }

  Status CopyRows(const Segment& part, LayerIndex layer) {
    const uint64_t page_tokens = PageTokens(model_);
    for (uint64_t begin = 0; begin < part.token_count; begin += page_tokens) {
      if (should_stop_()) return MakeError(StatusCode::kCancelled, "the merge was stopped");
      const auto page = static_cast<uint32_t>(begin / page_tokens);
      ALAYA_RETURN_IF_ERROR(Gather(part, layer, page, PageKind::kKey, model_.num_kv_heads, &rows_));
      ALAYA_RETURN_IF_ERROR(
          Gather(part, layer, page, PageKind::kValue, model_.num_kv_heads, &values_));
      ALAYA_RETURN_IF_ERROR(files_->Append(layer, rows_, values_));
    }
    return OkStatus();
  }

  Status CopyQueries(const Segment& part, LayerIndex layer) {
    const uint64_t page_tokens = PageTokens(model_);
    for (uint64_t begin = 0; begin < part.query_counts[ToInt(layer)]; begin += page_tokens) {
      const auto page = static_cast<uint32_t>(begin / page_tokens);
      ALAYA_RETURN_IF_ERROR(
          Gather(part, layer, page, PageKind::kQuery, model_.num_query_heads, &rows_));
      ALAYA_RETURN_IF_ERROR(files_->AppendQueries(layer, rows_));
    }
    return OkStatus();
  }

  const SegmentMerging& merging_;
  const Run& run_;
  const Model model_;
  const std::function<bool()>& should_stop_;
  const ImportDirectory directory_;
  std::unique_ptr<Segment> segment_;
  const std::vector<TokenId> tokens_;
  std::unique_ptr<SegmentWriter> files_;
  std::vector<std::byte> rows_;
  std::vector<std::byte> values_;
};

}  // namespace

StatusOr<std::shared_ptr<const Segment>> MergeSegmentRun(const SegmentMerging& merging,
                                                         const std::string& directory_prefix,
                                                         const Run& run,
                                                         const std::function<bool()>& should_stop) {
  const Segment& first = *run.front();
  std::vector<SegmentLink> chain;
  for (const auto& part : run) chain.push_back({part, part->token_count});
  ALAYA_ASSIGN_OR_RETURN(std::vector<TokenId> tokens,
                         ReadChainTokens(chain, {first.token_begin, chain.back().range().end},
                                         merging.tokens->source()));
  auto segment = std::make_unique<Segment>();
  ALAYA_ASSIGN_OR_RETURN(segment->id, merging.catalog->AllocateSegmentId());
  segment->model = first.model;
  segment->tenant = first.tenant;
  segment->token_begin = first.token_begin;
  segment->wanted_indexes = first.wanted_indexes;
  segment->token_count = tokens.size();
  std::string directory = directory_prefix + std::to_string(ToInt(segment->id));
  return SegmentMerge(merging, run, std::move(directory), std::move(segment), std::move(tokens),
                      should_stop)
      .Write();
}

}  // namespace alaya
