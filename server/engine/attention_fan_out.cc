#include "server/engine/attention_fan_out.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <mutex>
#include <span>
#include <utility>

#include "index/attention/attention_merge.h"
#include "index/kernels/encoding.h"
#include "storage/types/check.h"

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
    device_ns_.resize(task_.device.size());
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
    for (size_t i = 0; i < device_ns_.size(); ++i) report_.segment_ns[i] += device_ns_[i];
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

    const AttentionPart total{{output.data(), row_count, head_dim_}, log_sum_exp};
    const StatusOr<AttentionReport> report = AttendParts(head, queries, visible, total);
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

  // Of one head, some positions; the report's parts are the view's.
  StatusOr<AttentionReport> AttendParts(KvHeadIndex head, const std::vector<float>& queries,
                                        std::span<const TokenRange> visible, AttentionPart total) {
    const std::span<const SequencePart> all = task_.sequence->parts(head);
    std::vector<SequencePart> parts;
    std::vector<size_t> places;  // in `all`
    for (size_t i = 0; i < all.size(); ++i) {
      if (i < task_.device.size() && task_.device[i] != nullptr) continue;
      parts.push_back(all[i]);
      places.push_back(i);
    }
    AttentionTask attention;
    attention.queries = {queries.data(), visible.size(), head_dim_};
    attention.visible = visible;
    attention.parts = parts;
    attention.target = task_.target;
    attention.window = task_.window;
    attention.scale = task_.scale;
    attention.estimate_rest = task_.estimate_rest;
    attention.explain = task_.explain;
    attention.now_ns = &MonotonicNanoseconds;
    ALAYA_ASSIGN_OR_RETURN(AttentionReport report, task_.backend->Attend(attention, total));
    if (task_.device.empty()) return report;

    std::vector<uint64_t> part_ns(all.size());
    for (size_t i = 0; i < places.size(); ++i) part_ns[places[i]] = report.part_ns[i];
    report.part_ns = std::move(part_ns);
    for (size_t i = 0; i < task_.device.size(); ++i) {
      if (task_.device[i] == nullptr) continue;
      ALAYA_RETURN_IF_ERROR(AddDevicePart(i, head, *all[i].reader, total, &report));
    }
    return report;
  }

  Status AddDevicePart(size_t segment, KvHeadIndex head, const KvReader& rows, AttentionPart total,
                       AttentionReport* report) {
    ALAYA_CHECK(units_per_head_ == 1);
    const size_t count = total.log_sum_exp.size();
    std::vector<float> output(count * head_dim_);
    std::vector<float> log_sum_exp(count);
    const AttentionPart part{{output.data(), count, head_dim_}, log_sum_exp};
    ALAYA_ASSIGN_OR_RETURN(const DeviceHeadReport found,
                           task_.device[segment]->Finish(head, rows, part));
    report->tokens_scored += found.tokens_scored;
    report->tokens_attended += found.tokens_attended;
    report->tail_estimated |= found.rest_estimated;
    report->search_ns += found.device_ns / task_.model->num_kv_heads;
    report->attend_ns += found.host_ns;
    report->part_ns[segment] = found.host_ns;
    if (task_.explain) {
      for (size_t i = 0; i < count; ++i) {
        report->query_tokens_attended[i] += found.query_tokens_attended[i];
        // Of both together: each one's covered mass over the mass of both.
        const float before = total.log_sum_exp[i];
        const auto both = static_cast<float>(MergeLogSumExp(before, log_sum_exp[i]));
        if (std::isinf(both)) continue;
        report->query_covered_mass[i] =
            report->query_covered_mass[i] * std::exp(before - both) +
            found.query_covered_mass[i] * std::exp(log_sum_exp[i] - both);
      }
    }
    MergeAttention({part.output, part.log_sum_exp}, total);
    const std::scoped_lock lock(mutex_);
    device_ns_[segment] = found.device_ns;
    return OkStatus();
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
  FanOutReport report_;              // guarded by mutex_
  std::vector<uint64_t> device_ns_;  // [segment_count] or empty; guarded by mutex_
  Status error_;                     // guarded by mutex_
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
