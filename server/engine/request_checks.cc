#include "server/engine/request_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <string>

namespace alaya {
namespace {

constexpr size_t kModelNameLengthMax = 128;
constexpr uint32_t kLayerCountMax = 1024;
constexpr uint32_t kHeadCountMax = 1024;
constexpr uint32_t kHeadDimMin = 8;
constexpr uint32_t kHeadDimMax = 1024;
constexpr uint32_t kHeadDimStep = 8;
constexpr size_t kContextIdLengthMax = 128;
constexpr size_t kLabelCountMax = 64;
constexpr size_t kLabelKeyLengthMax = 63;
constexpr size_t kLabelValueLengthMax = 255;

// Keeps absurdly long input out of messages.
constexpr size_t kQuotedLengthMax = 160;

std::string Quoted(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text.substr(0, kQuotedLengthMax)) {
    quoted += c >= ' ' && c <= '~' ? c : '?';
  }
  return quoted + (text.size() > kQuotedLengthMax ? "...'" : "'");
}

bool IsAlphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// `extra`: characters allowed beside letters and digits.
Status CheckName(std::string_view what, std::string_view name, size_t length_max,
                 std::string_view extra) {
  if (name.empty() || name.size() > length_max) {
    return InvalidArgument(fmt::format("{} {} has {} characters, must have 1 to {}", what,
                                       Quoted(name), name.size(), length_max));
  }
  const bool valid = std::all_of(name.begin(), name.end(), [extra](char c) {
    return IsAlphanumeric(c) || extra.find(c) != std::string_view::npos;
  });
  if (valid) return OkStatus();
  return InvalidArgument(
      fmt::format("{} {} has a character outside [A-Za-z0-9{}]", what, Quoted(name), extra));
}

Status CheckCount(std::string_view what, uint32_t count, uint32_t count_max) {
  if (count >= 1 && count <= count_max) return OkStatus();
  return InvalidArgument(fmt::format("{} {}: must be 1 to {}", what, count, count_max));
}

}  // namespace

Status CheckModel(const Model& model) {
  ALAYA_RETURN_IF_ERROR(CheckName("model name", model.name, kModelNameLengthMax, "._/-"));
  ALAYA_RETURN_IF_ERROR(CheckCount("num_layers", model.num_layers, kLayerCountMax));
  ALAYA_RETURN_IF_ERROR(CheckCount("num_query_heads", model.num_query_heads, kHeadCountMax));
  ALAYA_RETURN_IF_ERROR(CheckCount("num_kv_heads", model.num_kv_heads, kHeadCountMax));
  if (model.num_query_heads % model.num_kv_heads != 0) {
    return InvalidArgument(fmt::format("num_query_heads {}: must be a multiple of num_kv_heads {}",
                                       model.num_query_heads, model.num_kv_heads));
  }
  if (model.head_dim < kHeadDimMin || model.head_dim > kHeadDimMax ||
      model.head_dim % kHeadDimStep != 0) {
    return InvalidArgument(fmt::format("head_dim {}: must be {} to {} and a multiple of {}",
                                       model.head_dim, kHeadDimMin, kHeadDimMax, kHeadDimStep));
  }
  if (Name(model.dtype) == "unknown") {
    return InvalidArgument(fmt::format("model dtype {} is unknown", static_cast<int>(model.dtype)));
  }
  return OkStatus();
}

Status CheckContextId(std::string_view id) {
  return CheckName("context_id", id, kContextIdLengthMax, "._-");
}

Status CheckLabels(const Labels& labels) {
  if (labels.size() > kLabelCountMax) {
    return InvalidArgument(
        fmt::format("{} labels, at most {} are allowed", labels.size(), kLabelCountMax));
  }
  for (const auto& [key, value] : labels) {
    ALAYA_RETURN_IF_ERROR(CheckName("label key", key, kLabelKeyLengthMax, "._/-"));
    if (value.size() > kLabelValueLengthMax) {
      return InvalidArgument(fmt::format("value of label '{}' has {} bytes, at most {} are allowed",
                                         key, value.size(), kLabelValueLengthMax));
    }
  }
  return OkStatus();
}

Status CheckTimeToLive(std::optional<std::chrono::milliseconds> ttl) {
  if (!ttl || ttl->count() > 0) return OkStatus();
  return InvalidArgument(fmt::format("ttl of {} ms: must be > 0", ttl->count()));
}

Status CheckContextTokens(uint64_t token_count, uint64_t token_count_max) {
  if (token_count == 0) return InvalidArgument("tokens is empty: a context has at least 1 token");
  if (token_count <= token_count_max) return OkStatus();
  return InvalidArgument(
      fmt::format("{} tokens, max_context_tokens is {}", token_count, token_count_max));
}

Status CheckLayer(LayerIndex layer, const Model& model) {
  if (ToInt(layer) < model.num_layers) return OkStatus();
  return InvalidArgument(fmt::format("layer {}: model '{}' has {} layers", ToInt(layer), model.name,
                                     model.num_layers));
}

Status CheckTokenRange(const std::optional<TokenRange>& range) {
  if (!range || range->begin <= range->end) return OkStatus();
  return InvalidArgument(
      fmt::format("token_range [{}, {}): begin must not be after end", range->begin, range->end));
}

}  // namespace alaya
