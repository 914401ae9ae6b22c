// Locks: `pool_mutex` (free frames, the clock's hand) comes before a shard's mutex
// (which pages are where). Nothing that blocks runs under either.
//
// A frame is exclusive (free in the pool, or owned by the thread that loads it),
// published (in a shard's map) or doomed (erased while pinned). Its `state` packs the
// flags with the pin count, so that "the last pin of a doomed page frees it" and "only
// an unpinned page is evicted" are decided by one atomic operation.
//
// A hit takes no lock: a table of hints names the frame that lately held a page of this
// hash. The reader pins that frame, whatever it holds, then looks: if it is exclusive
// or doomed, or holds another page, the pin is taken back and the shards are asked.
// Frames are never freed and their id changes only while they are exclusive, so a
// stale hint costs time but never gives a wrong page.

#include "storage/cache/page_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <condition_variable>
#include <deque>
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
constexpr uint32_t kExclusive = uint32_t{1} << 30;
constexpr uint32_t kPins = kExclusive - 1;

// Rounds of the clock's hand that a page survives unused.
constexpr uint8_t kDataChances = 1;
constexpr uint8_t kIndexChances = 3;

// Hints of neighbouring pages share a cache line, as they are read one after the other.
constexpr size_t kHintsPerLine = 64 / sizeof(uint32_t);
// More hints than frames, so that few pages want the same one.
constexpr size_t kHintsPerFrame = 4;
constexpr size_t kHitCounterCount = 16;

// Frames that pages read once share when memory is full: enough for some passes at a
// time.
constexpr size_t kOnceFrames = 64;

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
  // Apart for up to 1024 layers and heads.
  const uint64_t where = uint64_t{id.page_index} << 32 ^ uint64_t { id.layer } << 16 ^
                         uint64_t { id.head } << 5 ^ static_cast<uint64_t>(id.kind);
  return Mix(where ^ Mix(ToInt(id.segment)));
}

struct PageIdHash {
  size_t operator()(const PageId& id) const { return Hash(id); }
};

}  // namespace

struct alignas(64) PageFrame {
  PageCache::Impl* cache = nullptr;
  std::byte* data = nullptr;
  // Both change only while the frame is exclusive.
  PageId id;
  uint32_t payload_bytes = 0;
  std::atomic<uint32_t> state{kExclusive};
  std::atomic<int32_t> shard_index{kNoShard};  // set while published
  std::atomic<uint8_t> chances{0};             // rounds left, refilled by every use

  void Use() {
    const uint8_t full = IsIndex(id.kind) ? kIndexChances : kDataChances;
    if (chances.load(std::memory_order_relaxed) != full) {
      chances.store(full, std::memory_order_relaxed);
    }
  }
};

struct PageCache::Impl {
  struct alignas(64) Shard {
    std::mutex mutex;
    std::condition_variable load_ended;
    // A null frame: some thread is loading the page.
    absl::flat_hash_map<PageId, PageFrame*, PageIdHash> pages;
    uint64_t misses = 0;
    uint64_t evictions = 0;
  };
  // Threads count hits apart, so that they do not wait for each other's cache line.
  struct alignas(64) HitCounter {
    std::atomic<uint64_t> count{0};
  };

  std::chrono::milliseconds frame_timeout{};
  std::byte* mapping = nullptr;
  size_t mapping_bytes = 0;
  std::byte* arena = nullptr;
  size_t frame_count = 0;
  std::unique_ptr<PageFrame[]> frames;
  std::array<Shard, kShardCount> shards;
  std::array<HitCounter, kHitCounterCount> hits;
  // Number of a frame + 1; 0: none.
  std::unique_ptr<std::atomic<uint32_t>[]> hints;
  size_t hint_line_mask = 0;
  std::atomic<uint64_t> published_count{0};
  std::atomic<uint32_t> waiting_count{0};

  std::mutex pool_mutex;
  std::condition_variable frame_freed;
  std::vector<PageFrame*> free_frames;
  size_t untouched_frame = 0;  // frames from here on were never used
  size_t hand = 0;
  std::deque<PageFrame*> once_frames;  // that were last loaded to be read once

  ~Impl() {
    for (size_t i = 0; i < untouched_frame; ++i) {
      ALAYA_CHECK((frames[i].state.load() & kPins) == 0);
    }
    if (mapping != nullptr) munmap(mapping, mapping_bytes);
  }

  Shard& ShardOf(size_t index) { return shards[index]; }
  static size_t ShardIndex(const PageId& id) { return Hash(id) >> 57; }

  std::array<std::atomic<uint32_t>*, 2> HintsOf(const PageId& id) const;
  void RememberHint(const PageFrame* frame);
  PageFrame* TryPin(uint32_t hint, const PageId& id);
  void CountHit();

