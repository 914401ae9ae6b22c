#include "server/engine/planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "index/attention/window_ranges.h"
#include "server/engine/index_kinds.h"
#include "storage/page/page.h"

namespace alaya {
namespace {

// Waking a thread takes 10 to 50 microseconds; below a few of those it cannot pay.
constexpr double kParallelMinUs = 60;

// Share of the tokens that a sparse target attends to, until a layer was observed: with an
// estimate of the rest, which takes more of them, and without.
constexpr double kUnknownShare = 0.01;
constexpr double kUnknownBareShare = 0.001;

// Tokens that matter lie together: so many in a page, where there are any
// (tests/benchmarks/RESULTS.md).
constexpr double kTokensTogether = 3;

// Below, what a plan takes is mostly the disk's time.
constexpr double kColdShare = 0.5;
bool IsCold(const SegmentFacts& segment) { return segment.resident_share < kColdShare; }

// Rows that a search scores exactly, for all queries, for each one that a query attends to.
constexpr double kScoredPerAttended = 1;
// Share of the tokens that a graph visits, and of those in the blocks that coarse takes.
constexpr double kFineVisitedShare = 0.02;
constexpr double kCoarseTakenShare = 0.05;

// Full attention and the sparse one are both tried so often while the dearer one's prediction is
// less than so many times the other's.
constexpr uint64_t kTryCount = 4;
constexpr double kTryRatio = 1.5;

// Decode steps that are expected to use an index after it was read from disk.
constexpr double kStepsPerLoad = 32;

// Which targets a kind answers.
bool Answers(IndexKind kind, const Target& target) {
  const bool is_full = std::holds_alternative<FullTarget>(target);
  const auto* dipr = std::get_if<DiprTarget>(&target);
  switch (kind) {
    case IndexKind::kExact:
      return true;
    case IndexKind::kFlat:
      return !is_full;
    case IndexKind::kCoarse:
    case IndexKind::kFine:
      // They may miss tokens, and do not know the mass of those that they did not see.
      return std::holds_alternative<TopKTarget>(target) || (dipr != nullptr && !dipr->sound);
  }
  return false;
}

// Can a kind estimate the attention to what it leaves out?
bool Estimates(IndexKind kind) { return kind == IndexKind::kFlat; }

// Does what a device offers answer the plan's target?
bool Answers(const DeviceCost& device, const AttendPlan& plan) {
  switch (device.kind) {
    case IndexKind::kExact:
      // Attention to all tokens is what an estimate of the rest is an estimate of.
      return plan.estimate_rest || std::holds_alternative<FullTarget>(plan.target);
    case IndexKind::kFlat:
      return plan.estimate_rest;
    case IndexKind::kCoarse:
    case IndexKind::kFine:
      return !plan.estimate_rest && Answers(device.kind, plan.target);
  }
  return false;
}

LayerTarget KeyOf(const PlanRequest& request, const AttendPlan& plan) {
  uint64_t token_count = 0;
  for (const SegmentFacts& segment : request.segments) token_count += segment.visible.size();
  return {request.model->name, request.layer, plan.target.index(), plan.estimate_rest,
          static_cast<int>(std::bit_width(token_count))};
}

// A row that a device leaves to the CPU is scored and attended by so many queries.
constexpr double kQueriesPerLeftRow = 2;

// Whose learnt costs a plan has: the device's are kept where no kind has its own.
IndexKind CostKind(const PlanReport& report) {
  return report.on_device ? IndexKind{} : report.index;
}

// Predicts one segment's time on one thread, over all kv heads.
class CostModel {
 public:
  CostModel(const MachineCosts& costs, const PlanRequest& request, const Target& target,
            bool estimate_rest, double attended_share)
      : costs_(costs),
        head_count_(request.model->num_kv_heads),
        row_bytes_(static_cast<double>(request.model->row_bytes())),
        head_dim_(request.model->head_dim),
        page_tokens_(static_cast<double>(PageTokens(*request.model))),
        queries_per_head_(static_cast<double>(request.query_count * request.model->group_size())),
        attended_share_(attended_share),
        attends_all_(estimate_rest || std::holds_alternative<FullTarget>(target)),
        is_dipr_(std::holds_alternative<DiprTarget>(target)),
        is_statistical_(is_dipr_ && !std::get<DiprTarget>(target).sound && !estimate_rest),
        keeps_scores_(estimate_rest || std::holds_alternative<MassTarget>(target)),
        window_(WindowOf(request)) {}

