#include "server/access/api_key.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>
#include <sstream>
#include <utility>

namespace alaya {
namespace {

constexpr std::string_view kHashPrefix = "sha256:";
constexpr size_t kNameBytesMax = 64;
constexpr std::array<std::pair<Role, const char*>, 3> kRoles = {
    {{Role::kRead, "read"}, {Role::kWrite, "write"}, {Role::kAdmin, "admin"}}};

bool IsName(std::string_view text) {
  return !text.empty() && text.size() <= kNameBytesMax &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' ||
                  c == '-';
         });
}

std::optional<KeyHash> ParseHash(std::string_view text) {
  if (!text.starts_with(kHashPrefix)) return std::nullopt;
  text.remove_prefix(kHashPrefix.size());
  KeyHash hash{};
  if (text.size() != 2 * hash.size()) return std::nullopt;
  for (size_t i = 0; i < hash.size(); ++i) {
    const char* digits = text.data() + 2 * i;
    const auto [end, error] = std::from_chars(digits, digits + 2, hash[i], 16);
    if (error != std::errc() || end != digits + 2) return std::nullopt;
  }
  return hash;
}

StatusOr<ApiKey> ParseKey(const std::vector<std::string>& columns) {
  if (columns.size() != 4) {
    return InvalidArgument(std::to_string(columns.size()) +
                           " columns; name, tenant, role and sha256:HEX are needed");
  }
  ApiKey key;
  key.name = columns[0];
  if (!IsName(key.name)) {
    return InvalidArgument("the first column is no name: 1 to 64 letters, digits, '.', '_', '-'");
  }
  key.tenant = columns[1];
  ALAYA_RETURN_IF_ERROR(CheckTenantName(key.tenant));
  ALAYA_ASSIGN_OR_RETURN(key.role, ParseRole(columns[2]));
  const auto hash = ParseHash(columns[3]);
  // Perhaps somebody pasted the key itself: it must not reach a log.
  if (!hash) return InvalidArgument("the last column is not sha256: and 64 hexadecimal digits");
  key.hash = *hash;
  return key;
}

}  // namespace

const char* RoleName(Role role) {
  for (const auto& [value, name] : kRoles) {
    if (value == role) return name;
  }
  return "?";
}

StatusOr<Role> ParseRole(std::string_view text) {
  for (const auto& [role, name] : kRoles) {
    if (text == name) return role;
  }
  return InvalidArgument("the role is not read, write or admin");
}

KeyHash HashKey(std::string_view key) {
  KeyHash hash;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), hash.data());
  return hash;
}

bool SameHash(const KeyHash& a, const KeyHash& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Status CheckTenantName(std::string_view name) {
  if (IsName(name)) return OkStatus();
  return InvalidArgument("the tenant's name is not 1 to 64 letters, digits, '.', '_' or '-'");
}

StatusOr<std::vector<ApiKey>> ParseKeyLines(std::string_view text) {
  std::vector<ApiKey> keys;
  std::istringstream lines{std::string(text)};
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream words(line.substr(0, line.find('#')));
    std::vector<std::string> columns;
    for (std::string word; words >> word;) columns.push_back(word);
    if (columns.empty()) continue;
    StatusOr<ApiKey> key = ParseKey(columns);
    if (!key.ok()) {
      return InvalidArgument("line " + std::to_string(number) + ": " +
                             std::string(Message(key.status())));
    }
    keys.push_back(*std::move(key));
  }
  return keys;
}

}  // namespace alaya
