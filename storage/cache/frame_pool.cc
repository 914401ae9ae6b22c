#include "storage/cache/frame_pool.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <bit>
#include <string>
#include <utility>

#include "storage/types/check.h"

namespace alaya {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;
constexpr size_t kHugePageChunks = kHugePageBytes / kPagePayloadBytesMax;

// Memory made ready ahead of use: what a long context's first answer loads.
constexpr size_t kBytesAhead = size_t{512} << 20;
// That long nobody takes memory before more is made ready, if there is still some.
constexpr std::chrono::milliseconds kQuietTime{50};
// Pause after each step of it, in times of what the step took, while there is still some.
constexpr int kPausesPerStep = 9;

// Pages that one more page of an owner takes with it at most, after its limit was lowered.
constexpr int kEvictedForLimitMax = 64;
// In owners_.
constexpr uint16_t kTokenPagesOwner = 1;

constexpr uint32_t kEpochsPerTurnover = 64;
// Uses closer to each other are one use.
constexpr uint32_t kUseGapEpochs = 2;
constexpr uint32_t kIndexStayEpochs = kEpochsPerTurnover;
// By number of uses: half a turnover for every doubling.
constexpr std::array<uint32_t, 16> kStayEpochs = {0,  0,   32,  51,  64,  74,  83,  90,
                                                  96, 101, 106, 111, 115, 118, 122, 125};
constexpr uint8_t kUseCountMax = kStayEpochs.size() - 1;

// Pages that left and are remembered, per small frame. Each has one of some places, of which
// the oldest is given away: with a single place most are lost long before their time.
constexpr size_t kGhostsPerFrame = 8;
constexpr size_t kGhostsPerSet = 4;

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

}  // namespace

uint64_t HashOf(const PageId& id) {
  // Apart for up to 1024 layers and heads.
  const uint64_t where = uint64_t{id.page_index} << 32 ^ uint64_t { id.layer } << 16 ^
                         uint64_t { id.head } << 5 ^ static_cast<uint64_t>(id.kind);
  return Mix(where ^ Mix(ToInt(id.segment)));
}

StatusOr<std::unique_ptr<FramePool>> FramePool::Create(uint64_t budget_bytes,
                                                       std::chrono::milliseconds frame_timeout,
                                                       Unpublish unpublish) {
  const size_t chunk_count = budget_bytes / kPagePayloadBytesMax;
  if (chunk_count == 0) {
    return InvalidArgument("memory budget of " + std::to_string(budget_bytes) +
                           " bytes holds no page of " + std::to_string(kPagePayloadBytesMax));
  }
  // One huge page more, so that the frames can begin on a huge page's boundary.
  const size_t mapping_bytes = chunk_count * kPagePayloadBytesMax + kHugePageBytes;
  void* mapping = mmap(nullptr, mapping_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) {
    return ResourceExhausted("cannot map a memory budget of " + std::to_string(budget_bytes) +
                             " bytes");
  }
  std::unique_ptr<FramePool> pool(new FramePool(frame_timeout, std::move(unpublish)));
  pool->mapping_ = static_cast<std::byte*>(mapping);
  pool->mapping_bytes_ = mapping_bytes;
  const size_t misaligned = reinterpret_cast<uintptr_t>(mapping) % kHugePageBytes;
  std::byte* const arena = pool->mapping_ + (kHugePageBytes - misaligned) % kHugePageBytes;
  // Only a hint: a kernel without huge pages serves small ones.
  madvise(arena, chunk_count * kPagePayloadBytesMax, MADV_HUGEPAGE);
  pool->chunks_.resize(chunk_count);
  pool->usable_chunks_ = chunk_count;
  pool->frames_ = std::make_unique<PageFrame[]>(chunk_count * kFramesPerChunk);
  for (size_t c = 0; c < chunk_count; ++c) {
    std::byte* const data = arena + c * kPagePayloadBytesMax;
    for (size_t i = 0; i < kFramesPerChunk; ++i) {
      PageFrame* frame = pool->FrameOf(c, i);
      frame->pool = pool.get();
      frame->data = i == 0 ? data : data + (i - 1) * kSmallFrameBytes;
    }
  }
  pool->owners_[kTokenPagesOwner].limit_bytes =
      std::max<uint64_t>(pool->capacity_bytes() / kTokenPagesShare, uint64_t{1} << 20);
  pool->epoch_bytes_ = std::max<uint64_t>(pool->capacity_bytes() / kEpochsPerTurnover, 1);
  pool->ghosts_.resize(std::bit_ceil(chunk_count * kSmallFramesPerChunk * kGhostsPerFrame));
  static_assert(kSmallFramesPerChunk * kGhostsPerFrame >= kGhostsPerSet);
  pool->chunks_ahead_ = std::min(kBytesAhead / kPagePayloadBytesMax, chunk_count / 2);
  pool->ready_thread_ = std::thread([raw = pool.get(), arena] { raw->MakeReady(arena); });
  return pool;
}