  double ExactUs(uint64_t token_count, double resident_share) const {
    const double rows = Rows(token_count);
    double ns = head_count_ * costs_.call_ns + DenseNs(rows);
    ns += attends_all_ ? DenseNs(rows) : PickNs(rows, attended_share_);
    // Keys and values lie together and are read whole, whatever is picked of them.
    ns += 2 * rows * row_bytes_ * (1 - resident_share) * costs_.disk_ns_per_byte;
    return ns / 1000;
  }

  double IndexUs(const IndexFacts& index, const SegmentFacts& segment) const {
    const double rows = Rows(segment.visible.size());
    const double disk = 1 - segment.resident_share;
    const double bytes = static_cast<double>(index.bytes);
    double ns = head_count_ * costs_.search_ns + PickNs(rows, attended_share_);
    double scored_share = kScoredPerAttended * attended_share_;
    // DIPR attends the window first, exactly.
    if (is_dipr_) ns += 2 * DenseNs(Rows(WindowTokens(segment.visible)));
    switch (index.kind) {
      case IndexKind::kExact:
        return ExactUs(segment.visible.size(), segment.resident_share);
      case IndexKind::kFlat:
        ns += CodesNs(rows, bytes) + LoadNs(index);
        break;
      case IndexKind::kCoarse:
        ns += bytes * (costs_.read_ns_per_byte + queries_per_head_ * costs_.ns_per_multiply_add) +
              LoadNs(index);
        scored_share = kCoarseTakenShare;
        break;
      case IndexKind::kFine:
        scored_share += kFineVisitedShare;
        break;
    }
    ns += PickNs(rows, scored_share) +
          PickedPagesNs(rows * disk, std::max(scored_share, attended_share_));
    return ns / 1000;
  }

  // Of IndexUs. An index stays in memory when it was read: the steps that follow share the cost,
  // else one that lies on disk would never be taken up.
  double LaterUs(const IndexFacts& index) const {
    return LoadNs(index) * (1 - 1 / kStepsPerLoad) / 1000;
  }

  double DeviceUs(const DeviceCost& device, const SegmentFacts& segment) const {
    if (device.kind == IndexKind::kCoarse) {
      // All but the bounds is the CPU's.
      return device.device_us + IndexUs({IndexKind::kCoarse, /*bytes=*/0, 1}, segment);
    }
    const double rows = head_count_ * device.rows_per_head;
    return device.device_us + 2 * PickNs(rows, kQueriesPerLeftRow / queries_per_head_) / 1000;
  }

 private:
  static WindowRanges WindowOf(const PlanRequest& request) {
    if (request.segments.empty()) return {};
    return RangesOf(request.window,
                    {request.segments.front().visible.begin,
                     request.segments.back().visible.end + request.tail_token_count});
  }
  uint64_t WindowTokens(TokenRange tokens) const {
    return Intersect(window_.sink, tokens).size() + Intersect(window_.recent, tokens).size();
  }

  // Keys of all kv heads.
  double Rows(uint64_t token_count) const { return static_cast<double>(token_count) * head_count_; }
  // Reading what is missing of an index.
  double LoadNs(const IndexFacts& index) const {
    return static_cast<double>(index.bytes) * (1 - index.resident_share) * costs_.disk_ns_per_byte;
  }
  // Scanning a flat index.
  double CodesNs(double rows, double bytes) const {
    const double code_ns = keeps_scores_     ? costs_.rest_code_ns
                           : is_statistical_ ? costs_.code_ns
                                             : costs_.sound_code_ns;
    const double read = bytes * (is_statistical_ ? kUpperCodeShare : 1);
    return read * costs_.read_ns_per_byte + rows * queries_per_head_ * code_ns;
  }
  // Reading rows one after the other, for all queries.
  double DenseNs(double rows) const {
    return rows * row_bytes_ * costs_.read_ns_per_byte +
           rows * head_dim_ * queries_per_head_ * costs_.ns_per_multiply_add;
  }
  // Keys, or values, that queries pick; when they pick most, reading all is cheaper.
  double PickNs(double rows, double share) const {
    const double picked = rows * queries_per_head_ * std::min(share, 1.0);
    return std::min(picked * costs_.gather_ns, DenseNs(rows));
  }
  // Of rows on disk, reading the pages in which those lie that queries pick; a page of keys comes
  // with that of values behind it, in a read of its own. Scattered tokens are soon in nearly all
  // pages.
  double PickedPagesNs(double rows, double share) const {
    const double picked = std::min(share * queries_per_head_, 1.0);
    const double touched = 1 - std::pow(1 - picked, page_tokens_ / kTokensTogether);
    const double read_ns =
        costs_.disk_read_ns + 2 * page_tokens_ * row_bytes_ * costs_.disk_ns_per_byte;
    return rows / page_tokens_ * touched * read_ns;
  }

