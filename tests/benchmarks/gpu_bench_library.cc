// What gpu_bench calls: sparse attention through plain C functions over raw addresses,
// which PyTorch's tensors give.
//
// nvcc compiles it for a device, the host's compiler for the host, where the script's
// checks run at a tiny size; stream is unused there.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "cuda/kernels/nearest_keys.cuh"
#include "cuda/kernels/sparse_sequence.cuh"
#include "cuda/kernels/sparse_task.h"
#include "cuda/kernels/stretch_scores.cuh"

#if defined(__CUDACC__)
#include "cuda/kernels/launch.cuh"
#endif

namespace alaya {
namespace {

#if defined(__CUDACC__)
using Stream = cudaStream_t;
using Launcher = LaunchOnStream;
#else
using Stream = void*;
class Launcher {
 public:
  explicit Launcher(Stream, bool = true) {}

  template <class Program>
  int operator()(const Program& program, uint32_t grid_x, uint32_t grid_y,
                 uint32_t shared_bytes) const {
    std::vector<double> shared(shared_bytes / sizeof(double) + 1);
    for (uint32_t y = 0; y < grid_y; ++y) {
      for (uint32_t x = 0; x < grid_x; ++x) program(x, y, shared.data());
    }
    return 0;
  }
};
#endif

// Runs launch `step` so many times, the others once. Count 0: each once, and none begins before
// the one before it has ended.
class RepeatStep {
 public:
  RepeatStep(Stream stream, int step, int count)
      : launcher_(stream, /*overlaps=*/count > 0), step_(step), count_(count) {}

  template <class Program>
  auto operator()(const Program& program, uint32_t grid_x, uint32_t grid_y,
                  uint32_t shared_bytes) const {
    const int count = at_++ == step_ ? count_ : 1;
    auto error = launcher_(program, grid_x, grid_y, shared_bytes);
    for (int i = 1; i < count && error == decltype(error){}; ++i) {
      error = launcher_(program, grid_x, grid_y, shared_bytes);
    }
    return error;
  }