void FramePool::MakeReady(std::byte* arena) {
  constexpr int kNiceness = 10;
  // On Linux this is the calling thread's; it always may be lowered.
  setpriority(PRIO_PROCESS, 0, kNiceness);
  std::unique_lock lock(mutex_);
  size_t seen_chunk = untouched_chunk_;
  for (;;) {
    is_ready_thread_idle_ = true;
    ready_wanted_.wait(lock, [this] { return stopped_ || IsAheadWanted(); });
    is_ready_thread_idle_ = false;
    // Whoever takes memory needs the processor, and there is more: later, if there is quiet.
    while (!stopped_ && !IsAheadShort() && seen_chunk != untouched_chunk_) {
      seen_chunk = untouched_chunk_;
      ready_wanted_.wait_for(lock, kQuietTime, [this] { return stopped_ || IsAheadShort(); });
    }
    if (stopped_) return;
    const size_t begin = ready_chunk_;
    const size_t count = std::min(kHugePageChunks, usable_chunks_ - begin);
    ready_chunk_ += count;
    lock.unlock();
    const auto begin_time = std::chrono::steady_clock::now();
    // Changes no byte, also of what is in use already. Older kernels cannot do it.
    constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, since Linux 5.14
    if (madvise(arena + begin * kPagePayloadBytesMax, count * kPagePayloadBytesMax,
                kPopulateWrite) != 0) {
      return;
    }
    const auto taken = std::chrono::steady_clock::now() - begin_time;
    lock.lock();
    if (begin + count > usable_chunks_) ReleaseMemory(usable_chunks_, begin + count);
    // Niceness does not bound it: a virtual machine's host, which has to find the memory
    // first, holds the processor meanwhile, whoever else wants it.
    ready_wanted_.wait_for(lock, kPausesPerStep * taken,
                           [this] { return stopped_ || IsAheadShort(); });
  }
}

FramePool::~FramePool() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  ready_wanted_.notify_all();
  if (ready_thread_.joinable()) ready_thread_.join();
  for (size_t i = 0; i < untouched_chunk_ * kFramesPerChunk; ++i) {
    ALAYA_CHECK((frames_[i].state.load() & PageFrame::kPins) == 0);
  }
  munmap(mapping_, mapping_bytes_);
}

void FramePool::RecordUse(PageFrame* frame) const {
  const uint32_t now = epoch_.load(std::memory_order_relaxed);
  const uint32_t before = frame->last_epoch.load(std::memory_order_relaxed);
  const uint8_t use_count = frame->use_count.load(std::memory_order_relaxed);
  if (before == now && use_count > 0) return;
  frame->last_epoch.store(now, std::memory_order_relaxed);
  // Of uses at the same moment one may go uncounted.
  if (use_count == 0 || (now - before >= kUseGapEpochs && use_count < kUseCountMax)) {
    frame->use_count.store(static_cast<uint8_t>(use_count + 1), std::memory_order_relaxed);
  }
}

uint64_t FramePool::Due(const PageFrame& frame) const {
  const uint8_t use_count = frame.use_count.load(std::memory_order_relaxed);
  if (use_count == 0) return 0;
  uint64_t epoch = uint64_t{frame.last_epoch.load(std::memory_order_relaxed)} +
                   kStayEpochs[std::min(use_count, kUseCountMax)];
  if (IsIndex(frame.id.kind)) epoch += kIndexStayEpochs;
  return epoch << 32 | static_cast<uint32_t>(~frame.id.page_index);
}

