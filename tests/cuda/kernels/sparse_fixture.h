// Heads with random keys, the tasks over them, and what their attention has to be.

#ifndef ALAYA_TESTS_CUDA_KERNELS_SPARSE_FIXTURE_H_
#define ALAYA_TESTS_CUDA_KERNELS_SPARSE_FIXTURE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "cuda/kernels/sparse_sequence.cuh"
#include "cuda/kernels/sparse_task.h"
#include "storage/types/views.h"
#include "tests/cuda/kernels/host_launch.h"
#include "tests/support/exact_attention.h"

namespace alaya {

inline std::vector<float> NormalFloats(size_t count, float deviation, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// One kv head: its first tokens are a window (the sink), its last ones another.
struct TestHead {
  TestHead(DType dtype, uint32_t dim, std::span<const float> key_elements,
           std::span<const float> value_elements, uint32_t window)
      : head_dim(dim),
        token_count(static_cast<uint32_t>(key_elements.size() / dim)),
        sink(std::min(window, token_count)),
        recent(std::min(window, token_count - sink)),
        keys(dtype, dim, key_elements),
        values(dtype, dim, value_elements),
        index(keys, values, dim) {}

  SparseTask task() {
    SparseTask task;
    task.head = index.view();
    task.keys = keys.view();
    task.values = values.view();
    task.token_begin = sink;
    task.token_end = token_count - recent;
    task.windows[0] = {keys.view(), values.view(), sink};
    task.windows[1] = {keys.view(task.token_end), values.view(task.token_end), recent};
    return task;
  }
  MatrixView<const float> key_matrix() const {
    return {keys.elements().data(), token_count, head_dim};
  }
  MatrixView<const float> value_matrix() const {
    return {values.elements().data(), token_count, head_dim};
  }

  uint32_t head_dim;
  uint32_t token_count;
  uint32_t sink;
  uint32_t recent;
  HostRows keys;
  HostRows values;
  HostFlatHead index;
};

inline std::unique_ptr<TestHead> RandomHead(DType dtype, uint32_t head_dim, uint32_t token_count,
                                            uint32_t window, uint32_t seed) {
  const size_t count = size_t{token_count} * head_dim;
  std::vector<float> keys = NormalFloats(count, 1, seed);
  for (size_t i = 0; i < keys.size(); i += head_dim) keys[i + 5] += 12;  // an outlier channel
  return std::make_unique<TestHead>(dtype, head_dim, keys, NormalFloats(count, 1, seed + 1),
                                    window);
}

// A batch on the host.
class SparseRun {
 public:
  // Shapes: queries [tasks.size(), query_count, head_dim].
  SparseRun(std::vector<SparseTask> tasks, uint32_t head_dim, std::vector<float> queries,
            const SparseOptions& options)
      : tasks_(std::move(tasks)), queries_(std::move(queries)) {
    shape.head_dim = head_dim;
    shape.task_count = static_cast<uint32_t>(tasks_.size());
    shape.query_count = static_cast<uint32_t>(queries_.size() / head_dim / tasks_.size());
    for (const SparseTask& task : tasks_) {
      shape.token_count = std::max(shape.token_count, task.head.token_count);
      for (const WindowRows& window : task.windows) {
        shape.window_count = std::max(shape.window_count, window.token_count);
      }
    }
    const size_t query_count = size_t{shape.task_count} * shape.query_count;
    outputs.assign(query_count * head_dim, NAN);
    log_sum_exps.assign(query_count, NAN);
    tokens_attended.assign(query_count, 77);
    rows_scored.assign(shape.task_count, 77);
    scratch_ = std::make_unique<PoisonedMemory>(SparseScratch(nullptr, shape).bytes);
    RunSparseAttention(shape, options,
                       {.tasks = tasks_.data(),
                        .queries = queries_.data(),
                        .scratch = scratch_->as<void>(),
                        .outputs = outputs.data(),
                        .log_sum_exps = log_sum_exps.data(),
                        .counts = {tokens_attended.data(), rows_scored.data()}},
                       HostLaunch());
  }

  std::span<const float> query(size_t i) const {
    return std::span(queries_).subspan(i * shape.head_dim, shape.head_dim);
  }
  std::span<const float> output(size_t i) const {
    return std::span(outputs).subspan(i * shape.head_dim, shape.head_dim);
  }
  const QueryCodes& state(size_t i) {
    return SparseScratch(scratch_->as<void>(), shape).codes[i];
  }
  // Of one token for one query, in units.
  int32_t approximation(size_t i, uint32_t token) {
    const SparseScratch scratch(scratch_->as<void>(), shape);
    return scratch.approximations.units[i * scratch.approximations.stride + token];
  }

  SparseShape shape;
  std::vector<float> outputs;
  std::vector<float> log_sum_exps;
  std::vector<uint32_t> tokens_attended;
  std::vector<uint32_t> rows_scored;

 private:
  std::vector<SparseTask> tasks_;
  std::vector<float> queries_;
  std::unique_ptr<PoisonedMemory> scratch_;
};

// Attention of one query by definition, to the windows and to what reaches a bar between.
struct ExpectedAttention {
  ExpectedAttention(const TestHead& head, std::span<const float> query, double scale, double bar) {
    const std::vector<double> scores = ExactScores(query, head.key_matrix());
    std::vector<uint32_t> tokens;
    for (uint32_t token = 0; token < head.token_count; ++token) {
      const double logit = scale * scores[token];
      const bool is_searched = token >= head.sink && token < head.token_count - head.recent;
      if (is_searched && logit < bar) {
        nearest_to_bar = std::min(nearest_to_bar, bar - logit);
        continue;
      }
      if (is_searched) {
        nearest_to_bar = std::min(nearest_to_bar, logit - bar);
        ++chosen_count;
      }
      best_logit = std::max(best_logit, logit);
      tokens.push_back(token);
    }
    attention = AttendTokens(scores, head.value_matrix(), scale, tokens);
    full = AttendRange(scores, head.value_matrix(), scale, {0, head.token_count});
  }

  ExactAttention attention;
  ExactAttention full;
  double best_logit = -std::numeric_limits<double>::infinity();
  double nearest_to_bar = std::numeric_limits<double>::infinity();
  uint32_t chosen_count = 0;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_CUDA_KERNELS_SPARSE_FIXTURE_H_
