// The memory tier: a buffer pool of aligned pages under a hard budget.
//
// Pages are pinned while used; pinned pages stay, others leave when room is needed, in
// the order that frame_pool.h describes. Frames lie in one mapping of huge pages and
// take memory when first used.

#ifndef ALAYA_STORAGE_CACHE_PAGE_CACHE_H_
#define ALAYA_STORAGE_CACHE_PAGE_CACHE_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "storage/cache/frame_pool.h"
#include "storage/page/page.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"

namespace alaya {

// Pages as they are counted: keys, values, queries, token ids, indexes of any kind.
enum class PageClass : uint8_t { kKey, kValue, kQuery, kToken, kIndex };
inline constexpr size_t kPageClassCount = 5;
constexpr PageClass ClassOf(PageKind kind) {
  return IsIndex(kind) ? PageClass::kIndex : static_cast<PageClass>(kind);
}

struct PageCacheStats {
  struct OfClass {
    uint64_t used_bytes = 0;  // frames that hold a page
    uint64_t page_count = 0;
    uint64_t hits = 0;
    uint64_t misses = 0;
    uint64_t loaded_bytes = 0;  // read into memory, also ahead of use
  };

  uint64_t capacity_bytes = 0;
  uint64_t used_bytes = 0;
  uint64_t table_bytes = 0;   // what the cache itself takes beside pages
  uint64_t pinned_bytes = 0;  // frames in use right now
  uint64_t hits = 0;
  uint64_t misses = 0;
  uint64_t evictions = 0;                        // pages that made room
  uint64_t dropped_pages = 0;                    // pages that went with their segment
  uint64_t prefetched = 0;                       // pages loaded before anyone asked
  uint64_t prefetch_useful = 0;                  // of those, pages that were asked for later
  uint64_t prefetch_wasted = 0;                  // and pages that left without
  std::array<OfClass, kPageClassCount> classes;  // by PageClass
  std::vector<OwnerBytes> owners;                // of all that ever had a page

  uint64_t page_count() const {
    uint64_t count = 0;
    for (const OfClass& of_class : classes) count += of_class.page_count;
    return count;
  }
};

// How a page is asked for.
struct PageRead {
  size_t bytes_max = kPagePayloadBytesMax;  // what it may have
  PageUse use = PageUse::kRepeated;
  std::string_view owner = {};  // whose memory it takes, if it is not there yet
};

class PageCache;

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
  // Writes the page's payload to `frame`, which has room for what was asked for, and
  // returns how many bytes it has.
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

  // What pages may take from now on, at most the budget; see FramePool.
  void SetCapacity(uint64_t bytes);
  // Who has as much as it may have loses pages of its own when it needs others. Threads: any.
  void SetLimits(OwnerLimits limits);

  // The page, pinned; loads it if it is not there. Calls for one page at the same
  // time load it once.
  //
  // Errors: ResourceExhausted if every frame stays pinned for the frame timeout; what
  //   the loader returns (nothing is cached then).
  // Threads: any; the loader runs outside every lock.
  // Cost: a hit takes no lock, some ten nanoseconds; a search pins thousands of pages.
  StatusOr<PinnedPage> Get(const PageId& id, const Loader& load, PageRead read = {});
  // The page, pinned, if it is found in memory without a lock; else an invalid one.
  // Misses a page now and then that Get would find there.
  PinnedPage Find(const PageId& id, PageUse use = PageUse::kRepeated);

  // One of several pages that are loaded together.
  struct Slot {
    PageId id;
    std::span<std::byte> frame;
    size_t payload_bytes = 0;  // set by whoever loads it; 0: it could not be loaded
  };
  using SlotLoader = std::function<void(std::span<Slot> slots)>;
  // Loads pages that will be asked for soon: calls `load` once, with a slot for each that
  // is not there and not being loaded, in the order of `ids`; not at all if that is none.
  // Does not wait for frames: pages for which there are none are left out.
  void Prefetch(std::span<const PageId> ids, size_t bytes_max, std::string_view owner,
                const SlotLoader& load);
  // Keeps a page that was just written, as far as there is room for it.
  void Put(const PageId& id, std::span<const std::byte> payload, std::string_view owner);

  // Asks the processor for what Find will read of these pages. A search pins thousands, and each
  // has a frame of its own somewhere in the table of frames: waiting for them took a fourth of its
  // time.
  void FetchFrames(std::span<const PageId> ids) const;

  bool Contains(const PageId& id) const;
  // As Contains, without a lock; says false now and then for a page that is there.
  bool ProbablyContains(const PageId& id) const;
  // Drops a segment's unpinned pages; pinned ones leave when unpinned.
  void Erase(SegmentId segment);

  PageCacheStats stats() const;

 private:
  struct Impl;
  explicit PageCache(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CACHE_PAGE_CACHE_H_
