#include "server/engine/attend_checks.h"

#include <fmt/format.h>

#include <cmath>
#include <string_view>

#include "server/engine/request_checks.h"
#include "server/engine/tensor_checks.h"

namespace alaya {
namespace {

// NaN is outside, too.
Status CheckUnitInterval(std::string_view name, double value) {
  if (value > 0 && value <= 1) return OkStatus();
  return InvalidArgument(fmt::format("{} {}: must be in (0, 1]", name, value));
}

struct TargetCheck {
  Status operator()(const FullTarget&) const { return OkStatus(); }
  Status operator()(const DiprTarget& target) const {
    return CheckUnitInterval("dipr.alpha", target.alpha);
  }
  Status operator()(const TopKTarget& target) const {
    if (target.k >= 1) return OkStatus();
    return InvalidArgument("top_k.k 0: must be at least 1");
  }
  Status operator()(const MassTarget& target) const {
    return CheckUnitInterval("mass.fraction", target.fraction);
  }
};

}  // namespace

Status CheckScale(const std::optional<double>& scale) {
  if (!scale) return OkStatus();
  // Attention is computed in float: a scale that vanishes there is as bad as 0.
  const auto used = static_cast<float>(*scale);
  if (std::isfinite(used) && used > 0) return OkStatus();
  return InvalidArgument(fmt::format("scale {}: must be finite and > 0 as a float", *scale));
}

Status CheckTarget(const Target& target) { return std::visit(TargetCheck(), target); }

float ScaleOrDefault(const std::optional<double>& scale, const Model& model) {
  return static_cast<float>(scale.value_or(1 / std::sqrt(static_cast<double>(model.head_dim))));
}

Status CheckAttendItem(const AttendItem& item, const Model& model, const EngineLimits& limits) {
  ALAYA_RETURN_IF_ERROR(CheckLayer(item.layer, model));
  if (item.key.has_value() != item.value.has_value()) {
    return InvalidArgument(item.key ? "key is set without value: both or neither"
                                    : "value is set without key: both or neither");
  }
  if (!item.query && !item.key) {
    return InvalidArgument("item has neither query nor key and value");
  }
  const AttendOptions& options = item.options;
  ALAYA_RETURN_IF_ERROR(CheckScale(options.scale));
  if (options.target) ALAYA_RETURN_IF_ERROR(CheckTarget(*options.target));
  ALAYA_RETURN_IF_ERROR(CheckTokenRange(options.token_range));

  const uint64_t tokens_max = limits.max_queries_per_item;
  if (item.query) ALAYA_RETURN_IF_ERROR(CheckQuery("query", *item.query, model, tokens_max));
  if (!item.key) return OkStatus();
  ALAYA_RETURN_IF_ERROR(CheckKeyOrValue("key", *item.key, model, tokens_max));
  ALAYA_RETURN_IF_ERROR(CheckKeyOrValue("value", *item.value, model, tokens_max));
  if (item.key->tokens != item.value->tokens) {
    return InvalidArgument(fmt::format("key has {} tokens, value has {}: must be equal",
                                       item.key->tokens, item.value->tokens));
  }
  if (item.query && item.query->tokens != item.key->tokens) {
    return InvalidArgument(fmt::format("query has {} tokens, key has {}: must be equal",
                                       item.query->tokens, item.key->tokens));
  }
  return OkStatus();
}

}  // namespace alaya
