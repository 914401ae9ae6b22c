// A queue of work on a device, the points in it that can be waited for, and sequences
// that are recorded once and run again.

#ifndef ALAYA_CUDA_DEVICE_CUDA_STREAM_H_
#define ALAYA_CUDA_DEVICE_CUDA_STREAM_H_

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>

#include "storage/types/status.h"

namespace alaya {

// A point in a stream, and when it was passed.
class CudaEvent {
 public:
  static StatusOr<CudaEvent> Create();

  // Marks the work that `stream` has so far.
  Status Record(cudaStream_t stream);
  Status Wait() const;
  // Without waiting.
  StatusOr<bool> HasPassed() const;
  // Both passed.
  StatusOr<float> MillisecondsSince(const CudaEvent& earlier) const;

 private:
  struct Destroy {
    void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
  };
  explicit CudaEvent(cudaEvent_t event) : event_(event) {}

  std::unique_ptr<CUevent_st, Destroy> event_;
};

// A recorded sequence.
class CudaGraph {
 public:
  Status Launch(cudaStream_t stream) const;

 private:
  friend class CudaStream;
  struct Destroy {
    void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
  };
  explicit CudaGraph(cudaGraphExec_t graph) : graph_(graph) {}

  std::unique_ptr<CUgraphExec_st, Destroy> graph_;
};

class CudaStream {
 public:
  // Not ordered with the default stream.
  static StatusOr<CudaStream> Create();

  cudaStream_t get() const { return stream_.get(); }
  Status Wait() const;
  // Records what `launch` puts into this stream instead of running it.
  //
  // Errors: those of `launch`; Unavailable if it does what a graph cannot hold, such as
  //   waiting or allocating.
  StatusOr<CudaGraph> Capture(const std::function<cudaError_t(cudaStream_t)>& launch) const;

 private:
  struct Destroy {
    void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
  };
  explicit CudaStream(cudaStream_t stream) : stream_(stream) {}

  std::unique_ptr<CUstream_st, Destroy> stream_;
};

}  // namespace alaya

#endif  // ALAYA_CUDA_DEVICE_CUDA_STREAM_H_
