#include "server/rpc/convert_fields.h"

#include <algorithm>
#include <cstddef>
#include <string_view>

#include "server/rpc/status_details.h"

namespace alaya {
namespace {

constexpr size_t kNameBytesMax = 128;
constexpr size_t kLabelCountMax = 64;
constexpr size_t kLabelKeyBytesMax = 63;
constexpr size_t kLabelValueBytesMax = 255;
constexpr int64_t kDurationSecondsMax = 315'576'000'000;  // 10000 years, protobuf's own limit
constexpr int32_t kNanosecondsPerSecond = 1'000'000'000;
constexpr int64_t kNanosecondsPerMillisecond = 1'000'000;

bool IsNameCharacter(char c, std::string_view punctuation) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         punctuation.find(c) != std::string_view::npos;
}

bool IsName(std::string_view name, size_t bytes_max, std::string_view punctuation) {
  return !name.empty() && name.size() <= bytes_max &&
         std::all_of(name.begin(), name.end(),
                     [punctuation](char c) { return IsNameCharacter(c, punctuation); });
}

// A caller's text inside a message: short, so that an error cannot be used to fill logs.
std::string Quote(std::string_view text) {
  constexpr size_t kShownMax = 64;
  if (text.size() <= kShownMax) return "'" + std::string(text) + "'";
  return "of " + std::to_string(text.size()) + " bytes";
}

}  // namespace

StatusOr<std::string> IdFromProto(const std::string& id, const FieldPath& field) {
  if (!IsName(id, kNameBytesMax, "._-")) {
    return RequestError("ID_FORMAT", field,
                        Quote(id) + ", it must be 1 to 128 characters of [A-Za-z0-9._-]");
  }
  return id;
}

StatusOr<std::string> ModelNameFromProto(const std::string& name, const FieldPath& field) {
  if (!IsName(name, kNameBytesMax, "._/-")) {
    return RequestError("MODEL_NAME_FORMAT", field,
                        Quote(name) + ", it must be 1 to 128 characters of [A-Za-z0-9._/-]");
  }
  return name;
}

StatusOr<std::vector<TokenId>> TokensFromProto(
    const google::protobuf::RepeatedField<uint32_t>& tokens, uint64_t count_min, uint64_t count_max,
    const FieldPath& field) {
  const auto count = static_cast<uint64_t>(tokens.size());
  if (count < count_min) {
    return RequestError(
        "TOKEN_COUNT", field,
        std::to_string(count) + " tokens, the least is " + std::to_string(count_min));
  }
  if (count > count_max) {
    return RequestLimitError(field, std::to_string(count) + " tokens, max_context_tokens is " +
                                        std::to_string(count_max));
  }
  return std::vector<TokenId>(tokens.begin(), tokens.end());
}

StatusOr<Labels> LabelsFromProto(const google::protobuf::Map<std::string, std::string>& labels,
                                 const FieldPath& field) {
  if (labels.size() > kLabelCountMax) {
    return RequestError("LABELS", field, std::to_string(labels.size()) + " labels, the most is 64");
  }
  Labels result;
  for (const auto& [key, value] : labels) {
    if (!IsName(key, kLabelKeyBytesMax, "._/-")) {
      return RequestError(
          "LABELS", field,
          "key " + Quote(key) + ", it must be 1 to 63 characters of [A-Za-z0-9._/-]");
    }
    if (value.size() > kLabelValueBytesMax) {
      return RequestError("LABELS", field,
                          "value of key " + Quote(key) + " has " + std::to_string(value.size()) +
                              " bytes, the most is 255");
    }
    result.emplace(key, value);
  }
  return result;
}

void ToProto(const Labels& labels, google::protobuf::Map<std::string, std::string>* proto) {
  for (const auto& [key, value] : labels) (*proto)[key] = value;
}

StatusOr<std::chrono::milliseconds> DurationFromProto(const google::protobuf::Duration& duration,
                                                      const FieldPath& field) {
  if (duration.seconds() < 0 || duration.nanos() < 0 || duration.nanos() >= kNanosecondsPerSecond ||
      duration.seconds() > kDurationSecondsMax) {
    return RequestError("DURATION_DOMAIN", field,
                        std::to_string(duration.seconds()) + " s and " +
                            std::to_string(duration.nanos()) +
                            " ns, allowed is 0 to 315576000000 s with 0 to 999999999 ns");
  }
  const int64_t whole_ms = duration.seconds() * 1000;
  const int64_t rest_ms =
      (duration.nanos() + kNanosecondsPerMillisecond - 1) / kNanosecondsPerMillisecond;
  return std::chrono::milliseconds(whole_ms + rest_ms);
}

StatusOr<std::chrono::milliseconds> TtlFromProto(const google::protobuf::Duration& duration,
                                                 const FieldPath& field) {
  ALAYA_ASSIGN_OR_RETURN(const auto ttl, DurationFromProto(duration, field));
  if (ttl.count() == 0) return RequestError("DURATION_DOMAIN", field, "0, it must be above 0");
  return ttl;
}

void ToProto(WallTime time, google::protobuf::Timestamp* proto) {
  const auto since_epoch = time.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_epoch);
  proto->set_seconds(seconds.count());
  proto->set_nanos(
      static_cast<int32_t>((since_epoch - seconds).count() * kNanosecondsPerMillisecond));
}

}  // namespace alaya
