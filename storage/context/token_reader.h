// The way of token ids from disk: read from the catalog's records, checked, and kept in the
// memory tier as pages while they are used.
//
// Ids are not held in memory as the rest of the catalog is: they are little beside the keys
// and values, but there may be far more of those on disk than memory has room for.

#ifndef ALAYA_STORAGE_CONTEXT_TOKEN_READER_H_
#define ALAYA_STORAGE_CONTEXT_TOKEN_READER_H_

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "storage/cache/page_cache.h"
#include "storage/context/chain_tokens.h"
#include "storage/context/stored_context.h"
#include "storage/database/database.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"

namespace alaya {

// Threads: any.
class TokenReader {
 public:
  // Both must outlive the reader. `on_damage` is called from any thread for each damaged record.
  TokenReader(const Database* database, PageCache* cache, DamageObserver on_damage = nullptr);

  // As TokenSource (chain_tokens.h). What is not in memory is read by whole records, and what
  // is wanted of one stays in memory as far as there is room.
  // Errors: DataLoss, naming the segment, if its tokens are damaged or missing; what the disk
  //   says; ResourceExhausted as PageCache::Get.
  StatusOr<TokenStretch> Read(const Segment& segment, uint64_t offset, uint64_t wanted_count) const;
  TokenSource source() const;

  // Keeps all tokens of a new segment in memory, as far as there is room.
  void Keep(const Segment& segment, std::span<const TokenId> tokens) const;

  uint64_t checksum_failures() const { return checksum_failures_.load(std::memory_order_relaxed); }

 private:
  StatusOr<std::vector<TokenId>> ReadRecord(const Segment& segment, uint32_t chunk_index) const;

  const Database* const database_;
  PageCache* const cache_;
  const DamageObserver on_damage_;
  mutable std::atomic<uint64_t> checksum_failures_{0};
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_TOKEN_READER_H_
