#include "server/engine/segment_reader.h"

#include <algorithm>
#include <array>
#include <utility>

#include "storage/types/check.h"

namespace alaya {
namespace {

// Blocks that are asked for to guess how much of a segment is in memory.
constexpr size_t kResidencySamples = 4;

}  // namespace

SegmentReader::SegmentReader(ContextStore* store, const Segment& segment, uint64_t token_count,
                             LayerIndex layer, KvHeadIndex head)
    : store_(store),
      segment_(segment),
      model_(segment.model->model),
      token_count_(token_count),
      layer_(layer),
      head_(head),
      page_tokens_(PageTokens(model_)) {}

PageId SegmentReader::Page(KvKind kind, size_t block_index) const {
  return {.segment = segment_.id,
          .layer = ToInt(layer_),
          .page_index = static_cast<uint32_t>(block_index),
          .kind = kind == KvKind::kKey ? PageKind::kKey : PageKind::kValue,
          .head = ToInt(head_)};
}

void SegmentReader::CountDiskReads(uint64_t count) const {
  read_from_disk_.store(true, std::memory_order_relaxed);
  if (disk_reads_ != nullptr) disk_reads_->fetch_add(count, std::memory_order_relaxed);
}

void SegmentReader::ReadAhead(KvKind kind, std::span<const uint32_t> blocks) const {
  // Pages of a pass that will not come again come through frames of their own.
  if (is_expected_in_memory_ || page_use_ == PageUse::kOnce) return;
  std::array<PageId, 2 * kReadAheadBlocks> pages;
  size_t count = 0;
  for (const uint32_t block : blocks.first(std::min(blocks.size(), kReadAheadBlocks))) {
    pages[count++] = Page(kind, block);
    // The values lie behind their keys, and half of them are wanted next: on disks a second
    // read costs more than twice the bytes of the first.
    const bool with_values = kind == KvKind::kKey && !store_->IsResident(pages[count - 1]);
    if (with_values) pages[count++] = Page(KvKind::kValue, block);
  }
  if (const size_t loaded = store_->LoadPages(segment_, std::span(pages).first(count)); loaded > 0)
    CountDiskReads(loaded);
}

void SegmentReader::FetchAhead(KvKind kind, std::span<const uint32_t> blocks) const {
  std::array<PageId, kReadAheadBlocks> pages;
  const size_t count = std::min(blocks.size(), kReadAheadBlocks);
  for (size_t i = 0; i < count; ++i) pages[i] = Page(kind, blocks[i]);
  store_->FetchFrames(std::span(pages).first(count));
}

StatusOr<PinnedRows> SegmentReader::ReadBlock(KvKind kind, size_t block_index) const {
  ALAYA_ASSIGN_OR_RETURN(PinnedPage page,
                         store_->ReadPage(segment_, Page(kind, block_index), page_use_));
  if (!page.was_resident()) CountDiskReads(1);
  // The page may hold more than is kept of the segment.
  const size_t row_count =
      std::min<size_t>(page_tokens_, token_count_ - block_index * page_tokens_);
  ALAYA_CHECK(page.payload().size() >= row_count * model_.row_bytes());
  const EncodedMatrixView rows{page.payload().data(), row_count, model_.head_dim, model_.dtype};
  return PinnedRows{rows, BlockPin(page.Detach(), &PinnedPage::ReleasePin)};
}

double SegmentReader::ResidentShare(size_t first_block, size_t block_count) const {
  const size_t sample_count = std::min(block_count, kResidencySamples);
  if (sample_count == 0) return 1;
  size_t resident_count = 0;
  for (size_t sample = 0; sample < sample_count; ++sample) {
    // Not at the ends: windows come to memory alone.
    const size_t block = first_block + (2 * sample + 1) * block_count / (2 * sample_count);
    if (store_->IsResident(Page(KvKind::kKey, block))) ++resident_count;
  }
  return static_cast<double>(resident_count) / static_cast<double>(sample_count);
}

bool SegmentReader::IsInMemory() const {
  return is_expected_in_memory_ || ResidentShare(0, block_count()) == 1;
}

}  // namespace alaya