void FramePool::Push(const PageFrame* frame, uint64_t due) {
  Owner& owner = owners_[frame->owner];
  std::vector<Place>& order = owner.order;
  // Pages that go with their segment leave their places behind: where nothing is ever
  // evicted these would only become more.
  constexpr size_t kStalePlacesMin = 1024;
  if (order.size() > kStalePlacesMin + 2 * (owner.used_bytes / kSmallFrameBytes)) {
    std::erase_if(order, [this](const Place& place) {
      return place.generation != frames_[place.frame].generation;
    });
    std::make_heap(order.begin(), order.end(), std::greater<>());
  }
  order.push_back({due, static_cast<uint32_t>(NumberOf(frame)), frame->generation});
  std::push_heap(order.begin(), order.end(), std::greater<>());
}

std::span<FramePool::Ghost> FramePool::GhostsOf(const PageId& id, uint32_t* tag) {
  const uint64_t hash = HashOf(id);
  *tag = static_cast<uint32_t>(hash >> 40);
  const size_t set_count = ghosts_.size() / kGhostsPerSet;
  return std::span(ghosts_).subspan((hash & (set_count - 1)) * kGhostsPerSet, kGhostsPerSet);
}

uint8_t FramePool::RecallUses(const PageId& id) {
  uint32_t tag = 0;
  for (const Ghost& ghost : GhostsOf(id, &tag)) {
    if (ghost.tag == tag) return static_cast<uint8_t>(ghost.use_count);
  }
  return 0;
}

void FramePool::RememberUses(const PageId& id, uint8_t use_count) {
  uint32_t tag = 0;
  const std::span<Ghost> ghosts = GhostsOf(id, &tag);
  size_t place = 0;
  while (place + 1 < ghosts.size() && ghosts[place].tag != tag) ++place;
  std::shift_right(ghosts.begin(), ghosts.begin() + static_cast<ptrdiff_t>(place) + 1, 1);
  ghosts[0].tag = tag & 0xFFFFFFU;
  ghosts[0].use_count = use_count;
}

uint16_t FramePool::NumberOfOwner(const PageId& id, std::string_view name) {
  if (id.kind == PageKind::kToken) return kTokenPagesOwner;
  if (name.empty()) return 0;
  const auto found = owner_numbers_.find(name);
  if (found != owner_numbers_.end()) return found->second;
  if (owners_.size() >= kOwnersMax) return 0;
  const auto number = static_cast<uint16_t>(owners_.size());
  owners_.push_back({.name = std::string(name), .limit_bytes = limits_.Of(name)});
  owner_numbers_.emplace(name, number);
  return number;
}

void FramePool::SetLimits(OwnerLimits limits) {
  const std::lock_guard lock(mutex_);
  limits_ = std::move(limits);
  for (Owner& owner : owners_) {
    if (!owner.name.empty()) owner.limit_bytes = limits_.Of(owner.name);
  }
}

std::vector<OwnerBytes> FramePool::owner_bytes() const {
  const std::lock_guard lock(mutex_);
  std::vector<OwnerBytes> all;
  for (const Owner& owner : owners_) {
    if (!owner.name.empty()) all.push_back({owner.name, owner.used_bytes});
  }
  return all;
}

size_t FramePool::place_count() const {
  const std::lock_guard lock(mutex_);
  size_t count = 0;
  for (const Owner& owner : owners_) count += owner.order.size();
  return count;
}

// The page in the frame is gone.
void FramePool::Leave(PageFrame* frame) {
  ++frame->generation;
  owners_[frame->owner].used_bytes -= BytesOf(SizeOf(frame));
}

// Makes the frame the page's; its place in the order begins now.
void FramePool::Enter(PageFrame* frame, PageUse use, uint16_t owner) {
  frame->owner = owner;
  owners_[owner].used_bytes += BytesOf(SizeOf(frame));
  uint8_t use_count = 0;
  if (use == PageUse::kRepeated) {
    use_count = std::min<uint8_t>(static_cast<uint8_t>(RecallUses(frame->id) + 1), kUseCountMax);
  }
  loaded_bytes_ += BytesOf(SizeOf(frame));
  const auto now = static_cast<uint32_t>(1 + loaded_bytes_ / epoch_bytes_);
  epoch_.store(now, std::memory_order_relaxed);
  frame->use_count.store(use_count, std::memory_order_relaxed);
  frame->last_epoch.store(now, std::memory_order_relaxed);
  frame->unused_prefetch.store(false, std::memory_order_relaxed);
  Push(frame, Due(*frame));
}

