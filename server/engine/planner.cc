#include "server/engine/planner.h"

#include <fmt/format.h>

#include <variant>

namespace alaya {
namespace {

// Waking a thread takes 10 to 50 microseconds; below a few of those it cannot pay.
constexpr double kParallelMinUs = 60;

// Share of a segment's values that a sparse target reads, until set sizes are
// observed: few tokens are critical, but they are spread over many pages.
constexpr double kSparseValueShare = 0.1;

}  // namespace

double Planner::PredictScan(const PlanRequest& request, uint64_t token_count, double resident_share,
                            double value_share) const {
  const Model& model = *request.model;
  const double row_count =
      static_cast<double>(token_count) * model.num_kv_heads * (1 + value_share);
  const double bytes = row_count * static_cast<double>(model.row_bytes());
  const double multiply_adds = row_count * static_cast<double>(model.head_dim) *
                               model.group_size() * static_cast<double>(request.query_count);
  const double ns = costs_.call_ns * model.num_kv_heads + bytes * costs_.read_ns_per_byte +
                    multiply_adds * costs_.ns_per_multiply_add +
                    bytes * (1 - resident_share) * costs_.disk_ns_per_byte;
  return ns / 1000;
}

AttendPlan Planner::Plan(const PlanRequest& request) const {
  AttendPlan plan;
  plan.target = request.target.value_or(DiprTarget{});
  const double value_share =
      std::holds_alternative<FullTarget>(plan.target) ? 1 : kSparseValueShare;
  if (request.tail_token_count > 0) {
    plan.predicted_us = PredictScan(request, request.tail_token_count, 1, 1);
  }
  plan.segments.reserve(request.segments.size());
  for (const SegmentFacts& segment : request.segments) {
    PlanReport& report = plan.segments.emplace_back();
    report.tokens = segment.visible;
    report.index = IndexKind::kExact;
    report.predicted_us =
        PredictScan(request, segment.visible.size(), segment.resident_share, value_share);
    plan.predicted_us += report.predicted_us;
    if (request.explain) {
      report.reason = fmt::format("the segment has no other index; {:.0f} % of its pages in memory",
                                  100 * segment.resident_share);
    }
  }
  plan.parallel = plan.predicted_us >= kParallelMinUs;
  return plan;
}

}  // namespace alaya
