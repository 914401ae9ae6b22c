// Locks: `pool_mutex` (free frames, the clock's hand) comes before a shard's mutex
// (which pages are where). Nothing that blocks runs under either.
//
// A frame is in one of four states: free (in the pool), being loaded (owned by the
// loading thread), published (in a shard's map) or doomed (erased while pinned). Its
// `state` packs the doomed flag with the pin count, so that "the last pin of a doomed
// page frees it" is decided by one atomic operation.

#include "storage/cache/page_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "storage/types/check.h"

namespace alaya {
namespace {

constexpr size_t kShardCount = 128;
constexpr size_t kHugePageBytes = size_t{2} << 20;
constexpr int32_t kNoShard = -1;
constexpr uint32_t kDoomed = uint32_t{1} << 31;

// Waiters for a frame also look by themselves at this interval: a wake-up that was
// missed costs a little time, never correctness.
constexpr std::chrono::milliseconds kFramePoll{20};

uint64_t Mix(uint64_t x) {
  x ^= x >> 32;
  x *= 0x9E3779B97F4A7C15ULL;
  x ^= x >> 29;
  x *= 0xBF58476D1CE4E5B9ULL;
  return x ^ (x >> 32);
}

uint64_t Hash(const PageId& id) {
  const uint64_t where = uint64_t{id.page_index} << 32 | uint64_t{id.layer} << 12 |
                         uint64_t{id.head} << 2 | static_cast<uint64_t>(id.kind);
  return Mix(where ^ Mix(ToInt(id.segment)));
}

struct PageIdHash {
  size_t operator()(const PageId& id) const { return Hash(id); }
};

}  // namespace

struct alignas(64) PageFrame {
  PageCache::Impl* cache = nullptr;
  std::byte* data = nullptr;
  PageId id;                   // guarded by the shard's mutex while published
  uint32_t payload_bytes = 0;  // constant while pinned
  std::atomic<uint32_t> state{0};
  std::atomic<int32_t> shard_index{kNoShard};  // set while published
  std::atomic<bool> referenced{false};         // used since the hand last passed
};

struct PageCache::Impl {
  struct alignas(64) Shard {
    std::mutex mutex;
    std::condition_variable load_ended;
    // A null frame: some thread is loading the page.
    absl::flat_hash_map<PageId, PageFrame*, PageIdHash> pages;
    uint64_t hits = 0;
    uint64_t misses = 0;
    uint64_t evictions = 0;
  };

  std::chrono::milliseconds frame_timeout{};
  std::byte* mapping = nullptr;
  size_t mapping_bytes = 0;
  std::byte* arena = nullptr;
  size_t frame_count = 0;
  std::unique_ptr<PageFrame[]> frames;
  std::array<Shard, kShardCount> shards;
  std::atomic<uint64_t> published_count{0};
  std::atomic<uint32_t> waiting_count{0};

  std::mutex pool_mutex;
  std::condition_variable frame_freed;
  std::vector<PageFrame*> free_frames;
  size_t untouched_frame = 0;  // frames from here on were never used
  size_t hand = 0;

  ~Impl() {
    for (size_t i = 0; i < untouched_frame; ++i) ALAYA_CHECK(frames[i].state.load() == 0);
    if (mapping != nullptr) munmap(mapping, mapping_bytes);
  }

  Shard& ShardOf(size_t index) { return shards[index]; }
  static size_t ShardIndex(const PageId& id) { return Hash(id) >> 57; }