bool FramePool::TryEvict(PageFrame* frame) {
  if (!unpublish_(frame)) return false;
  Leave(frame);
  if (const uint8_t use_count = frame->use_count.load(std::memory_order_relaxed); use_count > 0) {
    RememberUses(frame->id, use_count);
  }
  return true;
}

PageFrame* FramePool::TakeSmallOf(size_t chunk_index) {
  Chunk& chunk = chunks_[chunk_index];
  const auto small_index = static_cast<size_t>(std::countr_zero(chunk.free_mask));
  chunk.free_mask &= chunk.free_mask - 1;
  if (chunk.free_mask != 0 && !chunk.is_listed) {
    chunk.is_listed = true;
    partly_free_.push_back(static_cast<uint32_t>(chunk_index));
  }
  return FrameOf(chunk_index, 1 + small_index);
}

void FramePool::FreeSmall(size_t chunk_index, size_t small_index) {
  Chunk& chunk = chunks_[chunk_index];
  chunk.free_mask |= uint32_t{1} << small_index;
  if (chunk.free_mask == kAllFree) {
    chunk.is_split = false;
    FreeChunk(chunk_index);
  } else if (!chunk.is_listed) {
    chunk.is_listed = true;
    partly_free_.push_back(static_cast<uint32_t>(chunk_index));
  }
}

// No page lies in the chunk any more.
void FramePool::FreeChunk(size_t chunk_index) {
  if (chunk_index < usable_chunks_) {
    free_chunks_.push_back(static_cast<uint32_t>(chunk_index));
  } else {
    chunks_[chunk_index].is_withheld = true;
    ReleaseMemory(chunk_index, chunk_index + 1);
  }
}

// Gives memory in which no page lies back to the system.
void FramePool::ReleaseMemory(size_t chunk_begin, size_t chunk_end) {
  for (size_t c = chunk_begin; c < chunk_end; ++c) {
    if (c < untouched_chunk_ && !chunks_[c].is_withheld) continue;
    madvise(FrameOf(c, 0)->data, kPagePayloadBytesMax, MADV_DONTNEED);
  }
}

// Requires that the chunk holds pages.
void FramePool::EvictChunk(size_t chunk_index) {
  if (!chunks_[chunk_index].is_split) {
    PageFrame* frame = FrameOf(chunk_index, 0);
    if (TryEvict(frame)) ReturnFrame(frame);
    return;
  }
  const uint32_t free_mask = chunks_[chunk_index].free_mask;
  for (size_t i = 0; i < kSmallFramesPerChunk; ++i) {
    PageFrame* frame = FrameOf(chunk_index, 1 + i);
    if ((free_mask >> i & 1) == 0 && TryEvict(frame)) ReturnFrame(frame);
  }
}

void FramePool::SetCapacity(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  size_t wanted = std::max<size_t>(bytes / kHugePageBytes, 1) * kHugePageChunks;
  if (bytes >= chunks_.size() * kPagePayloadBytesMax) wanted = chunks_.size();
  wanted = std::min(wanted, chunks_.size());
  const size_t before = usable_chunks_;
  usable_chunks_ = wanted;
  for (size_t c = before; c < std::min(wanted, untouched_chunk_); ++c) {
    Chunk& chunk = chunks_[c];
    if (chunk.is_withheld) {
      chunk.is_withheld = false;
      free_chunks_.push_back(static_cast<uint32_t>(c));
    } else if (chunk.is_split && chunk.free_mask != 0 && !chunk.is_listed) {
      chunk.is_listed = true;
      partly_free_.push_back(static_cast<uint32_t>(c));
    }
  }
  std::erase_if(free_chunks_, [&](uint32_t c) {
    if (c < wanted) return false;
    FreeChunk(c);
    return true;
  });
  for (size_t c = wanted; c < untouched_chunk_; ++c) {
    if (!chunks_[c].is_withheld) EvictChunk(c);
  }
  if (ready_chunk_ > wanted) {
    ReleaseMemory(wanted, ready_chunk_);
    ready_chunk_ = wanted;
  }
  frame_freed_.notify_all();
}

uint64_t FramePool::table_bytes() const {
  const std::lock_guard lock(mutex_);
  uint64_t bytes = frame_count() * sizeof(PageFrame) + ghosts_.size() * sizeof(Ghost) +
                   chunks_.size() * sizeof(Chunk);
  for (const Owner& owner : owners_) bytes += owner.order.capacity() * sizeof(Place);
  return bytes;
}

