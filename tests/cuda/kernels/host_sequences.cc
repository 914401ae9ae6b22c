#include "tests/cuda/kernels/host_sequences.h"

#include <cstddef>
#include <memory>
#include <vector>

#include "cuda/kernels/nearest_keys.cuh"
#include "cuda/kernels/sparse_sequence.cuh"
#include "cuda/kernels/stretch_scores.cuh"

namespace alaya {
namespace {

struct RunOnHost {
  template <class Program>
  int operator()(const Program& program, uint32_t grid_x, uint32_t grid_y,
                 uint32_t shared_bytes) const {
    std::vector<uint64_t> shared(shared_bytes / sizeof(uint64_t) + 2);
    void* memory = shared.data();
    size_t room = shared.size() * sizeof(uint64_t);
    std::align(16, shared_bytes, memory, room);
    for (uint32_t y = 0; y < grid_y; ++y) {
      for (uint32_t x = 0; x < grid_x; ++x) program(x, y, memory);
    }
    return 0;
  }
};

}  // namespace

void EncodeCentreOnHost(const EncodeTask& task) { RunEncodeCentre(task, RunOnHost()); }
void EncodeGroupsOnHost(const EncodeTask& task) { RunEncodeGroups(task, RunOnHost()); }
void EncodeFlatHeadOnHost(const EncodeTask& task) { RunEncodeFlatHead(task, RunOnHost()); }

void AttendOnHost(const SparseShape& shape, const SparseOptions& options,
                  const SparseBatch& batch) {
  RunSparseAttention(shape, options, batch, RunOnHost());
}

void ScoreStretchesOnHost(const StretchTask& task) { RunScoreStretches(task, RunOnHost()); }

void FindNearestOnHost(const NearestTask& task) { RunFindNearest(task, RunOnHost()); }

void AdmitRowsOnHost(const RowOffers* offers, uint32_t offer_count, const uint32_t* step) {
  RunAdmitRows(offers, offer_count, step, RunOnHost());
}

}  // namespace alaya
