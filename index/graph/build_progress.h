// Progress and cancellation through the stages of a build.

#ifndef ALAYA_INDEX_GRAPH_BUILD_PROGRESS_H_
#define ALAYA_INDEX_GRAPH_BUILD_PROGRESS_H_

#include <atomic>
#include <cstddef>

#include "index/graph/graph_build.h"
#include "storage/types/status.h"

namespace alaya {

class BuildProgress {
 public:
  // `options` must outlive it.
  explicit BuildProgress(const GraphBuildOptions* options) : options_(options) {}

  // The stage that follows takes the build from one share of its work to another.
  void BeginStage(double share_begin, double share_end) {
    begin_ = share_begin;
    end_ = share_end;
    Report(0, 1);
  }
  void Report(size_t done, size_t total) const {
    if (!options_->progress) return;
    const double share = static_cast<double>(done) / static_cast<double>(total);
    options_->progress(begin_ + share * (end_ - begin_));
  }

  // Once true it stays true, for every thread.
  bool should_stop() {
    if (!stopped_ && options_->should_stop && options_->should_stop()) stopped_ = true;
    return stopped_;
  }
  // Cancelled once should_stop() was true.
  Status Stopped() const {
    if (!stopped_) return OkStatus();
    return MakeError(StatusCode::kCancelled, "index build cancelled");
  }

 private:
  const GraphBuildOptions* options_;
  std::atomic<bool> stopped_{false};
  double begin_ = 0;
  double end_ = 1;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_BUILD_PROGRESS_H_
