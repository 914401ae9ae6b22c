#include "server/rpc/convert_attention.h"

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "server/rpc/status_details.h"

namespace alaya {
namespace {

StatusOr<Target> FromProto(const v1::MassTarget& proto, const FieldPath& field) {
  // Written so that NaN fails too.
  if (!(proto.fraction() > 0 && proto.fraction() <= 1)) {
    return RequestError(
        "TARGET_DOMAIN", field,
        "mass.fraction " + std::to_string(proto.fraction()) + ", allowed is (0, 1]");
  }
  return MassTarget{.fraction = proto.fraction()};
}

StatusOr<std::optional<Target>> TargetFromProto(const v1::AttendOptions& proto,
                                                const FieldPath& field) {
  StatusOr<Target> target = FullTarget{};
  switch (proto.target_case()) {
    case v1::AttendOptions::TARGET_NOT_SET:
      return std::optional<Target>();
    case v1::AttendOptions::kFull:
      break;
    case v1::AttendOptions::kDipr:
      target = FromProto(proto.dipr(), field);
      break;
    case v1::AttendOptions::kTopK:
      target = FromProto(proto.top_k(), field);
      break;
    case v1::AttendOptions::kMass:
      target = FromProto(proto.mass(), field);
      break;
  }
  if (!target.ok()) return target.status();
  return std::optional<Target>(*target);
}

void ToProto(const PlanReport& report, v1::SegmentPlan* proto) {
  proto->set_token_begin(report.tokens.begin);
  proto->set_token_count(report.tokens.size());
  proto->set_index(static_cast<v1::IndexKind>(report.index));
  if (report.tier) proto->set_tier(static_cast<v1::Tier>(*report.tier));
  proto->set_predicted_microseconds(report.predicted_us);
  proto->set_actual_microseconds(report.actual_us);
  proto->set_reason(report.reason);
}

}  // namespace

StatusOr<Target> FromProto(const v1::DiprTarget& proto, const FieldPath& field) {
  if (proto.alpha() == 0) return DiprTarget{.sound = proto.sound()};
  if (!(proto.alpha() > 0 && proto.alpha() <= 1)) {
    return RequestError("TARGET_DOMAIN", field,
                        "dipr.alpha " + std::to_string(proto.alpha()) +
                            ", allowed is (0, 1], or 0 for the default");
  }
  return DiprTarget{.alpha = proto.alpha(), .sound = proto.sound()};
}

StatusOr<Target> FromProto(const v1::TopKTarget& proto, const FieldPath& field) {
  if (proto.k() == 0) {
    return RequestError("TARGET_DOMAIN", field, "top_k.k 0, the least is 1");
  }
  return TopKTarget{.k = proto.k()};
}

StatusOr<TokenRange> FromProto(const v1::TokenRange& proto, const FieldPath& field) {
  const uint64_t end = proto.end() == 0 ? std::numeric_limits<uint64_t>::max() : proto.end();
  if (proto.begin() >= end) {
    return RequestError("TOKEN_RANGE", field,
                        "[" + std::to_string(proto.begin()) + ", " + std::to_string(proto.end()) +
                            ") is empty: begin must be below end");
  }
  return TokenRange{.begin = proto.begin(), .end = end};
}

StatusOr<double> ScaleFromProto(double scale, const FieldPath& field) {
  if (!(scale > 0 && std::isfinite(scale))) {
    return RequestError("SCALE_DOMAIN", field,
                        std::to_string(scale) + ", it must be finite and above 0");
  }
  return scale;
}

StatusOr<AttendOptions> FromProto(const v1::AttendOptions& proto, const FieldPath& field) {
  AttendOptions options;
  if (proto.has_scale()) {
    ALAYA_ASSIGN_OR_RETURN(options.scale,
                           ScaleFromProto(proto.scale(), field.With("options.scale")));
  }
  ALAYA_ASSIGN_OR_RETURN(options.target, TargetFromProto(proto, field.With("options.target")));
  if (proto.has_window()) {
    options.window = {.sink = proto.window().sink(), .recent = proto.window().recent()};
  }
  if (proto.has_token_range()) {
    ALAYA_ASSIGN_OR_RETURN(options.token_range,
                           FromProto(proto.token_range(), field.With("options.token_range")));
  }
  if (proto.has_tail_estimate()) options.tail_estimate = proto.tail_estimate();
  options.explain = proto.explain();
  return options;
}

void ToProto(const AttendStats& stats, v1::AttendStats* proto) {
  for (const PlanReport& plan : stats.plans) ToProto(plan, proto->add_plans());
  for (const PlanReport& plan : stats.rejected_plans) ToProto(plan, proto->add_rejected_plans());
  proto->set_tokens_scored(stats.tokens_scored);
  proto->set_tokens_attended(stats.tokens_attended);
  proto->set_tail_estimated(stats.tail_estimated);
  proto->set_tier(static_cast<v1::Tier>(stats.tier));
  proto->set_queue_microseconds(stats.queue_us);
  proto->set_search_microseconds(stats.search_us);
  proto->set_attend_microseconds(stats.attend_us);
  proto->set_engine_microseconds(stats.engine_us);
  proto->mutable_head_tokens_attended()->Add(stats.head_tokens_attended.begin(),
                                             stats.head_tokens_attended.end());
  proto->mutable_head_covered_mass()->Add(stats.head_covered_mass.begin(),
                                          stats.head_covered_mass.end());
}

}  // namespace alaya
