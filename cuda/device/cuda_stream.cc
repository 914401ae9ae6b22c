#include "cuda/device/cuda_stream.h"

#include "cuda/device/cuda_status.h"

namespace alaya {

StatusOr<CudaEvent> CudaEvent::Create() {
  cudaEvent_t event = nullptr;
  ALAYA_RETURN_IF_ERROR(CudaStatus(cudaEventCreate(&event), "creating an event"));
  return CudaEvent(event);
}

Status CudaEvent::Record(cudaStream_t stream) {
  return CudaStatus(cudaEventRecord(event_.get(), stream), "recording an event");
}

Status CudaEvent::Wait() const {
  return CudaStatus(cudaEventSynchronize(event_.get()), "waiting for the device");
}

StatusOr<bool> CudaEvent::HasPassed() const {
  const cudaError_t state = cudaEventQuery(event_.get());
  if (state == cudaErrorNotReady) return false;
  ALAYA_RETURN_IF_ERROR(CudaStatus(state, "asking the device"));
  return true;
}

StatusOr<float> CudaEvent::MillisecondsSince(const CudaEvent& earlier) const {
  float milliseconds = 0;
  ALAYA_RETURN_IF_ERROR(
      CudaStatus(cudaEventElapsedTime(&milliseconds, earlier.event_.get(), event_.get()),
                 "reading the time between two events"));
  return milliseconds;
}

Status CudaGraph::Launch(cudaStream_t stream) const {
  return CudaStatus(cudaGraphLaunch(graph_.get(), stream), "launching a graph");
}

StatusOr<CudaStream> CudaStream::Create() {
  cudaStream_t stream = nullptr;
  ALAYA_RETURN_IF_ERROR(
      CudaStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream"));
  return CudaStream(stream);
}

Status CudaStream::Wait() const {
  return CudaStatus(cudaStreamSynchronize(stream_.get()), "waiting for the device");
}

StatusOr<CudaGraph> CudaStream::Capture(
    const std::function<cudaError_t(cudaStream_t)>& launch) const {
  ALAYA_RETURN_IF_ERROR(
      CudaStatus(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal),
                 "beginning a capture"));
  const cudaError_t launched = launch(stream_.get());
  // Ends it in any case: a stream that captures is of no other use.
  cudaGraph_t recorded = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream_.get(), &recorded);
  const std::unique_ptr<CUgraph_st, decltype([](cudaGraph_t graph) { cudaGraphDestroy(graph); })>
      owner(recorded);
  ALAYA_RETURN_IF_ERROR(CudaStatus(launched, "launching into a capture"));
  ALAYA_RETURN_IF_ERROR(CudaStatus(ended, "ending a capture"));
  cudaGraphExec_t graph = nullptr;
  ALAYA_RETURN_IF_ERROR(CudaStatus(cudaGraphInstantiate(&graph, recorded, 0), "making a graph"));
  return CudaGraph(graph);
}

}  // namespace alaya
