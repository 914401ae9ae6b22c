#include "server/engine/stored_index_reader.h"

#include <utility>

namespace alaya {

StatusOr<PinnedBytes> StoredIndexReader::ReadBlock(size_t block_index) const {
  ALAYA_ASSIGN_OR_RETURN(PinnedPage page,
                         store_->ReadIndexBlock(segment_, index_, Page(block_index)));
  if (!page.was_resident()) disk_reads_->fetch_add(1, std::memory_order_relaxed);
  const std::span<const std::byte> bytes = page.payload();
  return PinnedBytes{bytes, BlockPin(page.Detach(), &PinnedPage::ReleasePin)};
}

bool StoredIndexReader::IsResident(size_t block_index) const {
  return store_->IsResident(Page(block_index));
}

}  // namespace alaya
