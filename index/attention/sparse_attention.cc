#include "index/attention/sparse_attention.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <variant>
#include <vector>

#include "index/attention/attention_merge.h"
#include "index/attention/exact_attention.h"
#include "index/attention/gathered_attention.h"
#include "index/attention/window_ranges.h"
#include "index/part_search.h"

namespace alaya {
namespace {

// One slab of a task's queries on its way through the steps.
class Slab {
 public:
  Slab(const AttentionTask& task, AttentionPart output)
      : task_(task),
        output_(output),
        best_scores_(task.queries.rows(), -std::numeric_limits<float>::infinity()) {
    for (const TokenRange& visible : task.visible) {
      windows_.push_back(RangesOf(task.window, visible));
      search_visible_.push_back(is_dipr() ? windows_.back().between() : visible);
    }
    report_.part_ns.resize(task.parts.size());
    report_.query_tokens_attended.resize(task.queries.rows());
  }

  StatusOr<AttentionReport> Run() {
    ClearAttention(output_);
    const uint64_t begin_ns = Now();
    ALAYA_RETURN_IF_ERROR(AttendUnindexedParts());
    ALAYA_RETURN_IF_ERROR(AttendWindows());
    const uint64_t search_begin_ns = Now();
    const PartSearchTask search = SearchTask();
    ALAYA_ASSIGN_OR_RETURN(PartSearch found, SearchParts(search, best_scores_));
    KeepChosen(search, &found);
    const uint64_t search_end_ns = Now();
    ALAYA_RETURN_IF_ERROR(AttendChosen(found));
    const std::vector<float> attended(output_.log_sum_exp.begin(), output_.log_sum_exp.end());
    AddEstimates(found);
    report_.search_ns = search_end_ns - search_begin_ns;
    report_.attend_ns = Now() - begin_ns - report_.search_ns;

    report_.tokens_scored += found.tokens_scored;
    for (const uint64_t tokens : report_.query_tokens_attended) report_.tokens_attended += tokens;
    for (size_t p = 0; p < task_.parts.size(); ++p) report_.part_ns[p] += found.part_ns[p];
    if (task_.explain) FindCoveredMass(found, attended);
    return std::move(report_);
  }

 private:
  bool is_dipr() const { return std::holds_alternative<DiprTarget>(task_.target); }
  uint64_t Now() const { return task_.now_ns == nullptr ? 0 : task_.now_ns(); }

  // Exact attention of every query over its range of one part.
  template <class RangeOf>  // TokenRange(size_t query_index), sequence positions
  Status AttendRanges(size_t part_index, RangeOf range_of) {
    const SequencePart& part = task_.parts[part_index];
    std::vector<TokenRange> ranges(task_.queries.rows());
    uint64_t total = 0;
    for (size_t i = 0; i < ranges.size(); ++i) {
      ranges[i] = InPart(range_of(i), part);
      report_.query_tokens_attended[i] += ranges[i].size();
      total += ranges[i].size();
    }
    if (total == 0) return OkStatus();
    const uint64_t begin_ns = Now();
    ALAYA_ASSIGN_OR_RETURN(const uint64_t scored,
                           AddExactAttention({task_.queries, ranges, part.reader, task_.scale},
                                             output_, best_scores_));
    report_.tokens_scored += scored;
    report_.part_ns[part_index] += Now() - begin_ns;
    return OkStatus();
  }

  Status AttendUnindexedParts() {
    for (size_t p = 0; p < task_.parts.size(); ++p) {
      if (task_.parts[p].index != nullptr) continue;
      ALAYA_RETURN_IF_ERROR(AttendRanges(p, [&](size_t i) { return task_.visible[i]; }));
    }
    return OkStatus();
  }

  Status AttendWindows() {
    for (size_t p = 0; p < task_.parts.size(); ++p) {
      if (task_.parts[p].index == nullptr) continue;
      ALAYA_RETURN_IF_ERROR(AttendRanges(p, [&](size_t i) { return windows_[i].sink; }));
      ALAYA_RETURN_IF_ERROR(AttendRanges(p, [&](size_t i) { return windows_[i].recent; }));
    }
    always_log_sum_exp_.assign(output_.log_sum_exp.begin(), output_.log_sum_exp.end());
    return OkStatus();
  }

  PartSearchTask SearchTask() const {
    PartSearchTask search;
    search.queries = task_.queries;
    // For DIPR the best scores of what is always attended suffice; other targets weigh
    // those tokens against all others.
    search.visible = search_visible_;
    search.parts = task_.parts;
    search.target = task_.target;
    search.scale = task_.scale;
    search.scan_unindexed = !is_dipr();
    search.want_mass = task_.explain || std::holds_alternative<MassTarget>(task_.target);
    search.estimate_rest = task_.estimate_rest && is_dipr();
    search.rest_error = task_.rest_error;
    search.attended = {output_.output, output_.log_sum_exp};
    search.now_ns = task_.now_ns;
    return search;
  }

