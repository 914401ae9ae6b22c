#include "cuda/kernels/attention_merge.h"

namespace alaya {
namespace {

constexpr unsigned kThreadsPerQuery = 128;

// One block a query. Every thread computes the two weights for itself: cheaper than
// sharing them.
__global__ void MergeAttentionKernel(ConstDeviceAttentionPart part, DeviceAttentionPart total,
                                     size_t head_dim) {
  const size_t query = blockIdx.x;
  const float part_lse = part.log_sum_exp[query];
  const float total_lse = total.log_sum_exp[query];
  if (part_lse == -INFINITY) return;
  const float largest = fmaxf(part_lse, total_lse);
  const float part_weight = expf(part_lse - largest);
  const float total_weight = expf(total_lse - largest);
  const float sum = part_weight + total_weight;
  for (size_t i = threadIdx.x; i < head_dim; i += blockDim.x) {
    const size_t at = query * head_dim + i;
    total.output[at] = (part_weight * part.output[at] + total_weight * total.output[at]) / sum;
  }
  __syncthreads();  // all have read total_lse
  if (threadIdx.x == 0) total.log_sum_exp[query] = largest + logf(sum);
}

}  // namespace

cudaError_t LaunchMergeAttention(ConstDeviceAttentionPart part, DeviceAttentionPart total,
                                 size_t query_count, size_t head_dim, cudaStream_t stream) {
  if (query_count == 0) return cudaSuccess;
  MergeAttentionKernel<<<static_cast<unsigned>(query_count), kThreadsPerQuery, 0, stream>>>(
      part, total, head_dim);
  return cudaGetLastError();
}

}  // namespace alaya
