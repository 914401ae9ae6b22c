// Locks: the pool's mutex (free frames, the eviction order) comes before a shard's mutex
// (which pages are where). Nothing that blocks runs under either.
//
// A hit takes no lock: a table of hints names the frame that lately held a page of this
// hash. The reader pins that frame, whatever it holds, then looks: if it is exclusive
// or doomed, or holds another page, the pin is taken back and the shards are asked.
// Frames are never freed and their id changes only while they are exclusive, so a
// stale hint costs time but never gives a wrong page.

#include "storage/cache/page_cache.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "storage/cache/page_frame.h"
#include "storage/types/check.h"

namespace alaya {
namespace {

constexpr size_t kShardCount = 128;

// Hints of neighbouring pages share a cache line, as they are read one after the other.
constexpr size_t kHintsPerLine = 64 / sizeof(uint32_t);
// More hints than frames, so that few pages want the same one.
constexpr size_t kHintsPerFrame = 4;
constexpr size_t kHitCounterCount = 16;

struct PageIdHash {
  size_t operator()(const PageId& id) const { return HashOf(id); }
};

FrameSize FrameSizeFor(size_t bytes_max) {
  return bytes_max <= FramePool::kSmallFrameBytes ? FrameSize::kSmall : FrameSize::kLarge;
}

}  // namespace

struct PageCache::Impl {
  struct alignas(64) Shard {
    std::mutex mutex;
    std::condition_variable load_ended;
    // A null frame: some thread is loading the page.
    absl::flat_hash_map<PageId, PageFrame*, PageIdHash> pages;
    std::array<PageCacheStats::OfClass, kPageClassCount> classes;  // hits are not counted here
    uint64_t evictions = 0;
    uint64_t dropped_pages = 0;
    uint64_t prefetched = 0;
    uint64_t prefetch_wasted = 0;
  };
  // Threads count hits apart, so that they do not wait for each other's cache line.
  struct alignas(64) HitCounter {
    std::array<std::atomic<uint64_t>, kPageClassCount> count{};
    std::atomic<uint64_t> prefetch_useful{0};
  };
  // Why a page is brought to memory.
  enum class Reason : uint8_t { kAskedFor, kPrefetch, kWritten };

  std::unique_ptr<FramePool> pool;
  std::array<Shard, kShardCount> shards;
  std::array<HitCounter, kHitCounterCount> hits;
  // Number of a frame + 1; 0: none.
  std::unique_ptr<std::atomic<uint32_t>[]> hints;
  size_t hint_line_mask = 0;

  static size_t ShardIndex(const PageId& id) { return HashOf(id) >> 57; }
  Shard& ShardOf(const PageId& id) { return shards[ShardIndex(id)]; }

  std::array<std::atomic<uint32_t>*, 2> HintsOf(const PageId& id) const;
  void RememberHint(const PageFrame* frame);
  PageFrame* TryPin(uint32_t hint, const PageId& id);
  void CountHit(PageFrame* frame, PageUse use);