  bool TryEvict(PageFrame* frame);
  PageFrame* TryTakeFrame();
  StatusOr<PageFrame*> TakeFrame();
  void FreeFrame(PageFrame* frame);
  void Unpin(PageFrame* frame);
  StatusOr<PageFrame*> LoadFrame(const PageId& id, const Loader& load);
};
static_assert(kShardCount == 1 << (64 - 57), "ShardIndex takes the hash's upper bits");

// Requires pool_mutex. While it is held a published frame cannot become another
// page's: frames change owners only through the pool.
bool PageCache::Impl::TryEvict(PageFrame* frame) {
  const int32_t index = frame->shard_index.load(std::memory_order_acquire);
  if (index == kNoShard || frame->state.load(std::memory_order_relaxed) != 0) return false;
  if (frame->referenced.exchange(false, std::memory_order_relaxed)) return false;
  Shard& shard = ShardOf(static_cast<size_t>(index));
  const std::lock_guard lock(shard.mutex);
  if (frame->shard_index.load(std::memory_order_relaxed) != index) return false;
  // Acquires what the last reader did before it let go of the page.
  if (frame->state.load(std::memory_order_acquire) != 0) return false;
  shard.pages.erase(frame->id);
  ++shard.evictions;
  frame->shard_index.store(kNoShard, std::memory_order_relaxed);
  published_count.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

// Requires pool_mutex. Null if every frame is pinned or being loaded.
PageFrame* PageCache::Impl::TryTakeFrame() {
  if (!free_frames.empty()) {
    PageFrame* frame = free_frames.back();
    free_frames.pop_back();
    return frame;
  }
  if (untouched_frame < frame_count) return &frames[untouched_frame++];
  // The first round may only take away second chances.
  for (size_t step = 0; step < 2 * frame_count; ++step) {
    PageFrame* frame = &frames[hand];
    hand = hand + 1 == frame_count ? 0 : hand + 1;
    if (TryEvict(frame)) return frame;
  }
  return nullptr;
}

StatusOr<PageFrame*> PageCache::Impl::TakeFrame() {
  std::unique_lock lock(pool_mutex);
  PageFrame* frame = TryTakeFrame();
  if (frame != nullptr) return frame;
  const auto deadline = std::chrono::steady_clock::now() + frame_timeout;
  waiting_count.fetch_add(1);
  while (frame == nullptr && std::chrono::steady_clock::now() < deadline) {
    frame_freed.wait_for(lock, std::min(frame_timeout, kFramePoll));
    frame = TryTakeFrame();
  }
  waiting_count.fetch_sub(1);
  if (frame != nullptr) return frame;
  return ResourceExhausted("all " + std::to_string(frame_count) +
                           " frames of the page cache stayed pinned for " +
                           std::to_string(frame_timeout.count()) + " ms (memory budget " +
                           std::to_string(frame_count * kPagePayloadBytesMax) + " bytes)");
}

void PageCache::Impl::FreeFrame(PageFrame* frame) {
  const std::lock_guard lock(pool_mutex);
  free_frames.push_back(frame);
  frame_freed.notify_one();
}

void PageCache::Impl::Unpin(PageFrame* frame) {
  const uint32_t before = frame->state.fetch_sub(1, std::memory_order_acq_rel);
  if (before == (kDoomed | 1)) {
    frame->state.store(0, std::memory_order_relaxed);
    FreeFrame(frame);
  } else if (before == 1 && waiting_count.load() > 0) {
    frame_freed.notify_one();
  }
}

StatusOr<PageFrame*> PageCache::Impl::LoadFrame(const PageId& id, const Loader& load) {
  ALAYA_ASSIGN_OR_RETURN(PageFrame * frame, TakeFrame());
  StatusOr<size_t> payload_bytes = load(std::span(frame->data, kPagePayloadBytesMax));
  if (!payload_bytes.ok()) {
    FreeFrame(frame);
    return std::move(payload_bytes).status();
  }
  ALAYA_CHECK(*payload_bytes <= kPagePayloadBytesMax);
  frame->id = id;
  frame->payload_bytes = static_cast<uint32_t>(*payload_bytes);
  frame->state.store(1, std::memory_order_relaxed);
  return frame;
}

PageCache::PageCache(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PageCache::~PageCache() = default;

StatusOr<std::unique_ptr<PageCache>> PageCache::Create(uint64_t budget_bytes,
                                                       std::chrono::milliseconds frame_timeout) {
  const size_t frame_count = budget_bytes / kPagePayloadBytesMax;
  if (frame_count == 0) {
    return InvalidArgument("memory budget of " + std::to_string(budget_bytes) +
                           " bytes holds no page of " + std::to_string(kPagePayloadBytesMax));
  }
  auto impl = std::make_unique<Impl>();
  impl->frame_timeout = frame_timeout;
  impl->frame_count = frame_count;
  // One huge page more, so that the frames can begin on a huge page's boundary.
  impl->mapping_bytes = frame_count * kPagePayloadBytesMax + kHugePageBytes;
  void* mapping = mmap(nullptr, impl->mapping_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) {
    return ResourceExhausted("cannot map a memory budget of " + std::to_string(budget_bytes) +
                             " bytes");
  }
  impl->mapping = static_cast<std::byte*>(mapping);
  const size_t misaligned = reinterpret_cast<uintptr_t>(mapping) % kHugePageBytes;
  impl->arena = impl->mapping + (kHugePageBytes - misaligned) % kHugePageBytes;
  // Only a hint: a kernel without huge pages serves small ones.
  madvise(impl->arena, frame_count * kPagePayloadBytesMax, MADV_HUGEPAGE);
  impl->frames = std::make_unique<PageFrame[]>(frame_count);
  for (size_t i = 0; i < frame_count; ++i) {
    impl->frames[i].cache = impl.get();
    impl->frames[i].data = impl->arena + i * kPagePayloadBytesMax;
  }
  return std::unique_ptr<PageCache>(new PageCache(std::move(impl)));
}

StatusOr<PinnedPage> PageCache::Get(const PageId& id, const Loader& load) {
  const size_t shard_index = Impl::ShardIndex(id);
  Impl::Shard& shard = impl_->ShardOf(shard_index);
  {
    std::unique_lock lock(shard.mutex);
    for (;;) {
      const auto [entry, inserted] = shard.pages.try_emplace(id, nullptr);
      if (inserted) break;
      if (PageFrame* frame = entry->second; frame != nullptr) {
        frame->state.fetch_add(1, std::memory_order_relaxed);
        frame->referenced.store(true, std::memory_order_relaxed);
        ++shard.hits;
        return PinnedPage(frame, /*was_resident=*/true);
      }
      // Another thread is loading it. If that fails, this one tries in its turn.
      shard.load_ended.wait(lock);
    }
    ++shard.misses;
  }
  StatusOr<PageFrame*> frame = impl_->LoadFrame(id, load);
  const std::lock_guard lock(shard.mutex);
  shard.load_ended.notify_all();
  if (!frame.ok()) {
    shard.pages.erase(id);
    return std::move(frame).status();
  }
  shard.pages[id] = *frame;
  (*frame)->referenced.store(true, std::memory_order_relaxed);
  (*frame)->shard_index.store(static_cast<int32_t>(shard_index), std::memory_order_release);
  impl_->published_count.fetch_add(1, std::memory_order_relaxed);
  return PinnedPage(*frame, /*was_resident=*/false);
}

bool PageCache::Contains(const PageId& id) const {
  Impl::Shard& shard = impl_->ShardOf(Impl::ShardIndex(id));
  const std::lock_guard lock(shard.mutex);
  const auto entry = shard.pages.find(id);
  return entry != shard.pages.end() && entry->second != nullptr;
}

void PageCache::Erase(SegmentId segment) {
  std::vector<PageFrame*> unpinned;
  for (Impl::Shard& shard : impl_->shards) {
    const std::lock_guard lock(shard.mutex);
    absl::erase_if(shard.pages, [&](const auto& entry) {
      PageFrame* frame = entry.second;
      if (entry.first.segment != segment || frame == nullptr) return false;
      frame->shard_index.store(kNoShard, std::memory_order_relaxed);
      impl_->published_count.fetch_sub(1, std::memory_order_relaxed);
      const uint32_t before = frame->state.fetch_or(kDoomed, std::memory_order_acq_rel);
      if (before == 0) {
        frame->state.store(0, std::memory_order_relaxed);
        unpinned.push_back(frame);
      }
      return true;
    });
  }
  for (PageFrame* frame : unpinned) impl_->FreeFrame(frame);
}

PageCacheStats PageCache::stats() const {
  PageCacheStats stats;
  stats.capacity_bytes = impl_->frame_count * kPagePayloadBytesMax;
  stats.used_bytes = impl_->published_count.load() * kPagePayloadBytesMax;
  for (size_t i = 0; i < impl_->frame_count; ++i) {
    const uint32_t pins = impl_->frames[i].state.load(std::memory_order_relaxed) & ~kDoomed;
    if (pins > 0) stats.pinned_bytes += kPagePayloadBytesMax;
  }
  for (Impl::Shard& shard : impl_->shards) {
    const std::lock_guard lock(shard.mutex);
    stats.hits += shard.hits;
    stats.misses += shard.misses;
    stats.evictions += shard.evictions;
  }
  return stats;
}

PinnedPage::~PinnedPage() { ReleasePin(Detach()); }

std::span<const std::byte> PinnedPage::payload() const {
  if (frame_ == nullptr) return {};
  return {frame_->data, frame_->payload_bytes};
}

void* PinnedPage::Detach() { return std::exchange(frame_, nullptr); }

void PinnedPage::ReleasePin(void* detached) {
  if (detached == nullptr) return;
  auto* frame = static_cast<PageFrame*>(detached);
  frame->cache->Unpin(frame);
}

}  // namespace alaya