  bool TryEvict(PageFrame* frame);
  PageFrame* TryTakeFrame(PageUse use);
  StatusOr<PageFrame*> TakeFrame(PageUse use);
  void FreeFrame(PageFrame* frame);
  bool TryClaimDoomed(PageFrame* frame);
  void Unpin(PageFrame* frame);
  StatusOr<PageFrame*> LoadFrame(const PageId& id, const Loader& load, PageUse use);
};
static_assert(kShardCount == 1 << (64 - 57), "ShardIndex takes the hash's upper bits");

// The two places where the hint of a page may be.
std::array<std::atomic<uint32_t>*, 2> PageCache::Impl::HintsOf(const PageId& id) const {
  PageId line_id = id;
  line_id.page_index = static_cast<uint32_t>(line_id.page_index / kHintsPerLine);
  const uint64_t hash = Hash(line_id);
  // Short segments have only page 0: the hash spreads them over the line.
  const size_t slot = (id.page_index + (hash >> 60)) % kHintsPerLine;
  const size_t first = (hash & hint_line_mask) * kHintsPerLine + slot;
  const size_t second = ((hash >> 30) & hint_line_mask) * kHintsPerLine + slot;
  return {&hints[first], &hints[second]};
}

void PageCache::Impl::RememberHint(const PageFrame* frame) {
  const auto [first, second] = HintsOf(frame->id);
  const auto number = static_cast<uint32_t>(frame - frames.get()) + 1;
  const uint32_t held = first->load(std::memory_order_relaxed);
  const bool first_is_free = held == 0 || held == number;
  (first_is_free ? first : second)->store(number, std::memory_order_relaxed);
}

// Null if the frame does not hold the page.
PageFrame* PageCache::Impl::TryPin(uint32_t hint, const PageId& id) {
  if (hint == 0) return nullptr;
  PageFrame* frame = &frames[hint - 1];
  // Acquires what was loaded into the frame before it was published.
  const uint32_t before = frame->state.fetch_add(1, std::memory_order_acquire);
  if ((before & (kExclusive | kDoomed)) == 0 && frame->id == id) return frame;
  Unpin(frame);
  return nullptr;
}

void PageCache::Impl::CountHit() {
  static std::atomic<size_t> thread_count{0};
  thread_local const size_t mine =
      thread_count.fetch_add(1, std::memory_order_relaxed) % kHitCounterCount;
  hits[mine].count.fetch_add(1, std::memory_order_relaxed);
}