void FramePool::FreeLocked(PageFrame* frame) {
  Leave(frame);
  ReturnFrame(frame);
}

void FramePool::ReturnFrame(PageFrame* frame) {
  const size_t chunk_index = NumberOf(frame) / kFramesPerChunk;
  if (SizeOf(frame) == FrameSize::kLarge) {
    FreeChunk(chunk_index);
  } else {
    FreeSmall(chunk_index, NumberOf(frame) % kFramesPerChunk - 1);
  }
}

PageFrame* FramePool::TakeFree(FrameSize size) {
  if (size == FrameSize::kSmall) {
    while (!partly_free_.empty()) {
      const size_t chunk_index = partly_free_.back();
      Chunk& chunk = chunks_[chunk_index];
      if (chunk.is_split && chunk.free_mask != 0 && chunk_index < usable_chunks_) {
        return TakeSmallOf(chunk_index);
      }
      chunk.is_listed = false;
      partly_free_.pop_back();
    }
  }
  size_t chunk_index = 0;
  if (!free_chunks_.empty()) {
    chunk_index = free_chunks_.back();
    free_chunks_.pop_back();
  } else if (untouched_chunk_ < usable_chunks_) {
    chunk_index = untouched_chunk_++;
    if (IsAheadShort() || (is_ready_thread_idle_ && IsAheadWanted())) ready_wanted_.notify_one();
  } else {
    return nullptr;
  }
  return Reuse(FrameOf(chunk_index, 0), size);
}

// A frame of the wanted size out of one that was evicted or is a free chunk's; null if
// that takes more room than it had.
PageFrame* FramePool::Reuse(PageFrame* evicted, FrameSize size) {
  if (SizeOf(evicted) == size) return evicted;
  const size_t chunk_index = NumberOf(evicted) / kFramesPerChunk;
  Chunk& chunk = chunks_[chunk_index];
  if (size == FrameSize::kSmall) {
    chunk.is_split = true;
    chunk.free_mask = kAllFree;
    return TakeSmallOf(chunk_index);
  }
  // The others of its chunk go too: they were mostly loaded along with it.
  for (size_t i = 0; i < kSmallFramesPerChunk; ++i) {
    PageFrame* frame = FrameOf(chunk_index, 1 + i);
    const bool is_free = (chunk.free_mask >> i & 1) != 0;
    if (frame == evicted || (!is_free && TryEvict(frame))) FreeSmall(chunk_index, i);
  }
  if (chunk.is_split) return nullptr;
  free_chunks_.pop_back();  // where the last of them put it
  return FrameOf(chunk_index, 0);
}

// Who has the page that leaves next; null: nobody has any. The tops of the heaps are never
// too late, so the earliest one decides.
FramePool::Owner* FramePool::OwnerOfNext() {
  Owner* next = nullptr;
  for (Owner& owner : owners_) {
    if (owner.order.empty()) continue;
    if (next == nullptr || owner.order.front().due < next->order.front().due) next = &owner;
  }
  return next;
}

// The frame of the page that leaves next, of one owner or of all; null if every one is
// pinned or being loaded.
PageFrame* FramePool::EvictNext(Owner* only_of) {
  std::vector<PageFrame*> in_use;
  PageFrame* evicted = nullptr;
  while (evicted == nullptr) {
    Owner* owner = only_of != nullptr ? only_of : OwnerOfNext();
    if (owner == nullptr || owner->order.empty()) break;
    std::pop_heap(owner->order.begin(), owner->order.end(), std::greater<>());
    const Place place = owner->order.back();
    owner->order.pop_back();
    PageFrame* frame = &frames_[place.frame];
    if (place.generation != frame->generation) continue;
    if (const uint64_t due = Due(*frame); due > place.due) {
      Push(frame, due);
    } else if (TryEvict(frame)) {
      evicted = frame;
    } else {
      in_use.push_back(frame);
    }
  }
  // A pin is a use: what is pinned now need not be looked at again soon.
  for (PageFrame* frame : in_use) {
    if (frame->use_count.load(std::memory_order_relaxed) > 0) RecordUse(frame);
    Push(frame, Due(*frame));
  }
  return evicted;
}

