// Values as people write them: byte sizes, durations, counts, addresses.

#ifndef ALAYA_SERVER_CONFIG_VALUE_TEXT_H_
#define ALAYA_SERVER_CONFIG_VALUE_TEXT_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/access/access_options.h"
#include "storage/types/status.h"

namespace alaya {

// All errors: InvalidArgument that says what is allowed, without the value.

// Digits only.
StatusOr<uint64_t> ParseCount(std::string_view text);
// Plain bytes or a whole number of KiB, MiB, GiB or TiB: "512MiB".
StatusOr<uint64_t> ParseBytes(std::string_view text);
// The shortest text that ParseBytes reads as the same number.
std::string BytesText(uint64_t bytes);
// A whole number of ms, s, m or h: "30s".
StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text);
std::string DurationText(std::chrono::milliseconds duration);
// "true" or "false".
StatusOr<bool> ParseBool(std::string_view text);

// Permissions of a file, octal: "0660".
StatusOr<uint32_t> ParseFileMode(std::string_view text);
std::string FileModeText(uint32_t mode);
// A user's number, or the name of a user of this machine.
StatusOr<uint32_t> ParseUser(const std::string& text);
// USER:TENANT:ROLE, the user as above.
StatusOr<UnixIdentity> ParseUnixIdentity(const std::string& text);
std::string UnixIdentityText(const UnixIdentity& identity);

// Where to listen.
struct ListenAddress {
  std::string unix_path;  // empty: TCP
  std::string host;       // without the brackets of IPv6
  uint16_t port = 0;

  // True for unix sockets, localhost, 127.0.0.0/8 and ::1.
  bool is_local() const;
};
// host:port, [IPv6]:port or unix:path.
StatusOr<ListenAddress> ParseListenAddress(std::string_view text);

}  // namespace alaya

#endif  // ALAYA_SERVER_CONFIG_VALUE_TEXT_H_