// Requires pool_mutex. While it is held a published frame cannot become another
// page's: frames change owners only through the pool.
bool PageCache::Impl::TryEvict(PageFrame* frame) {
  const int32_t index = frame->shard_index.load(std::memory_order_acquire);
  if (index == kNoShard || frame->state.load(std::memory_order_relaxed) != 0) return false;
  const uint8_t chances = frame->chances.load(std::memory_order_relaxed);
  if (chances > 0) {
    frame->chances.store(chances - 1, std::memory_order_relaxed);
    return false;
  }
  Shard& shard = ShardOf(static_cast<size_t>(index));
  const std::lock_guard lock(shard.mutex);
  if (frame->shard_index.load(std::memory_order_relaxed) != index) return false;
  // Acquires what the last reader did before it let go of the page.
  uint32_t unpinned = 0;
  if (!frame->state.compare_exchange_strong(unpinned, kExclusive, std::memory_order_acquire)) {
    return false;
  }
  shard.pages.erase(frame->id);
  ++shard.evictions;
  frame->shard_index.store(kNoShard, std::memory_order_relaxed);
  published_count.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

// Requires pool_mutex. Null if every frame is pinned or being loaded.
PageFrame* PageCache::Impl::TryTakeFrame(PageUse use) {
  if (!free_frames.empty()) {
    PageFrame* frame = free_frames.back();
    free_frames.pop_back();
    return frame;
  }
  if (untouched_frame < frame_count) return &frames[untouched_frame++];
  if (use == PageUse::kOnce && once_frames.size() >= std::min(kOnceFrames, frame_count / 4)) {
    for (size_t i = once_frames.size(); i > 0; --i) {
      PageFrame* frame = once_frames.front();
      once_frames.pop_front();
      // A frame that holds another page by now is in use like any other.
      if (TryEvict(frame)) return frame;
    }
  }
  // All rounds but the last may only take chances away.
  for (size_t step = 0; step < (kIndexChances + size_t{1}) * frame_count; ++step) {
    PageFrame* frame = &frames[hand];
    hand = hand + 1 == frame_count ? 0 : hand + 1;
    if (TryEvict(frame)) return frame;
  }
  return nullptr;
}

StatusOr<PageFrame*> PageCache::Impl::TakeFrame(PageUse use) {
  std::unique_lock lock(pool_mutex);
  PageFrame* frame = TryTakeFrame(use);
  if (frame != nullptr) {
    if (use == PageUse::kOnce) once_frames.push_back(frame);
    if (once_frames.size() > kOnceFrames) once_frames.pop_front();
    return frame;
  }
  const auto deadline = std::chrono::steady_clock::now() + frame_timeout;
  waiting_count.fetch_add(1);
  while (frame == nullptr && std::chrono::steady_clock::now() < deadline) {
    frame_freed.wait_for(lock, std::min(frame_timeout, kFramePoll));
    frame = TryTakeFrame(use);
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

// Of the threads that see a doomed page without pins, one frees it.
bool PageCache::Impl::TryClaimDoomed(PageFrame* frame) {
  uint32_t doomed = kDoomed;
  return frame->state.compare_exchange_strong(doomed, kExclusive, std::memory_order_acquire);
}

void PageCache::Impl::Unpin(PageFrame* frame) {
  const uint32_t before = frame->state.fetch_sub(1, std::memory_order_acq_rel);
  if (before == (kDoomed | 1)) {
    if (TryClaimDoomed(frame)) FreeFrame(frame);
  } else if (before == 1 && waiting_count.load() > 0) {
    frame_freed.notify_one();
  }
}

StatusOr<PageFrame*> PageCache::Impl::LoadFrame(const PageId& id, const Loader& load, PageUse use) {
  ALAYA_ASSIGN_OR_RETURN(PageFrame * frame, TakeFrame(use));
  StatusOr<size_t> payload_bytes = load(std::span(frame->data, kPagePayloadBytesMax));
  if (!payload_bytes.ok()) {
    FreeFrame(frame);
    return std::move(payload_bytes).status();
  }
  ALAYA_CHECK(*payload_bytes <= kPagePayloadBytesMax);
  frame->id = id;
  frame->payload_bytes = static_cast<uint32_t>(*payload_bytes);
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
  const size_t hint_lines = std::bit_ceil(frame_count * kHintsPerFrame / kHintsPerLine + 1);
  impl->hint_line_mask = hint_lines - 1;
  impl->hints = std::make_unique<std::atomic<uint32_t>[]>(hint_lines * kHintsPerLine);
  return std::unique_ptr<PageCache>(new PageCache(std::move(impl)));
}

PinnedPage PageCache::Find(const PageId& id) {
  for (std::atomic<uint32_t>* hint : impl_->HintsOf(id)) {
    PageFrame* frame = impl_->TryPin(hint->load(std::memory_order_relaxed), id);
    if (frame == nullptr) continue;
    frame->Use();
    impl_->CountHit();
    return PinnedPage(frame, /*was_resident=*/true);
  }
  return {};
}

StatusOr<PinnedPage> PageCache::Get(const PageId& id, const Loader& load, PageUse use) {
  if (PinnedPage page = Find(id); page.valid()) return page;
  const size_t shard_index = Impl::ShardIndex(id);
  Impl::Shard& shard = impl_->ShardOf(shard_index);
  {
    std::unique_lock lock(shard.mutex);
    for (;;) {
      const auto [entry, inserted] = shard.pages.try_emplace(id, nullptr);
      if (inserted) break;
      if (PageFrame* frame = entry->second; frame != nullptr) {
        frame->state.fetch_add(1, std::memory_order_relaxed);
        frame->Use();
        impl_->CountHit();
        impl_->RememberHint(frame);
        return PinnedPage(frame, /*was_resident=*/true);
      }
      // Another thread is loading it. If that fails, this one tries in its turn.
      shard.load_ended.wait(lock);
    }
    ++shard.misses;
  }
  StatusOr<PageFrame*> frame = impl_->LoadFrame(id, load, use);
  const std::lock_guard lock(shard.mutex);
  shard.load_ended.notify_all();
  if (!frame.ok()) {
    shard.pages.erase(id);
    return std::move(frame).status();
  }
  shard.pages[id] = *frame;
  if (use == PageUse::kRepeated) {
    (*frame)->Use();
  } else {
    (*frame)->chances.store(0, std::memory_order_relaxed);
  }
  (*frame)->shard_index.store(static_cast<int32_t>(shard_index), std::memory_order_release);
  // From exclusive to one pin; others may be trying theirs at this moment.
  (*frame)->state.fetch_sub(kExclusive - 1, std::memory_order_release);
  impl_->RememberHint(*frame);
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
      frame->state.fetch_or(kDoomed, std::memory_order_relaxed);
      if (impl_->TryClaimDoomed(frame)) unpinned.push_back(frame);
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
    const uint32_t state = impl_->frames[i].state.load(std::memory_order_relaxed);
    if ((state & kExclusive) == 0 && (state & kPins) > 0)
      stats.pinned_bytes += kPagePayloadBytesMax;
  }
  for (const Impl::HitCounter& hits : impl_->hits) stats.hits += hits.count.load();
  for (Impl::Shard& shard : impl_->shards) {
    const std::lock_guard lock(shard.mutex);
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