// Null if every frame is pinned or being loaded.
PageFrame* FramePool::Evict(FrameSize size) {
  while (PageFrame* evicted = EvictNext(/*only_of=*/nullptr)) {
    if (NumberOf(evicted) / kFramesPerChunk >= usable_chunks_) {
      ReturnFrame(evicted);
      continue;
    }
    if (PageFrame* frame = Reuse(evicted, size); frame != nullptr) return frame;
  }
  return nullptr;
}

// False if all of the owner's pages that would have to leave are pinned.
bool FramePool::MakeRoomWithinLimit(Owner* owner, uint64_t bytes) {
  for (int i = 0; i < kEvictedForLimitMax && owner->IsBeyondLimitWith(bytes); ++i) {
    PageFrame* evicted = EvictNext(owner);
    if (evicted == nullptr) return false;
    ReturnFrame(evicted);
  }
  return true;
}

PageFrame* FramePool::TakeLocked(const PageId& id, FrameSize size, PageUse use, uint16_t owner) {
  if (!MakeRoomWithinLimit(&owners_[owner], BytesOf(size))) return nullptr;
  PageFrame* frame = TakeFree(size);
  if (frame == nullptr) frame = Evict(size);
  // What was evicted for a large frame in vain is free now.
  if (frame == nullptr) frame = TakeFree(size);
  if (frame == nullptr) return nullptr;
  frame->id = id;
  Enter(frame, use, owner);
  return frame;
}

PageFrame* FramePool::TryTake(const PageId& id, FrameSize size, PageUse use,
                              std::string_view owner) {
  const std::lock_guard lock(mutex_);
  return TakeLocked(id, size, use, NumberOfOwner(id, owner));
}

StatusOr<PageFrame*> FramePool::Take(const PageId& id, FrameSize size, PageUse use,
                                     std::string_view owner) {
  std::unique_lock lock(mutex_);
  const uint16_t number = NumberOfOwner(id, owner);
  PageFrame* frame = TakeLocked(id, size, use, number);
  if (frame != nullptr) return frame;
  const auto deadline = std::chrono::steady_clock::now() + frame_timeout_;
  waiting_count_.fetch_add(1);
  while (frame == nullptr && std::chrono::steady_clock::now() < deadline) {
    frame_freed_.wait_for(lock, std::min(frame_timeout_, kFramePoll));
    frame = TakeLocked(id, size, use, number);
  }
  waiting_count_.fetch_sub(1);
  if (frame != nullptr) return frame;
  const std::string waited = " stayed pinned for " + std::to_string(frame_timeout_.count()) + " ms";
  if (const Owner& mine = owners_[number]; mine.IsBeyondLimitWith(BytesOf(size))) {
    const std::string who = number == kTokenPagesOwner ? "token ids" : "'" + mine.name + "'";
    return ResourceExhausted("all frames that " + who + " may have" + waited + " (" +
                             std::to_string(mine.limit_bytes) + " bytes)");
  }
  return ResourceExhausted("all frames of the page cache" + waited + " (memory budget " +
                           std::to_string(capacity_bytes()) + " bytes)");
}

void FramePool::Free(PageFrame* frame) {
  const std::lock_guard lock(mutex_);
  FreeLocked(frame);
  frame_freed_.notify_one();
}

bool FramePool::TryClaimDoomed(PageFrame* frame) {
  uint32_t doomed = PageFrame::kDoomed;
  return frame->state.compare_exchange_strong(doomed, PageFrame::kExclusive,
                                              std::memory_order_acquire);
}

void FramePool::Unpin(PageFrame* frame) {
  const uint32_t before = frame->state.fetch_sub(1, std::memory_order_acq_rel);
  if (before == (PageFrame::kDoomed | 1)) {
    if (TryClaimDoomed(frame)) Free(frame);
  } else if (before == 1 && waiting_count_.load() > 0) {
    frame_freed_.notify_one();
  }
}

uint64_t FramePool::pinned_bytes() const {
  uint64_t bytes = 0;
  for (size_t i = 0; i < frame_count(); ++i) {
    const uint32_t state = frames_[i].state.load(std::memory_order_relaxed);
    if ((state & PageFrame::kExclusive) == 0 && (state & PageFrame::kPins) > 0) {
      bytes += BytesOf(SizeOf(&frames_[i]));
    }
  }
  return bytes;
}

}  // namespace alaya
