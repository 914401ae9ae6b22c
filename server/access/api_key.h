// API keys: who a caller is and what it may do.
//
// A key is a secret text that its owner sends with every call. The server knows only its
// SHA-256: a key has 256 random bits, so nobody finds it from the hash, and needs no salt
// or slow hash as a password would.

#ifndef ALAYA_SERVER_ACCESS_API_KEY_H_
#define ALAYA_SERVER_ACCESS_API_KEY_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "storage/types/status.h"

namespace alaya {

// Each may do all that the ones before it may.
enum class Role : uint8_t {
  kRead,   // use what is stored, and change none of it; sessions are the caller's own
  kWrite,  // store, change and delete contexts of its tenant
  kAdmin,  // what concerns the whole server
};
const char* RoleName(Role role);
// Errors: InvalidArgument, saying what is allowed.
StatusOr<Role> ParseRole(std::string_view text);

using KeyHash = std::array<uint8_t, 32>;
KeyHash HashKey(std::string_view key);

// Takes the same time wherever the two differ.
bool SameHash(const KeyHash& a, const KeyHash& b);

struct ApiKey {
  std::string name;  // says in logs which key it was; unique
  std::string tenant;
  Role role = Role::kRead;
  KeyHash hash{};
};

// Reads key lines of the form
//     name tenant role sha256:HEX
// with any blanks between the four; empty lines and what follows a # are left out.
//
// Errors: InvalidArgument that names the line and says what is allowed, never what the
//   last column holds.
StatusOr<std::vector<ApiKey>> ParseKeyLines(std::string_view text);

// 1 to 64 letters, digits, '.', '_' or '-'. Errors: InvalidArgument.
Status CheckTenantName(std::string_view name);

}  // namespace alaya

#endif  // ALAYA_SERVER_ACCESS_API_KEY_H_
