// The way of a page from disk to memory: read, checked, cached; one at a time when
// somebody needs it, many at a time when it is known what will be needed.

#ifndef ALAYA_STORAGE_CONTEXT_PAGE_READER_H_
#define ALAYA_STORAGE_CONTEXT_PAGE_READER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "storage/cache/page_cache.h"
#include "storage/context/read_pool.h"
#include "storage/context/stored_context.h"
#include "storage/context/stored_index.h"
#include "storage/database/database.h"
#include "storage/page/page.h"
#include "storage/types/status.h"

namespace alaya {

class PageReader {
 public:
  // Both must outlive the reader. `on_damage` is called from any thread for each damaged
  // page of keys, values or queries; an index is built anew and nobody is told.
  PageReader(const Database* database, PageCache* cache, DamageObserver on_damage = nullptr);
  ~PageReader();

  using PageUser = std::function<void(size_t i, std::span<const std::byte> payload)>;

  // These are ContextStore's.
  StatusOr<PinnedPage> ReadPage(const Segment& segment, const PageId& id, PageUse use);
  StatusOr<PinnedPage> ReadIndexBlock(const Segment& segment, const StoredIndex& index,
                                      const PageId& id);
  size_t LoadPages(const Segment& segment, std::span<const PageId> ids);
  ReadPool::Pending StartLoading(std::shared_ptr<const Segment> segment,
                                 std::span<const PageId> ids);
  void Announce(std::shared_ptr<const Segment> segment, std::span<const PageId> ids);
  void DropAnnounced(const Segment& segment, LayerIndex layer);
  Status ScanPages(const Segment& segment, std::span<const PageId> ids, const PageUser& use);
  ReadPool::Pending StartReading(std::function<void()> read);
  uint64_t ResidentTokens(const std::vector<SegmentLink>& chain) const;

  uint64_t checksum_failures() const { return checksum_failures_.load(std::memory_order_relaxed); }

 private:
  struct Expected;
  struct Runs;

  // Reads one page from disk and says what is wrong with it.
  Status ReadAlone(const Expected& expected,
                   const std::function<void(std::span<const std::byte> payload)>& use);
  // The page into a frame; returns its bytes.
  StatusOr<size_t> Load(const Expected& expected, std::span<std::byte> frame);
  // Pages that follow each other on disk; leaves out those with which something is wrong.
  void ReadTogether(const Segment& segment, std::span<const PageId> run, size_t page_bytes_max,
                    const PageUser& use);
  Runs MissingRuns(const Segment& segment, std::span<const PageId> ids) const;
  void LoadRun(const Segment& segment, std::span<const PageId> run);
  void LoadSlots(const Segment& segment, std::span<PageCache::Slot> slots);

  const Database* const database_;
  PageCache* const cache_;
  const DamageObserver on_damage_;
  std::atomic<uint64_t> checksum_failures_{0};
  ReadPool pool_;  // last: its threads use all of the above
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_PAGE_READER_H_
