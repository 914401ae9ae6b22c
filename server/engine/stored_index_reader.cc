#include "server/engine/stored_index_reader.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

namespace alaya {

StatusOr<PinnedBytes> StoredIndexReader::ReadBlock(size_t block_index) const {
  ALAYA_ASSIGN_OR_RETURN(PinnedPage page,
                         store_->ReadIndexBlock(segment_, index_, Page(block_index)));
  if (!page.was_resident()) {
    disk_reads_->fetch_add(1, std::memory_order_relaxed);
    ReadAhead(block_index + 1);
  }
  const std::span<const std::byte> bytes = page.payload();
  return PinnedBytes{bytes, BlockPin(page.Detach(), &PinnedPage::ReleasePin)};
}

void StoredIndexReader::ReadAhead(size_t first_block) const {
  std::array<PageId, kReadAheadBlocks> pages;
  const size_t count = std::min(block_count_ - first_block, kReadAheadBlocks);
  for (size_t i = 0; i < count; ++i) pages[i] = Page(first_block + i);
  store_->LoadPages(segment_, std::span(pages).first(count));
}

bool StoredIndexReader::IsResident(size_t block_index) const {
  return store_->IsResident(Page(block_index));
}

}  // namespace alaya
