#include "server/engine/attention_fan_out.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <span>
#include <utility>

#include "index/kernels/encoding.h"

namespace alaya {
namespace {

// Rows of one backend call: enough to read each block once for many queries, few
// enough that a long prefill spreads over threads and its candidates fit in memory.
constexpr size_t kRowsPerUnitMax = 256;

uint64_t MonotonicNanoseconds() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

class FanOut {
 public:
  FanOut(const FanOutTask& task, AttendResult* result)
      : task_(task),
        result_(*result),
        group_size_(task.model->group_size()),
        head_dim_(task.model->head_dim),
        positions_per_unit_(std::max<size_t>(1, kRowsPerUnitMax / group_size_)),
        units_per_head_((task.query.tokens + positions_per_unit_ - 1) / positions_per_unit_) {}

  StatusOr<FanOutReport> Run() {
    const TensorView& query = task_.query;
    result_.dtype = query.dtype;
    result_.tokens = query.tokens;
    result_.heads = query.heads;
    result_.dim = query.dim;
    result_.output.resize(query.data.size());
    result_.log_sum_exp.resize(query.tokens * query.heads);
    report_.segment_ns.resize(task_.sequence->segment_count());
    if (task_.explain) {
      report_.head_tokens_attended.resize(query.tokens * query.heads);
      report_.head_covered_mass.resize(query.tokens * query.heads);
    }

    const size_t unit_count = units_per_head_ * task_.model->num_kv_heads;
    const auto run_unit = [this](size_t unit) { RunUnit(unit); };
    if (task_.pool != nullptr) {
      task_.pool->ParallelFor(unit_count, run_unit);
    } else {
      for (size_t unit = 0; unit < unit_count; ++unit) run_unit(unit);
    }
    if (!error_.ok()) return error_;
    return std::move(report_);
  }

 private:
  // Index of a position's first query head of a kv head in [T * Hq] arrays.
  size_t FirstHead(size_t position, KvHeadIndex head) const {
    return position * task_.query.heads + ToInt(head) * group_size_;
  }

  void RunUnit(size_t unit) {
    if (failed_.load(std::memory_order_relaxed)) return;
    const KvHeadIndex head{static_cast<uint32_t>(unit / units_per_head_)};
    const size_t begin = unit % units_per_head_ * positions_per_unit_;
    const size_t count = std::min(positions_per_unit_, task_.query.tokens - begin);
    const size_t row_count = count * group_size_;

    const std::vector<float> queries = GroupQueries(task_.query, *task_.model, head, begin, count);
    std::vector<TokenRange> visible;
    visible.reserve(row_count);
    for (size_t i = 0; i < count; ++i) {
      visible.insert(visible.end(), group_size_, task_.visible[begin + i]);
    }
    std::vector<float> output(row_count * head_dim_);
    std::vector<float> log_sum_exp(row_count);

    AttentionTask attention;
    attention.queries = {queries.data(), row_count, head_dim_};
    attention.visible = visible;
    attention.parts = task_.sequence->parts(head);
    attention.target = task_.target;
    attention.window = task_.window;
    attention.scale = task_.scale;
    attention.estimate_rest = task_.estimate_rest;
    attention.explain = task_.explain;
    attention.now_ns = &MonotonicNanoseconds;
    const StatusOr<AttentionReport> report =
        task_.backend->Attend(attention, {{output.data(), row_count, head_dim_}, log_sum_exp});
    if (!report.ok()) return Fail(report.status());

    const size_t element_bytes = ElementBytes(task_.query.dtype);
    const auto result_bytes = std::as_writable_bytes(std::span(result_.output));
    const size_t group_elements = group_size_ * head_dim_;
    for (size_t i = 0; i < count; ++i) {
      const size_t first = FirstHead(begin + i, head);
      EncodeElements(
          std::span(output).subspan(i * group_elements, group_elements), task_.query.dtype,
          result_bytes.subspan(first * head_dim_ * element_bytes, group_elements * element_bytes));
      std::copy_n(&log_sum_exp[i * group_size_], group_size_, &result_.log_sum_exp[first]);
    }
    AddReport(*report, head, begin, count);
  }

  void AddReport(const AttentionReport& unit, KvHeadIndex head, size_t begin, size_t count) {
    const std::scoped_lock lock(mutex_);
    report_.tokens_scored += unit.tokens_scored;
    report_.tokens_attended += unit.tokens_attended;
    report_.tail_estimated |= unit.tail_estimated;
    report_.search_ns += unit.search_ns;
    report_.attend_ns += unit.attend_ns;
    // The view's parts are its segments and, at the end, perhaps the tail.
    const size_t segment_count = std::min(report_.segment_ns.size(), unit.part_ns.size());
    for (size_t i = 0; i < segment_count; ++i) report_.segment_ns[i] += unit.part_ns[i];
    if (!task_.explain) return;
    for (size_t i = 0; i < count; ++i) {
      const size_t first = FirstHead(begin + i, head);
      std::copy_n(&unit.query_tokens_attended[i * group_size_], group_size_,
                  &report_.head_tokens_attended[first]);
      std::copy_n(&unit.query_covered_mass[i * group_size_], group_size_,
                  &report_.head_covered_mass[first]);
    }
  }

  void Fail(const Status& status) {
    const std::scoped_lock lock(mutex_);
    if (error_.ok()) error_ = status;
    failed_.store(true, std::memory_order_relaxed);
  }

  const FanOutTask& task_;
  AttendResult& result_;  // units write disjoint parts of its arrays
  const size_t group_size_;
  const size_t head_dim_;
  const size_t positions_per_unit_;
  const size_t units_per_head_;

  std::atomic<bool> failed_{false};  // the remaining units need not run
  std::mutex mutex_;
  FanOutReport report_;  // guarded by mutex_
  Status error_;         // guarded by mutex_
};

}  // namespace

StatusOr<FanOutReport> AttendAllHeads(const FanOutTask& task, AttendResult* result) {
  return FanOut(task, result).Run();
}

std::vector<float> GroupQueries(const TensorView& query, const Model& model, KvHeadIndex head,
                                size_t position_begin, size_t position_count) {
  const size_t group_elements = size_t{model.group_size()} * model.head_dim;
  const size_t element_bytes = ElementBytes(query.dtype);
  std::vector<float> queries(position_count * group_elements);
  for (size_t i = 0; i < position_count; ++i) {
    const size_t first =
        ((position_begin + i) * query.heads + size_t{ToInt(head)} * model.group_size()) * query.dim;
    DecodeElements(query.dtype,
                   query.data.subspan(first * element_bytes, group_elements * element_bytes),
                   std::span(queries).subspan(i * group_elements, group_elements));
  }
  return queries;
}

}  // namespace alaya
