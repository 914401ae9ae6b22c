#include "server/engine/segment_merger.h"

#include <pthread.h>
#include <sys/resource.h>

#include <memory>

namespace alaya {
namespace {

constexpr std::chrono::minutes kRetryInterval{1};
// Queries come first.
constexpr int kNiceness = 10;

}  // namespace

SegmentMerger::SegmentMerger(ContextStore* store, IndexBuilder* index_builder)
    : store_(store), index_builder_(index_builder), thread_([this] { Run(); }) {}

SegmentMerger::~SegmentMerger() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_.store(true, std::memory_order_relaxed);
  }
  changed_.notify_all();
  thread_.join();
}

void SegmentMerger::Wake() {
  {
    const std::scoped_lock lock(mutex_);
    awake_ = true;
  }
  changed_.notify_all();
}

void SegmentMerger::Run() {
  pthread_setname_np(pthread_self(), "merge");
  // On Linux this is the calling thread's; it always may be lowered.
  setpriority(PRIO_PROCESS, 0, kNiceness);
  bool failed = false;
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto is_due = [this] { return awake_ || stopping_.load(std::memory_order_relaxed); };
    if (failed) {
      changed_.wait_for(lock, kRetryInterval, is_due);
    } else {
      changed_.wait(lock, is_due);
    }
    if (stopping_.load(std::memory_order_relaxed)) return;
    awake_ = false;
    lock.unlock();
    failed = !MergeAll();
    lock.lock();
  }
}

bool SegmentMerger::MergeAll() {
  const auto should_stop = [this] { return stopping_.load(std::memory_order_relaxed); };
  while (!should_stop()) {
    const StatusOr<std::shared_ptr<const Segment>> merged = store_->MergeSegments(should_stop);
    if (should_stop()) return true;
    if (!merged.ok()) {
      // Deleted under the merge: nothing is wrong.
      if (merged.status().code() == StatusCode::kNotFound) continue;
      failure_count_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    if (*merged == nullptr) return true;
    merge_count_.fetch_add(1, std::memory_order_relaxed);
    index_builder_->Enqueue({{*merged, (*merged)->token_count}});
  }
  return true;
}

}  // namespace alaya