  const MachineCosts& costs_;
  const double head_count_;
  const double row_bytes_;
  const double head_dim_;
  const double page_tokens_;
  const double queries_per_head_;
  const double attended_share_;
  const bool attends_all_;  // of what no index searches
  const bool is_dipr_;
  const bool is_statistical_;
  const bool keeps_scores_;
  const WindowRanges window_;
};

double AttendedShare(const PlanRequest& request, const AttendPlan& plan, double observed) {
  if (std::holds_alternative<FullTarget>(plan.target)) return 1;
  if (observed >= 0) return observed;
  if (const auto* top_k = std::get_if<TopKTarget>(&plan.target)) {
    uint64_t tokens = 1;
    for (const SegmentFacts& segment : request.segments) tokens += segment.visible.size();
    return std::min(1.0, static_cast<double>(top_k->k) / static_cast<double>(tokens));
  }
  return plan.estimate_rest || !std::holds_alternative<DiprTarget>(plan.target) ? kUnknownShare
                                                                                : kUnknownBareShare;
}

bool CanEstimate(const SegmentFacts& segment) {
  const auto& device = segment.device;
  if (device && (device->kind == IndexKind::kExact || Estimates(device->kind))) return true;
  return std::ranges::any_of(segment.indexes, Estimates, &IndexFacts::kind);
}

struct Candidate {
  PlanReport report;
  // On the average, less what later steps are spared: reading an index that stays in memory then.
  double cost_us = 0;
};

// Plans of one segment, the cheapest first.
std::vector<Candidate> Candidates(const PlanRequest& request, const SegmentFacts& segment,
                                  const AttendPlan& plan, const CostModel& model,
                                  const LayerStatistics::Expectation& expected) {
  std::vector<Candidate> candidates;
  const auto add = [&](IndexKind kind, bool on_device, double predicted_us, double resident_share,
                       double later_us = 0) {
    Candidate& candidate = candidates.emplace_back();
    PlanReport& report = candidate.report;
    report.tokens = segment.visible;
    report.index = kind;
    report.on_device = on_device;
    const auto factor = expected.cost_factor(CostKind(report), IsCold(segment));
    report.learnt_factor = factor.next;
    report.predicted_us = predicted_us * factor.next;
    report.mean_factor = factor.mean;
    candidate.cost_us = (predicted_us - later_us) * factor.mean;
    if (!request.explain) return;
    report.reason =
        on_device ? "on the GPU" : fmt::format("{:.0f} % in memory", 100 * resident_share);
  };
  if (segment.has_exact) {
    add(IndexKind::kExact, false, model.ExactUs(segment.visible.size(), segment.resident_share),
        segment.resident_share);
  }
  for (const IndexFacts& index : segment.indexes) {
    if (!Answers(index.kind, plan.target)) continue;
    if (plan.estimate_rest && !Estimates(index.kind)) continue;
    // Of a segment that is on disk altogether it is the first answer that has to be soon.
    add(index.kind, false, model.IndexUs(index, segment), index.resident_share,
        IsCold(segment) ? 0 : model.LaterUs(index));
  }
  if (segment.device && Answers(*segment.device, plan)) {
    add(segment.device->kind, true, model.DeviceUs(*segment.device, segment), 1);
  }
  std::ranges::stable_sort(candidates, {}, &Candidate::cost_us);
  return candidates;
}

void PlanSegments(const PlanRequest& request, const MachineCosts& costs,
                  const LayerStatistics::Expectation& expected, AttendPlan* plan) {
  const CostModel model(costs, request, plan->target, plan->estimate_rest,
                        AttendedShare(request, *plan, expected.attended_share));
  if (request.tail_token_count > 0) {
    plan->predicted_us = CostModel(costs, request, FullTarget(), false, 1)
                             .ExactUs(request.tail_token_count, /*resident_share=*/1);
    plan->cost_us = plan->predicted_us;
  }
  for (const SegmentFacts& segment : request.segments) {
    std::vector<Candidate> candidates = Candidates(request, segment, *plan, model, expected);
    PlanReport& chosen = candidates.front().report;
    if (request.explain) {
      chosen.reason = fmt::format(
          "{}, {}", candidates.size() == 1 ? "the only way" : "the cheapest", chosen.reason);
      for (size_t i = 1; i < candidates.size(); ++i) {
        PlanReport& loser = candidates[i].report;
        loser.reason = fmt::format(
            "{:.1f} times the cost of {}{}, {}", candidates[i].cost_us / candidates[0].cost_us,
            IndexKindName(chosen.index), chosen.on_device ? " on the GPU" : "", loser.reason);
        plan->rejected.push_back(std::move(loser));
      }
    }
    plan->predicted_us += chosen.predicted_us;
    plan->cost_us += candidates.front().cost_us;
    plan->segments.push_back(std::move(chosen));
  }
  plan->parallel = plan->predicted_us >= kParallelMinUs;
}

// The request with only what estimates, in segments that have it; none if none has.
std::optional<PlanRequest> OnlyEstimating(const PlanRequest& request) {
  if (std::ranges::none_of(request.segments, CanEstimate)) return std::nullopt;
  PlanRequest reduced = request;
  for (SegmentFacts& segment : reduced.segments) segment.has_exact = !CanEstimate(segment);
  return reduced;
}

// Until the layer tried a target, the machine's costs are taken to be wrong for both alike: else
// what was learnt of the other one alone would keep it from ever being tried.
double HopedUs(const AttendPlan& plan, const AttendPlan& other) {
  const bool is_known = plan.segments.front().mean_factor != 1;
  return plan.cost_us * (is_known ? 1 : std::min(1.0, other.segments.front().mean_factor));
}

}  // namespace

AttendPlan Planner::PlanFor(const PlanRequest& request, const Target& target) const {
  AttendPlan plan;
  plan.target = target;
  plan.estimate_rest =
      std::holds_alternative<DiprTarget>(target) &&
      request.estimate_rest.value_or(std::ranges::any_of(request.segments, CanEstimate));
  const LayerStatistics::Expectation expected = statistics_.Expect(KeyOf(request, plan));
  plan.try_count = expected.cost_count;
  PlanSegments(request, costs_, expected, &plan);
  return plan;
}

AttendPlan Planner::Plan(const PlanRequest& request) const {
  if (request.target) return PlanFor(request, *request.target);
  AttendPlan other = PlanFor(request, FullTarget());
  const std::optional<PlanRequest> estimating = OnlyEstimating(request);
  if (!estimating || !request.estimate_rest.value_or(true)) return other;
  AttendPlan chosen = PlanFor(*estimating, DiprTarget());
  double chosen_us = HopedUs(chosen, other);
  double other_us = HopedUs(other, chosen);
  const auto swap = [&] {
    std::swap(chosen, other);
    std::swap(chosen_us, other_us);
  };
  if (chosen_us > other_us) swap();
  // From disk a trial costs too much, and shows what the disk takes, not the layer.
  const bool is_trial = other.try_count < kTryCount && other_us < kTryRatio * chosen_us &&
                        std::ranges::none_of(request.segments, IsCold);
  if (is_trial) swap();
  if (!request.explain) return chosen;
  for (PlanReport& segment : chosen.segments) {
    if (is_trial) segment.reason = "tried, to know its cost; " + segment.reason;
  }
  for (PlanReport& loser : other.segments) {
    loser.reason =
        fmt::format("of the other target, {:.1f} times the cost in all", other_us / chosen_us);
    chosen.rejected.push_back(std::move(loser));
  }
  return chosen;
}

void Planner::Observe(const PlanRequest& request, const AttendPlan& plan,
                      const PlanOutcome& outcome) {
  const LayerTarget key = KeyOf(request, plan);
  for (size_t i = 0; i < plan.segments.size(); ++i) {
    const PlanReport& segment = plan.segments[i];
    statistics_.ObserveCost(key, CostKind(segment), segment.predicted_us / segment.learnt_factor,
                            segment.actual_us, IsCold(request.segments[i]));
  }
  if (outcome.seen_tokens > 0 && !std::holds_alternative<FullTarget>(plan.target)) {
    statistics_.ObserveShare(key, static_cast<double>(outcome.attended_tokens) /
                                      static_cast<double>(outcome.seen_tokens));
  }
}

}  // namespace alaya
