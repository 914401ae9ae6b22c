// The memory tier: a buffer pool of equal, aligned frames under a hard budget.
//
// Pages are pinned while used; pinned pages stay, others leave about in LRU order
// (CLOCK: a hit costs no list surgery) when a frame is needed. Pages of indexes get
// more chances than pages of keys and values: every search reads them. All frames have
// kPagePayloadBytesMax bytes, so memory never fragments and the budget is exact.
// Frames lie in one mapping of huge pages and take memory when first used.

#ifndef ALAYA_STORAGE_CACHE_PAGE_CACHE_H_
#define ALAYA_STORAGE_CACHE_PAGE_CACHE_H_

#include <chrono>
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

// kOnce: a pass over much data that will not come again, as a build's. Once memory is
// full such pages take each other's frames, and not those of pages in use.
enum class PageUse : uint8_t { kRepeated, kOnce };

class PageCache;
struct PageFrame;

// A page that stays in memory while this lives; move-only.
class PinnedPage {
 public:
  PinnedPage() = default;
  PinnedPage(PinnedPage&& other) noexcept { *this = std::move(other); }
  PinnedPage& operator=(PinnedPage&& other) noexcept {
    std::swap(frame_, other.frame_);
    std::swap(was_resident_, other.was_resident_);
    return *this;
  }
  PinnedPage(const PinnedPage&) = delete;
  PinnedPage& operator=(const PinnedPage&) = delete;
  ~PinnedPage();

  bool valid() const { return frame_ != nullptr; }
  std::span<const std::byte> payload() const;  // 64-byte aligned
  // True if no I/O was needed.
  bool was_resident() const { return was_resident_; }

  // Gives the pin away: the caller must pass the result to ReleasePin once.
  void* Detach();
  static void ReleasePin(void* detached);

 private:
  friend class PageCache;
  PinnedPage(PageFrame* frame, bool was_resident) : frame_(frame), was_resident_(was_resident) {}

  PageFrame* frame_ = nullptr;
  bool was_resident_ = false;
};

class PageCache {
 public:
  // Writes the page's payload to `frame` (kPagePayloadBytesMax bytes) and returns
  // how many bytes it has.
  using Loader = std::function<StatusOr<size_t>(std::span<std::byte> frame)>;

  // How long Get waits for a frame while all are pinned.
  static constexpr std::chrono::milliseconds kFrameTimeout{10'000};

  // Errors: InvalidArgument if the budget holds no frame; ResourceExhausted if the
  //   address space cannot be had.
  static StatusOr<std::unique_ptr<PageCache>> Create(
      uint64_t budget_bytes, std::chrono::milliseconds frame_timeout = kFrameTimeout);
  ~PageCache();  // requires: nothing pinned
  PageCache(const PageCache&) = delete;
  PageCache& operator=(const PageCache&) = delete;

  // The page, pinned; loads it if it is not there. Calls for one page at the same
  // time load it once.
  //
  // Errors: ResourceExhausted if every frame stays pinned for the frame timeout; what
  //   the loader returns (nothing is cached then).
  // Threads: any; the loader runs outside every lock.
  // Cost: a hit takes no lock, some ten nanoseconds; a search pins thousands of pages.
  StatusOr<PinnedPage> Get(const PageId& id, const Loader& load, PageUse use = PageUse::kRepeated);
  // The page, pinned, if it is found in memory without a lock; else an invalid one.
  // Misses a page now and then that Get would find there.
  PinnedPage Find(const PageId& id);

  bool Contains(const PageId& id) const;
  // Drops a segment's unpinned pages; pinned ones leave when unpinned.
  void Erase(SegmentId segment);

  PageCacheStats stats() const;

 private:
  friend class PinnedPage;
  friend struct PageFrame;
  struct Impl;
  explicit PageCache(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CACHE_PAGE_CACHE_H_
