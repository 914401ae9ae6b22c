#include "server/engine/index_builder.h"

#include <pthread.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>

#include "server/engine/index_build.h"

namespace alaya {
namespace {

using std::chrono::steady_clock;

// Between two looks at whether the segment is still wanted.
constexpr std::chrono::milliseconds kLinkCheckInterval{100};
// Work done before a pause: longer than a pause costs, shorter than a query notices.
constexpr std::chrono::milliseconds kWorkSlice{10};
constexpr int kNiceness = 10;

void LowerThreadPriority() {
  // On Linux this is the calling thread's; it always may be lowered.
  setpriority(PRIO_PROCESS, 0, kNiceness);
}

// Keeps one build to its share of the time, and looks after its segment.
class BuildPace {
 public:
  BuildPace(const ContextStore& store, const Segment& segment, const std::atomic<bool>& stopping,
            double cpu_share)
      : store_(store), segment_(segment), stopping_(stopping), cpu_share_(cpu_share) {}

  bool ShouldStop() {
    if (stopped_) return true;
    const auto now = steady_clock::now();
    if (cpu_share_ < 1 && now - slice_begin_ >= kWorkSlice) {
      std::this_thread::sleep_for((now - slice_begin_) * (1 / cpu_share_ - 1));
      slice_begin_ = steady_clock::now();
    }
    if (now >= next_link_check_) {
      stopped_ = !store_.IsLinked(segment_);
      next_link_check_ = now + kLinkCheckInterval;
    }
    stopped_ = stopped_ || stopping_.load(std::memory_order_relaxed);
    return stopped_;
  }

 private:
  const ContextStore& store_;
  const Segment& segment_;
  const std::atomic<bool>& stopping_;
  const double cpu_share_;
  steady_clock::time_point slice_begin_ = steady_clock::now();
  steady_clock::time_point next_link_check_ = steady_clock::now();
  bool stopped_ = false;
};

bool HasIndex(const Segment& segment, const IndexKindRow& row) {
  const StoredIndex* index = segment.indexes.find(static_cast<uint8_t>(row.kind));
  return index != nullptr && index->version == row.version;
}

}  // namespace

IndexBuilder::IndexBuilder(ContextStore* store, IndexOptions options)
    : store_(store), options_(std::move(options)) {
  for (uint32_t i = 0; i < options_.build_thread_count; ++i) {
    threads_.emplace_back([this] { Run(); });
  }
}

IndexBuilder::~IndexBuilder() { Stop(); }

void IndexBuilder::Stop() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_.store(true, std::memory_order_relaxed);
    queue_.clear();
  }
  changed_.notify_all();
  const std::scoped_lock lock(stop_mutex_);
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

IndexKindSet IndexBuilder::Wanted(const Segment& segment) const {
  IndexKindSet wanted;
  for (const uint8_t kind : segment.wanted_indexes) {
    if (kind <= kIndexKindMax) wanted.Add(static_cast<IndexKind>(kind));
  }
  if (wanted.empty() && segment.token_count >= options_.flat_min_tokens) {
    wanted.Add(IndexKind::kFlat);
  }
  return wanted;
}

void IndexBuilder::EnqueueMissing(const std::shared_ptr<const Segment>& segment) {
  const IndexKindSet wanted = Wanted(*segment);
  for (const IndexKindRow& row : options_.kinds) {
    if (wanted.contains(row.kind) && !HasIndex(*segment, row)) Push(segment, row.kind);
  }
}

void IndexBuilder::Enqueue(const std::vector<SegmentLink>& chain) {
  for (const SegmentLink& link : chain) EnqueueMissing(link.segment);
}

void IndexBuilder::EnqueueAll() {
  for (const auto& segment : store_->ListSegments()) EnqueueMissing(segment);
}

void IndexBuilder::Rebuild(SegmentId id, IndexKind kind, const Status& damage) {
  damaged_count_.fetch_add(1, std::memory_order_relaxed);
  IndexEvent event{.what = IndexEvent::What::kDamaged, .segment = id, .kind = kind};
  event.status = damage;
  for (const auto& segment : store_->ListSegments()) {
    if (segment->id != id) continue;
    event.token_count = segment->token_count;
    bool first_time = false;
    {
      const std::scoped_lock lock(mutex_);
      first_time = rebuilt_.emplace(id, kind).second;
    }
    if (first_time) Push(segment, kind);
  }
  Tell(event);
}

void IndexBuilder::Push(const std::shared_ptr<const Segment>& segment, IndexKind kind) {
  if (threads_.empty()) return;
  const Name name(segment->id, kind);
  {
    const std::scoped_lock lock(mutex_);
    if (stopping_.load(std::memory_order_relaxed) || !unfinished_.insert(name).second) return;
    queue_.emplace_back(name, segment);
  }
  changed_.notify_one();
}

void IndexBuilder::Run() {
  pthread_setname_np(pthread_self(), "index-build");
  if (options_.on_build_thread_start) {
    options_.on_build_thread_start();
  } else {
    LowerThreadPriority();
  }
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return !queue_.empty() || stopping_.load(); });
    if (stopping_.load()) return;
    const auto [name, waiting] = std::move(queue_.front());
    queue_.pop_front();
    ++running_count_;
    lock.unlock();
    if (const std::shared_ptr<const Segment> segment = waiting.lock()) {
      Build(segment, *FindIndexKind(options_.kinds, name.second));
    }
    lock.lock();
    --running_count_;
    unfinished_.erase(name);
  }
}

void IndexBuilder::Build(const std::shared_ptr<const Segment>& segment, const IndexKindRow& kind) {
  BuildPace pace(*store_, *segment, stopping_, options_.build_cpu_share);
  const auto begin = steady_clock::now();
  const Status built = BuildSegmentIndex(
      store_, segment, kind, [&pace] { return pace.ShouldStop(); }, options_.nearest_keys);
  // Nobody wants it any more, or the next start will build it.
  if (!built.ok() && (pace.ShouldStop() || !store_->IsLinked(*segment))) return;
  IndexEvent event{.what = built.ok() ? IndexEvent::What::kBuilt : IndexEvent::What::kBuildFailed,
                   .segment = segment->id,
                   .kind = kind.kind,
                   .token_count = segment->token_count};
  event.seconds = std::chrono::duration<double>(steady_clock::now() - begin).count();
  event.status = built;
  (built.ok() ? done_count_ : failed_count_).fetch_add(1, std::memory_order_relaxed);
  Tell(event);
}

void IndexBuilder::Tell(const IndexEvent& event) const {
  if (options_.on_event) options_.on_event(event);
}

IndexBuildStats IndexBuilder::stats() const {
  IndexBuildStats stats;
  {
    const std::scoped_lock lock(mutex_);
    stats.pending = queue_.size();
    stats.running = running_count_;
  }
  stats.done = done_count_.load(std::memory_order_relaxed);
  stats.failed = failed_count_.load(std::memory_order_relaxed);
  stats.damaged = damaged_count_.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace alaya
