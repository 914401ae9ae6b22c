// A frame of the page cache: where one page lies, and what is known of its use.
//
// A frame is exclusive (free in the pool, part of another frame, or owned by the thread
// that loads it), published (in a shard's map) or doomed (erased while pinned). `state`
// packs the flags with the pin count, so that "the last pin of a doomed page frees it"
// and "only an unpinned page is evicted" are decided by one atomic operation.

#ifndef ALAYA_STORAGE_CACHE_PAGE_FRAME_H_
#define ALAYA_STORAGE_CACHE_PAGE_FRAME_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "storage/page/page.h"

namespace alaya {

class FramePool;

struct alignas(64) PageFrame {
  static constexpr uint32_t kDoomed = uint32_t{1} << 31;
  static constexpr uint32_t kExclusive = uint32_t{1} << 30;
  static constexpr uint32_t kPins = kExclusive - 1;
  static constexpr int16_t kNoShard = -1;

  FramePool* pool = nullptr;
  std::byte* data = nullptr;
  // These change only while the frame is exclusive.
  PageId id;
  uint32_t payload_bytes = 0;
  std::atomic<uint32_t> state{kExclusive};
  // When it was used last, in the pool's epochs.
  std::atomic<uint32_t> last_epoch{0};
  // Counts what was in the frame, so that old entries of the eviction order are known.
  uint32_t generation = 0;
  std::atomic<int16_t> shard_index{kNoShard};  // set while published
  std::atomic<uint8_t> use_count{0};           // 0: read for a pass that will not come again
  std::atomic<bool> unused_prefetch{false};    // nobody has asked for it yet
  uint16_t owner = 0;                          // whose memory it takes; the pool's, under its lock
};
static_assert(sizeof(PageFrame) == 64);

}  // namespace alaya

#endif  // ALAYA_STORAGE_CACHE_PAGE_FRAME_H_
