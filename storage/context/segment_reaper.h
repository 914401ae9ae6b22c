// Drops the pages and tokens of segments and indexes that nobody can reach any more, in a thread
// of its own.
//
// Both die with their last shared_ptr, which may happen anywhere, under any lock: the
// destructor only posts the id here. What cannot be dropped, because the disk fails, is kept
// in mind: one of it is tried again after a while, and the rest once a drop succeeds.

#ifndef ALAYA_STORAGE_CONTEXT_SEGMENT_REAPER_H_
#define ALAYA_STORAGE_CONTEXT_SEGMENT_REAPER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "storage/context/stored_context.h"
#include "storage/types/ids.h"

namespace alaya {

// Life: construction -> Adopt from any thread -> Start -> Flush from any thread -> Stop
// (also by destruction).
class SegmentReaper {
 public:
  explicit SegmentReaper(std::chrono::milliseconds retry_interval = std::chrono::minutes(1));
  ~SegmentReaper();
  SegmentReaper(const SegmentReaper&) = delete;
  SegmentReaper& operator=(const SegmentReaper&) = delete;

  // A shared segment, or index, whose death is posted here. It may outlive the reaper;
  // then its pages wait for the next start.
  std::shared_ptr<const Segment> Adopt(std::unique_ptr<const Segment> segment) const;
  std::shared_ptr<const StoredIndex> Adopt(std::unique_ptr<const StoredIndex> index) const;

  // What died.
  struct Dead {
    SegmentId id{};
    uint64_t token_count = 0;  // of a segment; of an index 0
  };
  // From now on `drop` runs on the reaper's thread for every segment and index that
  // died; it must tell whether the catalog still names it, and returns false if it has to be
  // tried again.
  void Start(std::function<bool(const Dead&)> drop);
  // Returns when what was posted before is dropped, or failed.
  void Flush();
  // Drops what was posted, then ends; later deaths are ignored. What failed waits for the
  // next start.
  void Stop();

 private:
  struct Queue;
  void Run();

  const std::chrono::milliseconds retry_interval_;
  std::shared_ptr<Queue> queue_;  // shared with the deleters of segments
  std::function<bool(const Dead&)> drop_;
  std::thread thread_;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_SEGMENT_REAPER_H_
