// The thread that joins short segments of contexts that grew by many stored sessions.
//
// What is to be joined follows from the store's contexts, so nothing of it needs to be
// kept: at start all of them are looked at, later those that are new.

#ifndef ALAYA_SERVER_ENGINE_SEGMENT_MERGER_H_
#define ALAYA_SERVER_ENGINE_SEGMENT_MERGER_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "server/engine/index_builder.h"
#include "storage/context/context_store.h"

namespace alaya {

struct SegmentMergeStats {
  uint64_t merges = 0;  // since the start
  uint64_t failed = 0;  // the next new context, or the next minute, tries again
};

// Threads: any.
class SegmentMerger {
 public:
  // Both must outlive the merger. The indexes of what was joined are the builder's to build.
  SegmentMerger(ContextStore* store, IndexBuilder* index_builder);
  ~SegmentMerger();  // stops a merge under way without a result
  SegmentMerger(const SegmentMerger&) = delete;
  SegmentMerger& operator=(const SegmentMerger&) = delete;

  // There is a new context.
  void Wake();

  SegmentMergeStats stats() const {
    return {merge_count_.load(std::memory_order_relaxed),
            failure_count_.load(std::memory_order_relaxed)};
  }

 private:
  void Run();
  // Returns false after an error.
  bool MergeAll();

  ContextStore* const store_;
  IndexBuilder* const index_builder_;
  std::atomic<uint64_t> merge_count_{0};
  std::atomic<uint64_t> failure_count_{0};
  std::atomic<bool> stopping_{false};

  std::mutex mutex_;
  std::condition_variable changed_;
  bool awake_ = true;   // guarded by mutex_
  std::thread thread_;  // last: uses all of the above
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_SEGMENT_MERGER_H_