 private:
  Launcher launcher_;
  mutable int at_ = 0;
  int step_;
  int count_;
};

}  // namespace

extern "C" {

size_t alaya_flat_head_bytes(uint32_t head_dim, uint32_t token_count) {
  return FlatHeadBytes(head_dim, token_count);
}

size_t alaya_scratch_bytes(const SparseShape* shape) {
  return SparseScratch(nullptr, *shape).bytes;
}

size_t alaya_task_bytes() { return sizeof(SparseTask); }

// Rows of one kv head, contiguous: [token_count, head_dim] of `dtype`, a DType's number.
struct HeadRows {
  const std::byte* keys;
  const std::byte* values;
  uint32_t head_dim;
  uint32_t token_count;
  uint32_t dtype;
};

int alaya_encode(const HeadRows* rows, void* head_memory, void* stream) {
  const auto dtype = static_cast<DType>(rows->dtype);
  const size_t stride = rows->head_dim * ElementBytes(dtype);
  const EncodeTask task = {{rows->keys, stride, dtype},
                           {rows->values, stride, dtype},
                           FlatHeadAt(head_memory, rows->head_dim, rows->token_count),
                           rows->token_count};
  return static_cast<int>(RunEncodeFlatHead(task, Launcher(static_cast<Stream>(stream))));
}

size_t alaya_cache_bytes(uint32_t set_count, uint32_t head_dim) {
  return RowCacheBytes(set_count, head_dim);
}
size_t alaya_offer_bytes() { return sizeof(RowOffers); }

// A cache in zeroed device memory; without sets: none.
struct CacheMemory {
  void* memory;
  uint32_t set_count;
};

// Writes a task of which the first and the last tokens are windows; those have rows of
// their own. No head: windows alone. Rows without data: none but cached ones.
void alaya_make_task(const HeadRows* rows, const HeadRows* sink, const HeadRows* recent,
                     void* head_memory, const CacheMemory* cache, void* task_memory) {
  const auto rows_of = [&](const std::byte* data) {
    const auto dtype = static_cast<DType>(rows->dtype);
    return DeviceRows{data, rows->head_dim * ElementBytes(dtype), dtype};
  };
  SparseTask task;
  task.keys = rows_of(rows->keys);
  task.values = rows_of(rows->values);
  task.token_begin = sink->token_count;
  task.token_end = rows->token_count - recent->token_count;
  if (head_memory != nullptr) {
    task.head = FlatHeadAt(head_memory, rows->head_dim, rows->token_count);
  }
  task.windows[0] = {rows_of(sink->keys), rows_of(sink->values), sink->token_count};
  task.windows[1] = {rows_of(recent->keys), rows_of(recent->values), recent->token_count};
  if (cache->set_count > 0) {
    task.cache = RowCacheAt(cache->memory, cache->set_count, rows->head_dim, task.head.centre);
  }
  std::memcpy(task_memory, &task, sizeof(task));
}

// Offers what a task missed, from its rows, to its cache.
void alaya_make_offer(const void* task_memory, uint32_t task_index, const SparseBatch* batch,
                      void* offer_memory) {
  SparseTask task;
  std::memcpy(&task, task_memory, sizeof(task));
  RowOffers offer;
  offer.cache = task.cache;
  offer.missed = batch->missed.entries + size_t{task_index} * batch->missed.capacity;
  offer.count = batch->missed.counts + task_index;
  offer.capacity = batch->missed.capacity;
  offer.keys = task.keys;
  offer.values = task.values;
  offer.rows_by_token = true;
  std::memcpy(offer_memory, &offer, sizeof(offer));
}

// One sequence, and the admission of a task's missed rows each, if there are offers; launch
// number `step` of it so often (RepeatStep).
int alaya_attend(const SparseShape* shape, const SparseOptions* options, const SparseBatch* batch,
                 const void* offers, void* stream, int step, int step_count) {
  const RepeatStep launch(static_cast<Stream>(stream), step, step_count);
  const auto error = RunSparseAttention(*shape, *options, *batch, launch);
  if (error != decltype(error){} || offers == nullptr) return static_cast<int>(error);
  return static_cast<int>(
      RunAdmitRows(static_cast<const RowOffers*>(offers), shape->task_count, batch->step, launch));
}

size_t alaya_nearest_scratch_bytes(uint32_t query_count, uint32_t width, uint32_t token_count) {
  return NearestScratchBytes(query_count, width, token_count);
}

// The `width` tokens with the highest scores of every query, [query_count, head_dim] floats.
int alaya_nearest(const HeadRows* rows, const float* queries, uint32_t query_count, uint32_t width,
                  void* scratch, uint32_t* tokens, void* stream) {
  const auto dtype = static_cast<DType>(rows->dtype);
  const NearestTask task = {rows->head_dim,
                            query_count,
                            width,
                            /*first_token=*/0,
                            rows->token_count,
                            {rows->keys, rows->head_dim * ElementBytes(dtype), dtype},
                            queries,
                            scratch,
                            tokens};
  return static_cast<int>(RunFindNearest(task, Launcher(static_cast<Stream>(stream))));
}

// Weights [heads, queries, row_bytes] times the bytes of the stretches [heads, stretches,
// row_bytes], to sums [heads, queries, stretches]; counts: heads, queries, stretches, row_bytes.
int alaya_score_stretches(const std::byte* rows, const float* weights, const uint32_t* counts,
                          float* sums, void* stream) {
  StretchTask task;
  task.head_count = counts[0];
  task.query_count = counts[1];
  task.stretch_count = counts[2];
  task.row_bytes = counts[3];
  task.head_stride_bytes = size_t{counts[2]} * counts[3];
  task.rows = rows;
  task.weights = weights;
  task.sums = sums;
  return static_cast<int>(RunScoreStretches(task, Launcher(static_cast<Stream>(stream))));
}

}  // extern "C"

}  // namespace alaya
