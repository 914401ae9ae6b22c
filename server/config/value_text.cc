#include "server/config/value_text.h"

#include <arpa/inet.h>
#include <pwd.h>

#include <array>
#include <charconv>
#include <limits>
#include <utility>
#include <vector>

namespace alaya {
namespace {

struct Unit {
  std::string_view name;
  uint64_t factor;
};
constexpr std::array<Unit, 4> kByteUnits = {{{"TiB", uint64_t{1} << 40},
                                             {"GiB", uint64_t{1} << 30},
                                             {"MiB", uint64_t{1} << 20},
                                             {"KiB", uint64_t{1} << 10}}};
constexpr std::array<Unit, 4> kDurationUnits = {
    {{"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}};
constexpr uint64_t kDurationMsMax = uint64_t{365} * 24 * 3'600'000;

// Digits and then nothing.
std::optional<uint64_t> Digits(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Digits and the unit.
template <size_t kCount>
std::optional<uint64_t> Scaled(std::string_view text, const std::array<Unit, kCount>& units) {
  const size_t digit_count = text.find_first_not_of("0123456789");
  if (digit_count == std::string_view::npos) return std::nullopt;
  const auto number = Digits(text.substr(0, digit_count));
  for (const Unit& unit : units) {
    uint64_t value = 0;
    if (number && text.substr(digit_count) == unit.name &&
        !__builtin_mul_overflow(*number, unit.factor, &value)) {
      return value;
    }
  }
  return std::nullopt;
}

}  // namespace

StatusOr<uint64_t> ParseCount(std::string_view text) {
  if (const auto value = Digits(text)) return *value;
  return InvalidArgument("a whole number of digits is needed");
}

StatusOr<uint64_t> ParseBytes(std::string_view text) {
  if (const auto value = Digits(text)) return *value;
  if (const auto value = Scaled(text, kByteUnits)) return *value;
  return InvalidArgument(
      "plain bytes or a whole number with KiB, MiB, GiB or TiB is needed (8GiB)");
}

std::string BytesText(uint64_t bytes) {
  for (const Unit& unit : kByteUnits) {
    if (bytes > 0 && bytes % unit.factor == 0) {
      return std::to_string(bytes / unit.factor) + std::string(unit.name);
    }
  }
  return std::to_string(bytes);
}

StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  const auto value = Scaled(text, kDurationUnits);
  if (value && *value <= kDurationMsMax) return std::chrono::milliseconds(*value);
  return InvalidArgument("a whole number with ms, s, m or h is needed (30s), at most a year");
}

std::string DurationText(std::chrono::milliseconds duration) {
  const auto count = static_cast<uint64_t>(duration.count());
  for (const Unit& unit : kDurationUnits) {
    if (count > 0 && count % unit.factor == 0) {
      return std::to_string(count / unit.factor) + std::string(unit.name);
    }
  }
  return std::to_string(count) + "ms";
}

StatusOr<bool> ParseBool(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return InvalidArgument("true or false is needed");
}

StatusOr<uint32_t> ParseFileMode(std::string_view text) {
  constexpr uint32_t kModeMax = 0777;
  uint32_t mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  if (text.size() >= 3 && error == std::errc() && end == text.data() + text.size() &&
      mode <= kModeMax) {
    return mode;
  }
  return InvalidArgument("three or four octal digits are needed, at most 0777 (0660)");
}

std::string FileModeText(uint32_t mode) {
  std::string text = "0000";
  for (size_t i = 3; i > 0; --i, mode /= 8) text[i] = static_cast<char>('0' + mode % 8);
  return text;
}

StatusOr<uint32_t> ParseUser(const std::string& text) {
  const auto number = Digits(text);
  if (number && *number < std::numeric_limits<uint32_t>::max()) {
    return static_cast<uint32_t>(*number);
  }
  constexpr size_t kBufferBytes = size_t{16} << 10;
  std::vector<char> buffer(kBufferBytes);
  passwd entry{};
  passwd* found = nullptr;
  getpwnam_r(text.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found != nullptr) return found->pw_uid;
  return InvalidArgument("a user's number or the name of a user of this machine is needed");
}

StatusOr<UnixIdentity> ParseUnixIdentity(const std::string& text) {
  const size_t first = text.find(':');
  const size_t second = text.find(':', first == std::string::npos ? first : first + 1);
  if (second == std::string::npos) return InvalidArgument("USER:TENANT:ROLE is needed");
  UnixIdentity identity;
  ALAYA_ASSIGN_OR_RETURN(identity.user, ParseUser(text.substr(0, first)));
  identity.tenant = text.substr(first + 1, second - first - 1);
  ALAYA_RETURN_IF_ERROR(CheckTenantName(identity.tenant));
  ALAYA_ASSIGN_OR_RETURN(identity.role, ParseRole(text.substr(second + 1)));
  return identity;
}

std::string UnixIdentityText(const UnixIdentity& identity) {
  return std::to_string(identity.user) + ":" + identity.tenant + ":" + RoleName(identity.role);
}

bool ListenAddress::is_local() const {
  if (!unix_path.empty() || host == "localhost") return true;
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) {
    constexpr uint32_t kLoopbackNetwork = 127;
    return (ntohl(v4.s_addr) >> 24) == kLoopbackNetwork;
  }
  in6_addr v6{};
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

StatusOr<ListenAddress> ParseListenAddress(std::string_view text) {
  constexpr std::string_view kUnixPrefix = "unix:";
  // What a socket's path can hold, its end included.
  constexpr size_t kUnixPathBytesMax = 107;
  const Status error =
      InvalidArgument("host:port, [IPv6]:port or unix:path (at most 107 bytes) is needed");
  ListenAddress address;
  if (text.starts_with(kUnixPrefix)) {
    address.unix_path = text.substr(kUnixPrefix.size());
    if (address.unix_path.empty() || address.unix_path.size() > kUnixPathBytesMax) return error;
    return address;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return error;
  std::string_view host = text.substr(0, colon);
  if (host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    in6_addr v6{};
    if (inet_pton(AF_INET6, std::string(host).c_str(), &v6) != 1) return error;
  } else if (host.find_first_of(":[] /") != std::string_view::npos) {
    return error;
  }
  const auto port = Digits(text.substr(colon + 1));
  if (!port || *port > UINT16_MAX) return error;
  address.host = host;
  address.port = static_cast<uint16_t>(*port);
  return address;
}

}  // namespace alaya
