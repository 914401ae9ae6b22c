// The memory tier: a buffer pool of equal, aligned frames under a hard budget.
//
// Pages are pinned while used; pinned pages stay, others leave in LRU order when a
// frame is needed. All frames have kPagePayloadBytesMax bytes, so memory never
// fragments and the budget is exact.

#ifndef ALAYA_STORAGE_CACHE_PAGE_CACHE_H_
#define ALAYA_STORAGE_CACHE_PAGE_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "storage/page/page.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"

namespace alaya {

struct PageCacheStats {
  uint64_t capacity_bytes = 0;
  uint64_t used_bytes = 0;    // frames that hold a page
  uint64_t pinned_bytes = 0;  // frames in use right now
  uint64_t hits = 0;
  uint64_t misses = 0;
  uint64_t evictions = 0;
};

class PageCache;
struct PageFrame;

// A page that stays in memory while this lives; move-only.
class PinnedPage {
 public:
  PinnedPage() = default;
  PinnedPage(PinnedPage&& other) noexcept { *this = std::move(other); }
  PinnedPage& operator=(PinnedPage&& other) noexcept {
    std::swap(cache_, other.cache_);
    std::swap(frame_, other.frame_);
    std::swap(was_resident_, other.was_resident_);
    return *this;
  }
  PinnedPage(const PinnedPage&) = delete;
  PinnedPage& operator=(const PinnedPage&) = delete;
  ~PinnedPage();

  std::span<const std::byte> payload() const;  // 64-byte aligned
  // True if no I/O was needed.
  bool was_resident() const { return was_resident_; }

  // Gives the pin away: the caller must pass the result to ReleasePin once.
  void* Detach();
  static void ReleasePin(void* detached);

 private:
  friend class PageCache;
  PageCache* cache_ = nullptr;
  PageFrame* frame_ = nullptr;
  bool was_resident_ = false;
};

class PageCache {
 public:
  // Writes the page's payload to `frame` (kPagePayloadBytesMax bytes) and returns
  // how many bytes it has.
  using Loader = std::function<StatusOr<size_t>(std::span<std::byte> frame)>;

  explicit PageCache(uint64_t budget_bytes);
  ~PageCache();  // requires: nothing pinned

  // The page, pinned; loads it if it is not there. Calls for one page at the same
  // time load it once.
  //
  // Errors: ResourceExhausted if every frame stays pinned for 10 seconds; what the
  //   loader returns (nothing is cached then).
  // Threads: any.
  StatusOr<PinnedPage> Get(const PageId& id, const Loader& load);

  bool Contains(const PageId& id) const;
  // Drops a segment's unpinned pages; pinned ones leave when unpinned.
  void Erase(SegmentId segment);

  PageCacheStats stats() const;

 private:
  friend class PinnedPage;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CACHE_PAGE_CACHE_H_
