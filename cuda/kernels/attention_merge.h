// Merging attention computed over disjoint sets of tokens, on the GPU.
//
// The same as MergeAttention of index/attention/attention_merge.h, over device
// memory. A launcher that plain C++ can call.

#ifndef ALAYA_CUDA_KERNELS_ATTENTION_MERGE_H_
#define ALAYA_CUDA_KERNELS_ATTENTION_MERGE_H_

#include <cuda_runtime_api.h>

#include <cstddef>

namespace alaya {

// Attention of `query_count` queries in device memory: output [query_count, head_dim]
// row-major and normalised, log_sum_exp [query_count] (natural; -inf: no tokens).
struct DeviceAttentionPart {
  float* output = nullptr;
  float* log_sum_exp = nullptr;
};
struct ConstDeviceAttentionPart {
  const float* output = nullptr;
  const float* log_sum_exp = nullptr;
};

// Makes `total` the attention over its own tokens and those of `part`.
//
// Requires: buffers that do not overlap, on the stream's device.
// Guarantees: two empty queries stay empty; nothing is allocated, nothing waits.
// Errors: what the launch returns; query_count 0 launches nothing.
cudaError_t LaunchMergeAttention(ConstDeviceAttentionPart part, DeviceAttentionPart total,
                                 size_t query_count, size_t head_dim, cudaStream_t stream);

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_ATTENTION_MERGE_H_
