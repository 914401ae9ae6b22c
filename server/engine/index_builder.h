// Builds the indexes that segments want, in the background.
//
// Which ones a segment wants is stored with it (or follows from its length, if its
// writer did not say), so nothing of the queue needs to be kept: at start every
// segment is looked at again, and what is missing is built. Until an index is done,
// queries use what is there.

#ifndef ALAYA_SERVER_ENGINE_INDEX_BUILDER_H_
#define ALAYA_SERVER_ENGINE_INDEX_BUILDER_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "server/engine/index_kinds.h"
#include "server/engine/index_options.h"
#include "storage/context/context_store.h"
#include "storage/types/status.h"

namespace alaya {

// Threads: any.
class IndexBuilder {
 public:
  // `store` must outlive the builder.
  IndexBuilder(ContextStore* store, IndexOptions options);
  ~IndexBuilder();  // stops
  IndexBuilder(const IndexBuilder&) = delete;
  IndexBuilder& operator=(const IndexBuilder&) = delete;

  // Queues what the segments of the chain want and do not have.
  void Enqueue(const std::vector<SegmentLink>& chain);
  // Queues what any stored segment wants and does not have.
  void EnqueueAll();
  // Counts an index that turned out damaged, tells about it and queues it again, once
  // in a process: what is damaged twice has another reason than the disk.
  void Rebuild(SegmentId segment, IndexKind kind, const Status& damage);

  // Ends the build under way without a result and starts no more.
  void Stop();

  IndexBuildStats stats() const;

 private:
  using Name = std::pair<SegmentId, IndexKind>;

  IndexKindSet Wanted(const Segment& segment) const;
  void EnqueueMissing(const std::shared_ptr<const Segment>& segment);
  void Push(const std::shared_ptr<const Segment>& segment, IndexKind kind);
  void Run();
  void Build(const std::shared_ptr<const Segment>& segment, const IndexKindRow& kind);
  void Tell(const IndexEvent& event) const;

  ContextStore* const store_;
  const IndexOptions options_;

  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> done_count_{0};
  std::atomic<uint64_t> failed_count_{0};
  std::atomic<uint64_t> damaged_count_{0};

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_. A queued build keeps no deleted segment alive.
  std::deque<std::pair<Name, std::weak_ptr<const Segment>>> queue_;
  std::set<Name> unfinished_;  // queued or running
  std::set<Name> rebuilt_;
  uint64_t running_count_ = 0;

  std::mutex stop_mutex_;             // one thread joins
  std::vector<std::thread> threads_;  // last: they use all of the above
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_INDEX_BUILDER_H_