  bool TryUnpublish(PageFrame* frame);
  void CountGone(Shard* shard, const PageFrame& frame);
  Status Fill(PageFrame* frame, const Loader& load);
  void Publish(PageFrame* frame, Reason reason, uint32_t pins);
  bool BeginLoad(const PageId& id);
  void EndLoad(const PageId& id);
};
static_assert(kShardCount == 1 << (64 - 57), "ShardIndex takes the hash's upper bits");

// The two places where the hint of a page may be.
std::array<std::atomic<uint32_t>*, 2> PageCache::Impl::HintsOf(const PageId& id) const {
  PageId line_id = id;
  line_id.page_index = static_cast<uint32_t>(line_id.page_index / kHintsPerLine);
  const uint64_t hash = HashOf(line_id);
  // Short segments have only page 0: the hash spreads them over the line.
  const size_t slot = (id.page_index + (hash >> 60)) % kHintsPerLine;
  const size_t first = (hash & hint_line_mask) * kHintsPerLine + slot;
  const size_t second = ((hash >> 30) & hint_line_mask) * kHintsPerLine + slot;
  return {&hints[first], &hints[second]};
}

void PageCache::Impl::RememberHint(const PageFrame* frame) {
  const auto [first, second] = HintsOf(frame->id);
  const auto number = static_cast<uint32_t>(pool->NumberOf(frame)) + 1;
  const uint32_t held = first->load(std::memory_order_relaxed);
  const bool first_is_free = held == 0 || held == number;
  (first_is_free ? first : second)->store(number, std::memory_order_relaxed);
}

// Null if the frame does not hold the page.
PageFrame* PageCache::Impl::TryPin(uint32_t hint, const PageId& id) {
  if (hint == 0) return nullptr;
  PageFrame* frame = pool->frame(hint - 1);
  // Acquires what was loaded into the frame before it was published.
  const uint32_t before = frame->state.fetch_add(1, std::memory_order_acquire);
  if ((before & (PageFrame::kExclusive | PageFrame::kDoomed)) == 0 && frame->id == id) {
    return frame;
  }
  pool->Unpin(frame);
  return nullptr;
}

void PageCache::Impl::CountHit(PageFrame* frame, PageUse use) {
  static std::atomic<size_t> thread_count{0};
  thread_local const size_t mine =
      thread_count.fetch_add(1, std::memory_order_relaxed) % kHitCounterCount;
  const auto page_class = static_cast<size_t>(ClassOf(frame->id.kind));
  hits[mine].count[page_class].fetch_add(1, std::memory_order_relaxed);
  if (use == PageUse::kRepeated) pool->RecordUse(frame);
  if (frame->unused_prefetch.load(std::memory_order_relaxed) &&
      frame->unused_prefetch.exchange(false, std::memory_order_relaxed)) {
    hits[mine].prefetch_useful.fetch_add(1, std::memory_order_relaxed);
  }
}

// Requires the shard's lock.
void PageCache::Impl::CountGone(Shard* shard, const PageFrame& frame) {
  PageCacheStats::OfClass& counts = shard->classes[static_cast<size_t>(ClassOf(frame.id.kind))];
  counts.used_bytes -= FramePool::BytesOf(pool->SizeOf(&frame));
  --counts.page_count;
  if (frame.unused_prefetch.load(std::memory_order_relaxed)) ++shard->prefetch_wasted;
}

// Requires the pool's lock: frames change owners only through the pool, so a published
// frame cannot become another page's meanwhile.
bool PageCache::Impl::TryUnpublish(PageFrame* frame) {
  const int16_t index = frame->shard_index.load(std::memory_order_acquire);
  if (index == PageFrame::kNoShard || frame->state.load(std::memory_order_relaxed) != 0) {
    return false;
  }
  Shard& shard = shards[static_cast<size_t>(index)];
  const std::lock_guard lock(shard.mutex);
  if (frame->shard_index.load(std::memory_order_relaxed) != index) return false;
  // Acquires what the last reader did before it let go of the page.
  uint32_t unpinned = 0;
  if (!frame->state.compare_exchange_strong(unpinned, PageFrame::kExclusive,
                                            std::memory_order_acquire)) {
    return false;
  }
  shard.pages.erase(frame->id);
  ++shard.evictions;
  CountGone(&shard, *frame);
  frame->shard_index.store(PageFrame::kNoShard, std::memory_order_relaxed);
  return true;
}

// Loads into an exclusive frame; gives it back on failure.
Status PageCache::Impl::Fill(PageFrame* frame, const Loader& load) {
  const size_t frame_bytes = FramePool::BytesOf(pool->SizeOf(frame));
  const StatusOr<size_t> payload_bytes = load(std::span(frame->data, frame_bytes));
  if (!payload_bytes.ok()) {
    pool->Free(frame);
    return payload_bytes.status();
  }
  ALAYA_CHECK(*payload_bytes <= frame_bytes);
  frame->payload_bytes = static_cast<uint32_t>(*payload_bytes);
  return OkStatus();
}

// Makes a loaded page visible, with so many pins.
void PageCache::Impl::Publish(PageFrame* frame, Reason reason, uint32_t pins) {
  const size_t shard_index = ShardIndex(frame->id);
  Shard& shard = shards[shard_index];
  // Pinned or not, it may be evicted as soon as it is published.
  RememberHint(frame);
  const std::lock_guard lock(shard.mutex);
  shard.load_ended.notify_all();
  shard.pages[frame->id] = frame;
  PageCacheStats::OfClass& counts = shard.classes[static_cast<size_t>(ClassOf(frame->id.kind))];
  counts.used_bytes += FramePool::BytesOf(pool->SizeOf(frame));
  ++counts.page_count;
  if (reason != Reason::kWritten) counts.loaded_bytes += frame->payload_bytes;
  if (reason == Reason::kPrefetch) {
    ++shard.prefetched;
    frame->unused_prefetch.store(true, std::memory_order_relaxed);
  }
  frame->shard_index.store(static_cast<int16_t>(shard_index), std::memory_order_release);
  // Others may be trying their pins at this moment.
  frame->state.fetch_sub(PageFrame::kExclusive - pins, std::memory_order_release);
}

// False if the page is there or being loaded.
bool PageCache::Impl::BeginLoad(const PageId& id) {
  Shard& shard = ShardOf(id);
  const std::lock_guard lock(shard.mutex);
  return shard.pages.try_emplace(id, nullptr).second;
}

// After a load that failed.
void PageCache::Impl::EndLoad(const PageId& id) {
  Shard& shard = ShardOf(id);
  const std::lock_guard lock(shard.mutex);
  shard.load_ended.notify_all();
  shard.pages.erase(id);
}

PageCache::PageCache(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PageCache::~PageCache() = default;

StatusOr<std::unique_ptr<PageCache>> PageCache::Create(uint64_t budget_bytes,
                                                       std::chrono::milliseconds frame_timeout) {
  auto impl = std::make_unique<Impl>();
  Impl* const owner = impl.get();
  ALAYA_ASSIGN_OR_RETURN(impl->pool,
                         FramePool::Create(budget_bytes, frame_timeout, [owner](PageFrame* frame) {
                           return owner->TryUnpublish(frame);
                         }));
  const size_t hint_count = impl->pool->frame_count() * kHintsPerFrame;
  const size_t hint_lines = std::bit_ceil(hint_count / kHintsPerLine + 1);
  impl->hint_line_mask = hint_lines - 1;
  impl->hints = std::make_unique<std::atomic<uint32_t>[]>(hint_lines * kHintsPerLine);
  return std::unique_ptr<PageCache>(new PageCache(std::move(impl)));
}

PinnedPage PageCache::Find(const PageId& id, PageUse use) {
  for (std::atomic<uint32_t>* hint : impl_->HintsOf(id)) {
    PageFrame* frame = impl_->TryPin(hint->load(std::memory_order_relaxed), id);
    if (frame == nullptr) continue;
    impl_->CountHit(frame, use);
    return PinnedPage(frame, /*was_resident=*/true);
  }
  return {};
}

StatusOr<PinnedPage> PageCache::Get(const PageId& id, const Loader& load, PageRead read) {
  if (PinnedPage page = Find(id, read.use); page.valid()) return page;
  Impl::Shard& shard = impl_->ShardOf(id);
  {
    std::unique_lock lock(shard.mutex);
    for (;;) {
      const auto [entry, inserted] = shard.pages.try_emplace(id, nullptr);
      if (inserted) break;
      if (PageFrame* frame = entry->second; frame != nullptr) {
        frame->state.fetch_add(1, std::memory_order_relaxed);
        impl_->CountHit(frame, read.use);
        impl_->RememberHint(frame);
        return PinnedPage(frame, /*was_resident=*/true);
      }
      // Another thread is loading it. If that fails, this one tries in its turn.
      shard.load_ended.wait(lock);
    }
    ++shard.classes[static_cast<size_t>(ClassOf(id.kind))].misses;
  }
  StatusOr<PageFrame*> frame =
      impl_->pool->Take(id, FrameSizeFor(read.bytes_max), read.use, read.owner);
  const Status filled = frame.ok() ? impl_->Fill(*frame, load) : frame.status();
  if (!filled.ok()) {
    impl_->EndLoad(id);
    return filled;
  }
  impl_->Publish(*frame, Impl::Reason::kAskedFor, /*pins=*/1);
  return PinnedPage(*frame, /*was_resident=*/false);
}

void PageCache::SetCapacity(uint64_t bytes) { impl_->pool->SetCapacity(bytes); }

void PageCache::SetLimits(OwnerLimits limits) { impl_->pool->SetLimits(std::move(limits)); }

void PageCache::Prefetch(std::span<const PageId> ids, size_t bytes_max, std::string_view owner,
                         const SlotLoader& load) {
  std::vector<Slot> slots;
  std::vector<PageFrame*> frames;
  for (const PageId& id : ids) {
    if (!impl_->BeginLoad(id)) continue;
    PageFrame* frame = impl_->pool->TryTake(id, FrameSizeFor(bytes_max), PageUse::kRepeated, owner);
    if (frame == nullptr) {
      impl_->EndLoad(id);
      continue;
    }
    const size_t frame_bytes = FramePool::BytesOf(impl_->pool->SizeOf(frame));
    slots.push_back({.id = id, .frame = {frame->data, frame_bytes}});
    frames.push_back(frame);
  }
  if (!slots.empty()) load(slots);
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].payload_bytes == 0) {
      impl_->pool->Free(frames[i]);
      impl_->EndLoad(slots[i].id);
      continue;
    }
    ALAYA_CHECK(slots[i].payload_bytes <= slots[i].frame.size());
    frames[i]->payload_bytes = static_cast<uint32_t>(slots[i].payload_bytes);
    impl_->Publish(frames[i], Impl::Reason::kPrefetch, /*pins=*/0);
  }
}

