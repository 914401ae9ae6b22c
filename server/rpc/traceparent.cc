#include "server/rpc/traceparent.h"

#include <algorithm>
#include <cstddef>

namespace alaya {
namespace {

bool IsHexadecimal(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsZero(std::string_view text) { return text.find_first_not_of('0') == std::string_view::npos; }

}  // namespace

bool IsTraceparent(std::string_view text) {
  constexpr size_t kSize = 55;
  if (text.size() < kSize) return false;
  const std::string_view version = text.substr(0, 2);
  const std::string_view trace_id = text.substr(3, 32);
  const std::string_view parent_id = text.substr(36, 16);
  const std::string_view flags = text.substr(53, 2);
  // Version 00 ends here. Later ones may go on, but nobody knows how far, and this one goes
  // into the log as it is.
  if (text.size() > kSize || version == "ff") return false;
  return text[2] == '-' && text[35] == '-' && text[52] == '-' && IsHexadecimal(version) &&
         IsHexadecimal(trace_id) && IsHexadecimal(parent_id) && IsHexadecimal(flags) &&
         !IsZero(trace_id) && !IsZero(parent_id);
}

std::string TraceparentOf(const grpc::CallbackServerContext& call) {
  const auto found = call.client_metadata().find("traceparent");
  if (found == call.client_metadata().end()) return "";
  const std::string_view text(found->second.data(), found->second.size());
  return IsTraceparent(text) ? std::string(text) : "";
}

}  // namespace alaya
