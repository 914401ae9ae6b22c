// How the kernels are written: a program of one thread block is a sequence of loops
// whose turns are independent, with a barrier after each.
//
// On the device the block's threads share the turns; on the host a plain loop runs them,
// so the same arithmetic is tested where there is no device, and backwards, too: a program
// that then gives another result depends on an order that a device does not keep.
//
// All threads of a block call these functions together, never inside of one another.

#ifndef ALAYA_CUDA_KERNELS_TEAM_CUH_
#define ALAYA_CUDA_KERNELS_TEAM_CUH_

#include <algorithm>
#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define ALAYA_HOST_DEVICE __host__ __device__
#define ALAYA_UNROLL _Pragma("unroll")
#else
#define ALAYA_HOST_DEVICE
#define ALAYA_UNROLL
#endif

namespace alaya {

inline constexpr uint32_t kTeamThreads = 256;

// For tests, on the host.
inline bool team_runs_backwards = false;

// f(i) for i = 0 to count - 1.
template <class F>
ALAYA_HOST_DEVICE inline void ForEach(uint32_t count, F f) {
#if defined(__CUDA_ARCH__)
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) f(i);
  __syncthreads();
#else
  for (uint32_t i = 0; i < count; ++i) f(team_runs_backwards ? count - 1 - i : i);
#endif
}

// use(item, combine of term(item, i) over i = 0 to term_count - 1), starting from `first`.
// One warp an item: neighbouring terms should lie side by side in memory.
template <class Combine, class Term, class Use>
ALAYA_HOST_DEVICE inline void CombineEach(uint32_t item_count, uint32_t term_count, float first,
                                          Combine combine, Term term, Use use) {
#if defined(__CUDA_ARCH__)
  const uint32_t lane = threadIdx.x % 32;
  for (uint32_t item = threadIdx.x / 32; item < item_count; item += blockDim.x / 32) {
    float value = first;
    for (uint32_t i = lane; i < term_count; i += 32) value = combine(value, term(item, i));
    for (int offset = 16; offset > 0; offset /= 2) {
      value = combine(value, __shfl_xor_sync(0xFFFFFFFFU, value, offset));
    }
    if (lane == 0) use(item, value);
  }
  __syncthreads();
#else
  ForEach(item_count, [&](uint32_t item) {
    float value = first;
    for (uint32_t i = 0; i < term_count; ++i) value = combine(value, term(item, i));
    use(item, value);
  });
#endif
}

template <class Term, class Use>
ALAYA_HOST_DEVICE inline void SumEach(uint32_t item_count, uint32_t term_count, Term term,
                                      Use use) {
  CombineEach(
      item_count, term_count, 0.0F, [](float a, float b) { return a + b; }, term, use);
}

template <class Term, class Use>
ALAYA_HOST_DEVICE inline void MaxEach(uint32_t item_count, uint32_t term_count, Term term,
                                      Use use) {
  CombineEach(
      item_count, term_count, -INFINITY, [](float a, float b) { return fmaxf(a, b); }, term, use);
}

// Among the turns of a loop. The first look spares most of the waiting: few values are a
// new maximum.
ALAYA_HOST_DEVICE inline void AtomicMax(uint64_t* target, uint64_t value) {
#if defined(__CUDA_ARCH__)
  if (value <= *static_cast<volatile uint64_t*>(target)) return;
  atomicMax(reinterpret_cast<unsigned long long*>(target), static_cast<unsigned long long>(value));
#else
  *target = std::max(*target, value);
#endif
}

// The same where all turns of a warp come here together and have one target: only those
// with the highest upper half go on.
//
// Requires: a loop over a multiple of 32 turns, and no turn that leaves this call out.
ALAYA_HOST_DEVICE inline void AtomicMaxOfWarp(uint64_t* target, uint64_t value) {
#if defined(__CUDA_ARCH__)
  const auto upper = static_cast<uint32_t>(value >> 32);
  if (__reduce_max_sync(0xFFFFFFFFU, upper) != upper) return;
#endif
  AtomicMax(target, value);
}

// Returns what was there before.
ALAYA_HOST_DEVICE inline uint32_t AtomicAdd(uint32_t* target, uint32_t value) {
#if defined(__CUDA_ARCH__)
  return atomicAdd(target, value);
#else
  const uint32_t before = *target;
  *target += value;
  return before;
#endif
}

ALAYA_HOST_DEVICE inline void AtomicAdd(float* target, float value) {
#if defined(__CUDA_ARCH__)
  atomicAdd(target, value);
#else
  *target += value;
#endif
}

// A block's shared memory, handed out piece by piece. From a null pointer it only counts.
class SharedPieces {
 public:
  ALAYA_HOST_DEVICE explicit SharedPieces(void* memory) : memory_(static_cast<char*>(memory)) {}

  template <class T>
  ALAYA_HOST_DEVICE T* Take(uint32_t count) {
    T* piece = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + bytes_);
    bytes_ += (count * static_cast<uint32_t>(sizeof(T)) + 15) / 16 * 16;
    return piece;
  }
  ALAYA_HOST_DEVICE uint32_t bytes() const { return bytes_; }

 private:
  char* memory_;
  uint32_t bytes_ = 0;
};

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_TEAM_CUH_