  // Leaves the candidates that belong to the target and are not attended yet.
  void KeepChosen(const PartSearchTask& search, PartSearch* found) {
    for (size_t i = 0; i < task_.queries.rows(); ++i) {
      const Selection selection = Select(search, *found, i, best_scores_[i]);
      for (size_t p = 0; p < task_.parts.size(); ++p) {
        if (task_.parts[p].index == nullptr || found->parts[p].queries.empty()) continue;
        const uint64_t token_begin = task_.parts[p].token_begin;
        std::vector<ScoredToken>& tokens = found->parts[p].queries[i].tokens;
        // Of tokens that an estimate leaves out none may be dropped.
        if (!found->parts[p].has_rest()) {
          std::erase_if(tokens, [&](const ScoredToken& candidate) {
            const SequenceToken token = {token_begin + candidate.token, candidate.score};
            return !selection.takes(token) || windows_[i].contains(token.token);
          });
        }
        report_.query_tokens_attended[i] += tokens.size();
      }
    }
  }

  Status AttendChosen(PartSearch& found) {
    std::vector<std::vector<ScoredToken>> tokens(task_.queries.rows());
    for (size_t p = 0; p < task_.parts.size(); ++p) {
      if (task_.parts[p].index == nullptr || found.parts[p].queries.empty()) continue;
      for (size_t i = 0; i < tokens.size(); ++i) {
        tokens[i] = std::move(found.parts[p].queries[i].tokens);
      }
      const uint64_t begin_ns = Now();
      ALAYA_RETURN_IF_ERROR(
          AddGatheredAttention({tokens, task_.parts[p].reader, task_.scale}, output_));
      report_.part_ns[p] += Now() - begin_ns;
    }
    return OkStatus();
  }

  void AddEstimates(const PartSearch& found) {
    for (const SearchResult& part : found.parts) {
      if (!part.has_rest()) continue;
      MergeAttention({{part.rest_output.data(), output_.output.rows(), output_.output.cols()},
                      part.rest_log_sum_exp},
                     output_);
      report_.tail_estimated = true;
    }
  }

  void FindCoveredMass(const PartSearch& found, std::span<const float> attended) {
    for (size_t i = 0; i < task_.queries.rows(); ++i) {
      double total = found.log_sum_exp(i);
      if (is_dipr()) total = MergeLogSumExp(total, double{always_log_sum_exp_[i]});
      // Without visible tokens nothing is missed.
      const double covered =
          std::isinf(total) ? 1 : std::min(1.0, std::exp(double{attended[i]} - total));
      report_.query_covered_mass.push_back(static_cast<float>(covered));
    }
  }

  const AttentionTask& task_;
  const AttentionPart output_;
  std::vector<WindowRanges> windows_;
  std::vector<TokenRange> search_visible_;
  std::vector<float> best_scores_;
  std::vector<float> always_log_sum_exp_;  // of unindexed parts and windows
  AttentionReport report_;
};

void AddReport(const AttentionReport& slab, bool explain, AttentionReport* total) {
  total->tokens_scored += slab.tokens_scored;
  total->tokens_attended += slab.tokens_attended;
  total->tail_estimated |= slab.tail_estimated;
  total->search_ns += slab.search_ns;
  total->attend_ns += slab.attend_ns;
  total->part_ns.resize(slab.part_ns.size());
  for (size_t p = 0; p < slab.part_ns.size(); ++p) total->part_ns[p] += slab.part_ns[p];
  if (!explain) return;
  total->query_tokens_attended.insert(total->query_tokens_attended.end(),
                                      slab.query_tokens_attended.begin(),
                                      slab.query_tokens_attended.end());
  total->query_covered_mass.insert(total->query_covered_mass.end(), slab.query_covered_mass.begin(),
                                   slab.query_covered_mass.end());
}

}  // namespace

StatusOr<AttentionReport> SparseAttention(const AttentionTask& task, AttentionPart output) {
  assert(!std::holds_alternative<FullTarget>(task.target));
  AttentionReport report;
  const size_t count = task.queries.rows();
  const size_t slab_queries = SearchSlabQueries(task.visible);
  for (size_t begin = 0; begin < count; begin += slab_queries) {
    const size_t slab_count = std::min(slab_queries, count - begin);
    AttentionTask slab = task;
    slab.queries = task.queries.rows_range(begin, slab_count);
    slab.visible = task.visible.subspan(begin, slab_count);
    ALAYA_ASSIGN_OR_RETURN(const AttentionReport slab_report,
                           Slab(slab, {output.output.rows_range(begin, slab_count),
                                       output.log_sum_exp.subspan(begin, slab_count)})
                               .Run());
    AddReport(slab_report, task.explain, &report);
  }
  return report;
}

}  // namespace alaya