void PageCache::Put(const PageId& id, std::span<const std::byte> payload, std::string_view owner) {
  if (!impl_->BeginLoad(id)) return;
  PageFrame* frame =
      impl_->pool->TryTake(id, FrameSizeFor(payload.size()), PageUse::kRepeated, owner);
  if (frame == nullptr) return impl_->EndLoad(id);
  std::memcpy(frame->data, payload.data(), payload.size());
  frame->payload_bytes = static_cast<uint32_t>(payload.size());
  impl_->Publish(frame, Impl::Reason::kWritten, /*pins=*/0);
}

void PageCache::FetchFrames(std::span<const PageId> ids) const {
  for (const PageId& id : ids) {
    // Nearly all are where the first hint says.
    const uint32_t hint = impl_->HintsOf(id)[0]->load(std::memory_order_relaxed);
    if (hint != 0) __builtin_prefetch(impl_->pool->frame(hint - 1), /*rw=*/1);
  }
}

bool PageCache::Contains(const PageId& id) const {
  Impl::Shard& shard = impl_->ShardOf(id);
  const std::lock_guard lock(shard.mutex);
  const auto entry = shard.pages.find(id);
  return entry != shard.pages.end() && entry->second != nullptr;
}

bool PageCache::ProbablyContains(const PageId& id) const {
  for (std::atomic<uint32_t>* hint : impl_->HintsOf(id)) {
    PageFrame* frame = impl_->TryPin(hint->load(std::memory_order_relaxed), id);
    if (frame == nullptr) continue;
    impl_->pool->Unpin(frame);
    return true;
  }
  return false;
}

