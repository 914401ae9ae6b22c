#include "server/engine/attend_runner.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <utility>

#include "index/attention/window_ranges.h"
#include "server/engine/attend_checks.h"
#include "server/engine/attention_fan_out.h"
#include "server/engine/device_offers.h"
#include "server/engine/prefetch.h"
#include "server/engine/sequence_view.h"

namespace alaya {
namespace {

using std::chrono::steady_clock;

double MicrosecondsSince(steady_clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(steady_clock::now() - begin).count();
}

// What each of the query's positions sees: everything up to its own token, within the
// caller's range. Without new tokens every position sees everything.
std::vector<TokenRange> VisibleTokens(const TensorView& query, const AttendItem& item,
                                      uint64_t token_count) {
  const bool causal = item.key.has_value();
  std::vector<TokenRange> visible(query.tokens);
  for (size_t i = 0; i < query.tokens; ++i) {
    visible[i] = {0, causal ? token_count - query.tokens + i + 1 : token_count};
    if (item.options.token_range) visible[i] = Intersect(visible[i], *item.options.token_range);
    if (visible[i].empty()) visible[i] = {};
  }
  return visible;
}

SegmentFacts FactsOf(const SequenceView& sequence, size_t i) {
  SegmentFacts facts;
  facts.visible = sequence.segment_tokens(i);
  facts.resident_share = sequence.ResidentShare(i);
  for (const IndexKind kind : kBuiltIndexKinds) {
    if (!sequence.available(i).contains(kind)) continue;
    facts.indexes.push_back({kind, sequence.IndexBytes(i, kind), sequence.ResidentShare(i, kind)});
  }
  return facts;
}

// All of it but the segments.
PlanRequest RequestOf(const TensorView& query, const AttendItem& item, const Model& model,
                      const SequenceView& sequence) {
  PlanRequest request;
  request.model = &model;
  request.layer = item.layer;
  request.target = item.options.target;
  request.estimate_rest = item.options.tail_estimate;
  request.query_count = query.tokens;
  request.tail_token_count = sequence.tail_token_count();
  request.window = item.options.window;
  request.explain = item.options.explain;
  return request;
}

// False if something of them is not in memory.
bool AddSegments(SequenceView* sequence, PlanRequest* request) {
  bool is_in_memory = true;
  for (size_t i = 0; i < sequence->segment_count(); ++i) {
    request->segments.push_back(FactsOf(*sequence, i));
    if (request->segments.back().resident_share == 1) {
      sequence->ExpectInMemory(i);
    } else {
      is_in_memory = false;
    }
  }
  return is_in_memory;
}

// Brings what is missing of segments that the plan reads whole; that is part of its cost.
void LoadWholeSegments(ContextStore* store, const PlanRequest& request, SequenceView* sequence,
                       AttendPlan* plan) {
  for (size_t i = 0; i < plan->segments.size(); ++i) {
    PlanReport& segment = plan->segments[i];
    const bool is_whole = segment.index == IndexKind::kExact && !segment.on_device;
    if (!is_whole || request.segments[i].resident_share == 1) continue;
    const SegmentLink& link = sequence->link(i);
    const uint64_t begin = link.range().begin;
    const TokenRange tokens = sequence->segment_tokens(i);
    const auto begin_time = steady_clock::now();
    const bool is_loaded = LoadWhole(store, link.segment, sequence->layer(),
                                     {tokens.begin - begin, tokens.end - begin});
    if (is_loaded) sequence->ServeFromDisk(i);
    segment.actual_us = MicrosecondsSince(begin_time);
  }
}

// What a query attends to in any case is no sign of the layer.
PlanOutcome OutcomeOf(const FanOutReport& report, const FanOutTask& task, const AttendPlan& plan) {
  PlanOutcome outcome;
  uint64_t always = 0;
  for (const TokenRange& visible : task.visible) {
    const WindowRanges window = RangesOf(task.window, visible);
    uint64_t chosen_from = 0;
    for (size_t i = 0; i < plan.segments.size(); ++i) {
      if (plan.AttendsAllOf(plan.segments[i])) continue;
      const TokenRange seen = Intersect(task.sequence->segment_tokens(i), visible);
      chosen_from += Intersect(seen, window.between()).size();
    }
    always += visible.size() - chosen_from;
    outcome.seen_tokens += chosen_from;
  }
  const uint64_t head_count = task.query.heads;
  outcome.seen_tokens *= head_count;
  outcome.attended_tokens =
      report.tokens_attended - std::min(report.tokens_attended, always * head_count);
  return outcome;
}

// Of what came from disk the clock counts: threads that wait for it together wait once.
void ReportExecution(const FanOutReport& report, const SequenceView& sequence, double wall_us,
                     AttendPlan* plan) {
  const auto total_ns = static_cast<double>(
      std::accumulate(report.segment_ns.begin(), report.segment_ns.end(), uint64_t{0}));
  for (size_t i = 0; i < plan->segments.size(); ++i) {
    PlanReport& segment = plan->segments[i];
    segment.tier = sequence.tier(i);
    if (segment.on_device && segment.tier == Tier::kMemory) segment.tier = Tier::kGpu;
    const auto segment_ns = static_cast<double>(report.segment_ns[i]);
    const bool by_clock = segment.tier == Tier::kDisk && total_ns > 0;
    segment.actual_us += by_clock ? wall_us * segment_ns / total_ns : segment_ns / 1000;
  }
}

// Units run side by side: their summed times share the wall time out.
void SetStageTimes(const FanOutReport& report, double wall_us, AttendStats* stats) {
  const auto search_ns = static_cast<double>(report.search_ns);
  const double total_ns = search_ns + static_cast<double>(report.attend_ns);
  stats->search_us = total_ns > 0 ? wall_us * search_ns / total_ns : 0;
  stats->attend_us = wall_us - stats->search_us;
}

void FillStats(FanOutReport report, AttendPlan plan, AttendStats* stats) {
  for (const PlanReport& segment : plan.segments)
    stats->tier = std::max(stats->tier, *segment.tier);
  stats->plans = std::move(plan.segments);
  stats->rejected_plans = std::move(plan.rejected);
  stats->tokens_scored = report.tokens_scored;
  stats->tokens_attended = report.tokens_attended;
  stats->tail_estimated = report.tail_estimated;
  stats->head_tokens_attended = std::move(report.head_tokens_attended);
  stats->head_covered_mass = std::move(report.head_covered_mass);
}

}  // namespace

AttendResult AttendRunner::Run(const AttendItem& item, Session* session) const {
  AttendResult result;
  result.status = session->CheckOpen();
  if (!result.status.ok()) return result;
  result.status = CheckAttendItem(item, session->model(), limits_);
  if (!result.status.ok()) return result;
  if (item.key && item.value) {
    result.status = session->Append(item.layer, item.key->data, item.value->data,
                                    limits_.max_tail_tokens_per_session);
    if (!result.status.ok()) return result;
  }
  if (!item.query) return result;
  if (Status status = Answer(*item.query, item, *session, &result); !status.ok()) {
    if (item.key) session->UndoAppend(item.layer, item.key->tokens);
    result = AttendResult();
    result.status = std::move(status);
  }
  return result;
}

Status AttendRunner::Answer(const TensorView& query, const AttendItem& item, const Session& session,
                            AttendResult* result) const {
  Status answered = AnswerWith(device_, query, item, session, result);
  if (answered.ok() || device_ == nullptr) return answered;
  // Whatever became of the device, the CPU can do without.
  *result = AttendResult();
  return AnswerWith(nullptr, query, item, session, result);
}

Status AttendRunner::AnswerWith(AttentionDevice* device, const TensorView& query,
                                const AttendItem& item, const Session& session,
                                AttendResult* result) const {
  const Model& model = session.model();
  FanOutTask task;
  task.visible = VisibleTokens(query, item, session.token_count(item.layer));
  // The last position sees the most.
  SequenceView sequence({.store = store_,
                         .indexes = indexes_,
                         .model = &model,
                         .chain = &session.prefix().chain,
                         .tail = &session.tail(),
                         .layer = item.layer},
                        task.visible.back());
  PlanRequest request = RequestOf(query, item, model, sequence);
  const bool is_in_memory = AddSegments(&sequence, &request);
  // What is in memory came layer by layer: if this one is, the next one mostly is.
  if (!is_in_memory) {
    PrefetchLayer(store_, session.prefix().chain, LayerIndex{ToInt(item.layer) + 1});
  }
  const DeviceItem device_item = {.model = &model,
                                  .query = query,
                                  .visible = task.visible,
                                  .target = request.target,
                                  .estimate_rest = request.estimate_rest.value_or(true),
                                  .explain = item.options.explain,
                                  .window = request.window,
                                  .scale = ScaleOrDefault(item.options.scale, model)};
  DeviceOffers offers(device, store_, &sequence);
  offers.Ask(device_item, &request);
  AttendPlan plan = planner_->Plan(request);
  const auto begin = steady_clock::now();
  ALAYA_RETURN_IF_ERROR(offers.Accept(device_item, plan));
  for (size_t i = 0; i < plan.segments.size(); ++i) {
    if (plan.segments[i].on_device) continue;
    sequence.Choose(i, plan.segments[i].index,
                    plan.estimate_rest ? SequenceView::WithoutIndex::kAttendAll
                                       : SequenceView::WithoutIndex::kScan);
  }

  if (!is_in_memory) LoadWholeSegments(store_, request, &sequence, &plan);

  task.backend = backend_;
  if (plan.parallel) task.pool = is_in_memory ? pool_ : disk_pool_;
  task.model = &model;
  task.sequence = &sequence;
  task.device = offers.accepted();
  task.query = query;
  task.target = plan.target;
  task.window = item.options.window;
  task.scale = device_item.scale;
  task.estimate_rest = plan.estimate_rest;
  task.explain = item.options.explain;
  const auto attend_begin = steady_clock::now();
  ALAYA_ASSIGN_OR_RETURN(FanOutReport report, AttendAllHeads(task, result));
  const double attend_wall_us = MicrosecondsSince(attend_begin);
  SetStageTimes(report, MicrosecondsSince(begin), &result->stats);
  const PlanOutcome outcome = OutcomeOf(report, task, plan);
  ReportExecution(report, sequence, attend_wall_us, &plan);
  planner_->Observe(request, plan, outcome);
  FillStats(std::move(report), std::move(plan), &result->stats);
  return OkStatus();
}

}  // namespace alaya
