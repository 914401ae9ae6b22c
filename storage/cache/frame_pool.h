// The frames of the page cache: one arena under a hard budget, and who leaves it next.
//
// The arena is a row of chunks of kPagePayloadBytesMax. A chunk is one large frame
// (blocks of indexes) or kSmallFramesPerChunk small ones (pages of keys, values and
// queries), by what is needed at the moment; so pages of both sizes share one budget
// and nothing fragments.
//
// Eviction order: least recently used first, but a page that comes back stays longer,
// half a turnover for every doubling of its uses, and pages of indexes one turnover
// longer than others. A turnover is the loading of as many bytes as the pool has; it is
// divided into epochs, which is how finely uses are told apart. Uses that follow each
// other within two epochs are one use: a decode reads the same pages at every step. How
// often a page was used is remembered for a while after it left: without that, what
// comes back at longer intervals than a turnover would always look new. Within an epoch
// later pages leave first, since a prefix is of use only up to the first gap.
//
// The kernel clears a page of fresh memory when it is first written: that takes longer than
// reading its content from a fast disk. So a thread touches some memory ahead of its use.
//
// Uses are recorded in the frames without a lock. The order is a heap that learns of
// them when a page comes to its top, so it is exact although a hit never touches it.
//
// The budget is that of all that the store holds: what its other parts take, the arena gives up
// from its end (SetCapacity), and gets back when they shrink.
//
// Every page has an owner, and every owner a heap of its own: when one is at its limit its
// own pages make room, and else the page that is next in all heaps does. Pages of token ids
// have an owner of their own, whoever's they are, with a small limit: of a model with little
// KV a token they would take room from pages that cost more to read.
//
// Measured against LRU, CLOCK, S3-FIFO and W-TinyLFU: README.md.

#ifndef ALAYA_STORAGE_CACHE_FRAME_POOL_H_
#define ALAYA_STORAGE_CACHE_FRAME_POOL_H_

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "storage/cache/page_frame.h"
#include "storage/page/page.h"
#include "storage/types/status.h"

namespace alaya {

enum class FrameSize : uint8_t { kSmall, kLarge };

// kOnce: a pass over much data that will not come again, as a build's: it leaves first.
enum class PageUse : uint8_t { kRepeated, kOnce };

// Memory that the pages of one owner may take; 0: as much as there is. Owners are named by
// whoever asks for pages; pages without a name are nobody's and have no limit.
struct OwnerLimits {
  uint64_t others = 0;  // of owners that are not named here
  std::map<std::string, uint64_t, std::less<>> named = {};

  uint64_t Of(std::string_view owner) const {
    const auto found = named.find(owner);
    return owner.empty() ? 0 : found == named.end() ? others : found->second;
  }
};

// Memory that an owner's pages take.
struct OwnerBytes {
  std::string owner;
  uint64_t bytes = 0;
};

class FramePool {
 public:
  // More owners than this are not told apart, and have no limit.
  static constexpr size_t kOwnersMax = 1024;
  static constexpr size_t kSmallFrameBytes = kKvPagePayloadBytesMax;
  // Pages of token ids take at most one part in this many of the budget, but at least 1 MiB.
  static constexpr uint64_t kTokenPagesShare = 32;
  static constexpr size_t kSmallFramesPerChunk = kPagePayloadBytesMax / kSmallFrameBytes;

  // Takes an unpinned page out of the cache's table; false if it is in use. Called with
  // the pool's lock held.
  using Unpublish = std::function<bool(PageFrame*)>;

  // Errors: as PageCache::Create's.
  static StatusOr<std::unique_ptr<FramePool>> Create(uint64_t budget_bytes,
                                                     std::chrono::milliseconds frame_timeout,
                                                     Unpublish unpublish);
  ~FramePool();  // requires: nothing pinned
  FramePool(const FramePool&) = delete;
  FramePool& operator=(const FramePool&) = delete;

  // An exclusive frame for the owner's page; waits for one while all are pinned, or all
  // that the owner may have.
  // Errors: ResourceExhausted after the frame timeout.
  StatusOr<PageFrame*> Take(const PageId& id, FrameSize size, PageUse use, std::string_view owner);
  // The same, but null at once if all are pinned.
  PageFrame* TryTake(const PageId& id, FrameSize size, PageUse use, std::string_view owner);
  // Takes an exclusive frame back.
  void Free(PageFrame* frame);

  // From now on pages take at most so many bytes of the budget, rounded down to huge pages, of
  // which one is always left. Those beyond leave, and their memory goes back to the system; pages
  // in use stay until they are free at a later call.
  // Cost: the pages that leave.
  void SetCapacity(uint64_t bytes);

  // Whoever has more than its new limit gives the rest up with its next pages.
  void SetLimits(OwnerLimits limits);
  // Of all that ever had a page, in the order in which they came.
  std::vector<OwnerBytes> owner_bytes() const;

  // Entries of the eviction order, also of pages that are gone.
  size_t place_count() const;

  // Threads: any, for a pinned frame; no lock.
  void RecordUse(PageFrame* frame) const;
  void Unpin(PageFrame* frame);

  // Of the threads that see a doomed page without pins, one frees it.
  static bool TryClaimDoomed(PageFrame* frame);

  uint64_t capacity_bytes() const {
    return usable_chunks_.load(std::memory_order_relaxed) * kPagePayloadBytesMax;
  }
  // What the pool itself takes beside pages.
  uint64_t table_bytes() const;
  size_t frame_count() const { return chunks_.size() * kFramesPerChunk; }
  // Frames are numbered; which one a number stands for never changes.
  PageFrame* frame(size_t number) const { return &frames_[number]; }
  size_t NumberOf(const PageFrame* frame) const {
    return static_cast<size_t>(frame - frames_.get());
  }
  static size_t BytesOf(FrameSize size) {
    return size == FrameSize::kLarge ? kPagePayloadBytesMax : kSmallFrameBytes;
  }
  FrameSize SizeOf(const PageFrame* frame) const {
    return NumberOf(frame) % kFramesPerChunk == 0 ? FrameSize::kLarge : FrameSize::kSmall;
  }
  uint64_t pinned_bytes() const;