void PageCache::Erase(SegmentId segment) {
  std::vector<PageFrame*> unpinned;
  for (Impl::Shard& shard : impl_->shards) {
    const std::lock_guard lock(shard.mutex);
    absl::erase_if(shard.pages, [&](const auto& entry) {
      PageFrame* frame = entry.second;
      if (entry.first.segment != segment || frame == nullptr) return false;
      ++shard.dropped_pages;
      impl_->CountGone(&shard, *frame);
      frame->shard_index.store(PageFrame::kNoShard, std::memory_order_relaxed);
      // Releases what was read of the frame: whoever unpins it last gives it to another page.
      frame->state.fetch_or(PageFrame::kDoomed, std::memory_order_release);
      if (FramePool::TryClaimDoomed(frame)) unpinned.push_back(frame);
      return true;
    });
  }
  for (PageFrame* frame : unpinned) impl_->pool->Free(frame);
}

PageCacheStats PageCache::stats() const {
  PageCacheStats stats;
  stats.capacity_bytes = impl_->pool->capacity_bytes();
  stats.table_bytes = impl_->pool->table_bytes() +
                      (impl_->hint_line_mask + 1) * kHintsPerLine * sizeof(impl_->hints[0]);
  stats.pinned_bytes = impl_->pool->pinned_bytes();
  stats.owners = impl_->pool->owner_bytes();
  for (size_t c = 0; c < kPageClassCount; ++c) {
    PageCacheStats::OfClass& counts = stats.classes[c];
    for (const Impl::HitCounter& hits : impl_->hits) counts.hits += hits.count[c].load();
    stats.hits += counts.hits;
  }
  for (const Impl::HitCounter& hits : impl_->hits) {
    stats.prefetch_useful += hits.prefetch_useful.load();
  }
  for (Impl::Shard& shard : impl_->shards) {
    const std::lock_guard lock(shard.mutex);
    // A byte of control beside each place.
    stats.table_bytes += shard.pages.capacity() * (sizeof(*shard.pages.begin()) + 1);
    for (size_t c = 0; c < kPageClassCount; ++c) {
      PageCacheStats::OfClass& counts = stats.classes[c];
      const PageCacheStats::OfClass& part = shard.classes[c];
      counts.used_bytes += part.used_bytes;
      counts.page_count += part.page_count;
      counts.misses += part.misses;
      counts.loaded_bytes += part.loaded_bytes;
      stats.used_bytes += part.used_bytes;
      stats.misses += part.misses;
    }
    stats.evictions += shard.evictions;
    stats.dropped_pages += shard.dropped_pages;
    stats.prefetched += shard.prefetched;
    stats.prefetch_wasted += shard.prefetch_wasted;
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
  frame->pool->Unpin(frame);
}

}  // namespace alaya
