// The sequences of launches, the same for a device and for the host: `launch(program,
// grid_x, grid_y, shared_bytes)` runs program(block_x, block_y, shared memory) for every
// block, after all launches before. It returns 0 or an error that ends the sequence.

#ifndef ALAYA_CUDA_KERNELS_SPARSE_SEQUENCE_CUH_
#define ALAYA_CUDA_KERNELS_SPARSE_SEQUENCE_CUH_

#include <cstddef>
#include <cstdint>

#include "cuda/kernels/chosen_attention.cuh"
#include "cuda/kernels/flat_encode.cuh"
#include "cuda/kernels/flat_scan.cuh"
#include "cuda/kernels/query_bars.cuh"
#include "cuda/kernels/query_codes.cuh"
#include "cuda/kernels/row_cache.cuh"
#include "cuda/kernels/sparse_task.h"
#include "cuda/kernels/tile_attention.cuh"

namespace alaya {

// What a sequence keeps between its launches.
struct SparseScratch {
  // From a null pointer only `bytes` is of use.
  SparseScratch(void* memory, const SparseShape& shape) {
    const size_t queries = size_t{shape.task_count} * shape.query_count;
    const uint32_t chunks = ChunkCount(shape.token_count);
    window_parts = AttendWindows::Parts(shape) * kTaskWindowsMax;
    partial.part_count = window_parts + chunks;
    approximations.stride = size_t{chunks} * kChunkTokens;
    const auto next = [&](size_t piece_bytes) {
      const size_t begin = bytes;
      bytes += (piece_bytes + 255) / 256 * 256;
      return memory == nullptr ? nullptr : static_cast<std::byte*>(memory) + begin;
    };
    const size_t parts = queries * partial.part_count;
    codes = reinterpret_cast<QueryCodes*>(next(queries * sizeof(QueryCodes)));
    step_counts = reinterpret_cast<uint32_t*>(next(queries * kStepCount * sizeof(uint32_t)));
    wanted_counts = reinterpret_cast<uint32_t*>(next(shape.task_count * sizeof(uint32_t)));
    approximations.units =
        reinterpret_cast<int16_t*>(next(queries * approximations.stride * sizeof(int16_t)));
    partial.log_sum_exps = reinterpret_cast<float*>(next(parts * sizeof(float)));
    partial.details = reinterpret_cast<float*>(next(parts * sizeof(float)));
    partial.outputs = reinterpret_cast<float*>(next(parts * shape.head_dim * sizeof(float)));
  }

  QueryCodes* codes = nullptr;
  uint32_t* step_counts = nullptr;
  uint32_t* wanted_counts = nullptr;
  Approximations approximations;
  PartialAttention partial;
  uint32_t window_parts = 0;
  size_t bytes = 0;
};

// The first step: queries as codes, and beside them windows, which need none. Block (i, task):
// query i, or part i - query_count of the windows.
struct BeginTasks {
  PrepareQuery prepare;
  AttendWindows windows;

  static uint32_t SharedBytes(const SparseShape& shape) {
    const uint32_t of_query = PrepareQuery::SharedBytes(shape.head_dim);
    const uint32_t of_windows = AttendWindows::SharedBytes(shape);
    return of_query > of_windows ? of_query : of_windows;
  }

  ALAYA_HOST_DEVICE void operator()(uint32_t block, uint32_t task_index, void* memory) const {
    const uint32_t query_count = prepare.shape.query_count;
    if (block < query_count) {
      prepare(block, task_index, memory);
    } else {
      windows(block - query_count, task_index, memory);
    }
  }
};

template <class Launch>
auto ScanCodes(const SparseShape& shape, const SparseBatch& batch, const SparseScratch& scratch,
               const Launch& launch) {
  const uint32_t chunks = ChunkCount(shape.token_count);
  const auto scan = [&](auto program) {
    return launch(program, chunks, shape.task_count, program.SharedBytes(shape.head_dim));
  };
  switch (shape.head_dim) {
    case 64:
      return scan(ScanChunk<2>{shape, batch, scratch.codes, scratch.approximations});
    case 96:
      return scan(ScanChunk<3>{shape, batch, scratch.codes, scratch.approximations});
    case 128:
      return scan(ScanChunk<4>{shape, batch, scratch.codes, scratch.approximations});
    default:
      return scan(ScanChunk<0>{shape, batch, scratch.codes, scratch.approximations});
  }
}

template <class Launch>
auto RunSparseAttention(const SparseShape& shape, const SparseOptions& options,
                        const SparseBatch& batch, const Launch& launch) {
  const SparseScratch scratch(batch.scratch, shape);
  const uint32_t tasks = shape.task_count;
  const uint32_t head_dim = shape.head_dim;
  auto error = launch(
      BeginTasks{{shape, options, batch, scratch.codes, scratch.step_counts, scratch.wanted_counts},
                 {shape, options, batch, scratch.partial}},
      shape.query_count + scratch.window_parts, tasks, BeginTasks::SharedBytes(shape));
  const uint32_t chunks = ChunkCount(shape.token_count);
  if (error == decltype(error){} && chunks > 0) {
    error = ScanCodes(shape, batch, scratch, launch);
  }
  if (error == decltype(error){} && chunks > 0 && options.rest_error > 0) {
    error =
        launch(CountSteps{shape, batch, scratch.codes, scratch.approximations, scratch.step_counts},
               chunks, tasks, CountSteps::SharedBytes(shape.query_count));
  }
  if (error == decltype(error){} && chunks > 0) {
    error = launch(SetBars{shape, options, batch, scratch.codes, scratch.step_counts,
                           scratch.partial, scratch.window_parts},
                   shape.query_count, tasks, SetBars::SharedBytes(head_dim));
  }
  if (error == decltype(error){} && chunks > 0) {
    error = launch(AttendChosen{shape, options, batch, scratch.codes, scratch.approximations,
                                scratch.partial, scratch.window_parts, scratch.wanted_counts},
                   chunks, tasks, AttendChosen::SharedBytes(shape));
  }
  if (error == decltype(error){}) {
    error = launch(MergeParts{shape, batch, scratch.partial, scratch.window_parts},
                   shape.query_count, tasks, MergeParts::SharedBytes(head_dim));
  }
  return error;
}

// Brings rows into caches, each of which is offered rows once.
template <class Launch>
auto RunAdmitRows(const RowOffers* offers, uint32_t offer_count, const uint32_t* step,
                  const Launch& launch) {
  return launch(AdmitRows{offers, step}, offer_count, 1, AdmitRows::SharedBytes());
}

// First the centre, from the task's rows, which may be a sample.
template <class Launch>
auto RunEncodeCentre(const EncodeTask& task, const Launch& launch) {
  return launch(EncodeCentre{task}, 1, 1, EncodeCentre::SharedBytes(task.head.head_dim));
}
// Then all groups, in as many runs as one likes.
template <class Launch>
auto RunEncodeGroups(const EncodeTask& task, const Launch& launch) {
  return launch(EncodeGroup{task}, CodeGroups(task.row_count), 1,
                EncodeGroup::SharedBytes(task.head.head_dim));
}
// Both, from all rows.
template <class Launch>
auto RunEncodeFlatHead(EncodeTask task, const Launch& launch) {
  task.row_count = task.head.token_count;
  const auto error = RunEncodeCentre(task, launch);
  return error != decltype(error){} ? error : RunEncodeGroups(task, launch);
}

}  // namespace alaya

#endif  // ALAYA_CUDA_KERNELS_SPARSE_SEQUENCE_CUH_
