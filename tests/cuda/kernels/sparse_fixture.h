// Heads with random keys, the tasks over them, and what their attention has to be.

#ifndef ALAYA_TESTS_CUDA_KERNELS_SPARSE_FIXTURE_H_
#define ALAYA_TESTS_CUDA_KERNELS_SPARSE_FIXTURE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "cuda/kernels/sparse_sequence.cuh"
#include "cuda/kernels/sparse_task.h"
#include "storage/types/views.h"
#include "tests/cuda/kernels/host_launch.h"
#include "tests/support/exact_attention.h"
#include "tests/support/quality.h"

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

// A batch, and what became of it.
struct SparseAnswer {
  // Shapes: queries [tasks.size(), query_count, head_dim].
  SparseAnswer(std::span<const SparseTask> tasks, uint32_t head_dim, std::vector<float> all_queries)
      : queries(std::move(all_queries)) {
    shape.head_dim = head_dim;
    shape.task_count = static_cast<uint32_t>(tasks.size());
    shape.query_count = static_cast<uint32_t>(queries.size() / head_dim / tasks.size());
    for (const SparseTask& task : tasks) {
      shape.token_count = std::max(shape.token_count, task.head.token_count);
      for (const WindowRows& window : task.windows) {
        shape.window_count = std::max(shape.window_count, window.token_count);
      }
    }
    const size_t count = queries.size() / head_dim;
    outputs.assign(queries.size(), NAN);
    log_sum_exps.assign(count, NAN);
    rest_shares.assign(count, NAN);
    tokens_attended.assign(count, 77);
    rows_scored.assign(shape.task_count, 77);
    states.resize(count);
    units.resize(count * SparseScratch(nullptr, shape).approximations.stride);
  }

  std::span<const float> query(size_t i) const {
    return std::span(queries).subspan(i * shape.head_dim, shape.head_dim);
  }
  std::span<const float> output(size_t i) const {
    return std::span(outputs).subspan(i * shape.head_dim, shape.head_dim);
  }
  // Of one token for query i, in units.
  int32_t approximation(size_t i, uint32_t token) const {
    return units[i * (units.size() / states.size()) + token];
  }

  SparseShape shape;
  std::vector<float> queries;
  std::vector<float> outputs;
  std::vector<float> log_sum_exps;
  std::vector<float> rest_shares;
  std::vector<uint32_t> step = {1};
  // With room for them only.
  std::vector<uint32_t> missed;         // [task_count, missed_capacity]
  std::vector<uint32_t> missed_counts;  // [task_count]
  std::vector<uint32_t> tokens_attended;
  std::vector<uint32_t> rows_scored;
  // As the sequence left them.
  std::vector<QueryCodes> states;
  std::vector<int16_t> units;
};

inline SparseAnswer AnswerOnHost(const std::vector<SparseTask>& tasks, uint32_t head_dim,
                                 std::vector<float> queries, const SparseOptions& options,
                                 uint32_t missed_capacity = 0) {
  SparseAnswer answer(tasks, head_dim, std::move(queries));
  answer.missed.resize(tasks.size() * missed_capacity);
  answer.missed_counts.resize(missed_capacity == 0 ? 0 : tasks.size());
  PoisonedMemory memory(SparseScratch(nullptr, answer.shape).bytes);
  const SparseScratch scratch(memory.as<void>(), answer.shape);
  RunSparseAttention(
      answer.shape, options,
      {.tasks = tasks.data(),
       .queries = answer.queries.data(),
       .scratch = memory.as<void>(),
       .outputs = answer.outputs.data(),
       .log_sum_exps = answer.log_sum_exps.data(),
       .rest_shares = answer.rest_shares.data(),
       .counts = {answer.tokens_attended.data(), answer.rows_scored.data()},
       .missed = {answer.missed.data(), answer.missed_counts.data(), missed_capacity},
       .step = answer.step.data()},
      HostLaunch());
  std::copy_n(scratch.codes, answer.states.size(), answer.states.begin());
  std::copy_n(scratch.approximations.units, answer.units.size(), answer.units.begin());
  return answer;
}

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

// The answer of one head to a sound search without estimate: exact attention to what
// reaches the bar. Half of the queries at least can be compared.
inline void ExpectAttentionToAllAboveTheBar(const TestHead& head, const SparseAnswer& answer,
                                            const SparseOptions& options) {
  const double scale = options.scale;
  uint32_t compared_count = 0;
  for (uint32_t q = 0; q < answer.shape.query_count; ++q) {
    const double best = answer.states[q].bars.best_logit;
    const ExpectedAttention expected(head, answer.query(q), scale,
                                     best + double{options.log_alpha});
    if (std::isfinite(best)) {
      EXPECT_LE(best, expected.best_logit + 1e-3);
    }
    // No token's place is a matter of rounding.
    if (expected.nearest_to_bar < 1e-4) continue;
    ++compared_count;
    EXPECT_EQ(answer.tokens_attended[q], expected.chosen_count) << "query " << q;
    EXPECT_NEAR(answer.log_sum_exps[q], expected.attention.log_sum_exp, 1e-4) << "query " << q;
    EXPECT_LT(OutputError(answer.output(q), expected.attention.output), 1e-4) << "query " << q;
  }
  EXPECT_GE(2 * compared_count, answer.shape.query_count);
}

struct SparseCase {
  const char* name;
  uint32_t head_dim = 128;
  uint32_t token_count = 3000;
  uint32_t query_count = 4;
  DType dtype = DType::kBF16;
  uint32_t window = 100;
  float logit_deviation = 3;

  float scale() const { return 1 / std::sqrt(static_cast<float>(head_dim)); }
  std::vector<float> Queries() const {
    return NormalFloats(size_t{query_count} * head_dim, logit_deviation, 9);
  }
  std::unique_ptr<TestHead> Head() const {
    return RandomHead(dtype, head_dim, token_count, window, 3);
  }
};

// The host and the device are held to the same cases.
inline std::vector<SparseCase> SparseCases() {
  return {{"Standard"},
          {"Small", 64, 1025, 8, DType::kF16},
          {"Odd", 96, 1500, 5, DType::kF32},
          {"NoWholeRun", 80, 1023, 1},
          {"Large", 256, 700, 8},
          {"Peaked", 128, 2000, 4, DType::kBF16, 32, 8},
          {"Diffuse", 128, 2000, 4, DType::kBF16, 32, 1},
          {"NoWindow", 128, 500, 2, DType::kBF16, 0},
          {"OneToken", 128, 1, 2, DType::kBF16, 0},
          {"OnlyWindow", 128, 150, 3, DType::kBF16, 100}};
}

}  // namespace alaya

#endif  // ALAYA_TESTS_CUDA_KERNELS_SPARSE_FIXTURE_H_