 private:
  // The large frame, then the small ones.
  static constexpr size_t kFramesPerChunk = 1 + kSmallFramesPerChunk;
  static constexpr uint32_t kAllFree = (uint32_t{1} << kSmallFramesPerChunk) - 1;

  struct Chunk {
    bool is_split = false;
    bool is_listed = false;    // in partly_free_
    bool is_withheld = false;  // free and beyond the capacity
    uint32_t free_mask = 0;    // of small frames, while split
  };
  // A page's place in the eviction order. Smallest leaves first.
  struct Place {
    uint64_t due = 0;
    uint32_t frame = 0;
    uint32_t generation = 0;
    bool operator>(const Place& other) const { return due > other.due; }
  };
  struct Owner {
    std::string name;
    uint64_t limit_bytes = 0;  // 0: none
    uint64_t used_bytes = 0;
    std::vector<Place> order = {};  // a heap

    bool IsBeyondLimitWith(uint64_t bytes) const {
      return limit_bytes > 0 && used_bytes + bytes > limit_bytes;
    }
  };
  // What is remembered of a page that left.
  struct Ghost {
    uint32_t tag : 24 = 0;
    uint32_t use_count : 8 = 0;
  };

  FramePool(std::chrono::milliseconds frame_timeout, Unpublish unpublish)
      : frame_timeout_(frame_timeout), unpublish_(std::move(unpublish)) {}

  // Has the kernel clear memory of the arena before it is needed.
  void MakeReady(std::byte* arena);
  bool IsAheadWanted() const {
    return ready_chunk_ < std::min(usable_chunks_.load(), untouched_chunk_ + chunks_ahead_);
  }
  bool IsAheadShort() const {
    return ready_chunk_ < std::min(usable_chunks_.load(), untouched_chunk_ + chunks_ahead_ / 8);
  }

  // All of these require mutex_.
  PageFrame* TakeLocked(const PageId& id, FrameSize size, PageUse use, uint16_t owner);
  uint16_t NumberOfOwner(const PageId& id, std::string_view name);
  bool MakeRoomWithinLimit(Owner* owner, uint64_t bytes);
  PageFrame* TakeFree(FrameSize size);
  PageFrame* Evict(FrameSize size);
  PageFrame* EvictNext(Owner* only_of);
  Owner* OwnerOfNext();
  PageFrame* Reuse(PageFrame* evicted, FrameSize size);
  PageFrame* TakeSmallOf(size_t chunk_index);
  void FreeSmall(size_t chunk_index, size_t small_index);
  void FreeChunk(size_t chunk_index);
  void EvictChunk(size_t chunk_index);
  void ReleaseMemory(size_t chunk_begin, size_t chunk_end);
  void FreeLocked(PageFrame* frame);
  void ReturnFrame(PageFrame* frame);
  bool TryEvict(PageFrame* frame);
  void Enter(PageFrame* frame, PageUse use, uint16_t owner);
  void Leave(PageFrame* frame);
  uint64_t Due(const PageFrame& frame) const;
  void Push(const PageFrame* frame, uint64_t due);

  PageFrame* FrameOf(size_t chunk_index, size_t index_in_chunk) const {
    return &frames_[chunk_index * kFramesPerChunk + index_in_chunk];
  }
  // The places of a page's ghost, the newest first.
  std::span<Ghost> GhostsOf(const PageId& id, uint32_t* tag);
  // Of a page that left; 0: not remembered.
  uint8_t RecallUses(const PageId& id);
  void RememberUses(const PageId& id, uint8_t use_count);

  const std::chrono::milliseconds frame_timeout_;
  const Unpublish unpublish_;
  std::byte* mapping_ = nullptr;
  size_t mapping_bytes_ = 0;
  std::unique_ptr<PageFrame[]> frames_;
  uint64_t epoch_bytes_ = 0;
  std::atomic<uint32_t> epoch_{1};
  std::atomic<uint32_t> waiting_count_{0};

  mutable std::mutex mutex_;
  std::condition_variable frame_freed_;
  // The rest is guarded by mutex_.
  std::vector<Chunk> chunks_;  // their number never changes
  // Those from here on are beyond the capacity. Written with the lock held.
  std::atomic<size_t> usable_chunks_{0};
  size_t untouched_chunk_ = 0;  // chunks from here on were never used
  std::vector<uint32_t> free_chunks_;
  std::vector<uint32_t> partly_free_;  // split chunks with a free frame, and some that were
  OwnerLimits limits_;
  std::vector<Owner> owners_{2};  // the first: nobody; the second: all pages of token ids
  std::map<std::string, uint16_t, std::less<>> owner_numbers_;
  std::vector<Ghost> ghosts_;
  uint64_t loaded_bytes_ = 0;
  size_t chunks_ahead_ = 0;  // so many before untouched_chunk_ are made ready
  size_t ready_chunk_ = 0;   // chunks before it are
  bool is_ready_thread_idle_ = false;
  bool stopped_ = false;
  std::condition_variable ready_wanted_;
  std::thread ready_thread_;  // last: uses all of the above
};

// Well mixed, equal for equal ids only by chance otherwise.
uint64_t HashOf(const PageId& id);

}  // namespace alaya

#endif  // ALAYA_STORAGE_CACHE_FRAME_POOL_H_
