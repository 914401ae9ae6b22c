// Files of API keys: whatever is in one, it is read whole or not at all, what is read says
// the same again, and no error repeats what may be a key.

#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "server/access/api_key.h"
#include "server/access/key_ring.h"
#include "tests/fuzz/require.h"

namespace alaya {
namespace {

std::string LineOf(const ApiKey& key) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string line = key.name + " " + key.tenant + " " + RoleName(key.role) + " sha256:";
  for (const uint8_t byte : key.hash) {
    line += kDigits[byte >> 4U];
    line += kDigits[byte & 15U];
  }
  return line + "\n";
}

void RequireSame(const std::vector<ApiKey>& a, const std::vector<ApiKey>& b) {
  Require(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    Require(a[i].name == b[i].name && a[i].tenant == b[i].tenant && a[i].role == b[i].role &&
            SameHash(a[i].hash, b[i].hash));
  }
}

// Somebody may have pasted a key into any column.
void RequireSilentAbout(const std::string& text, const Status& status) {
  constexpr size_t kKeyBytesMin = 32;  // of letters that no message of ours has in a row
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (word.size() >= kKeyBytesMin) Require(Message(status).find(word) == std::string_view::npos);
  }
}

void FuzzOne(const std::string& text) {
  const StatusOr<std::vector<ApiKey>> keys = ParseKeyLines(text);
  if (!keys.ok()) return RequireSilentAbout(text, keys.status());
  std::string lines;
  for (const ApiKey& key : *keys) {
    Require(CheckTenantName(key.tenant).ok());
    lines += LineOf(key);
  }
  const auto again = ParseKeyLines(lines);
  Require(again.ok());
  RequireSame(*keys, *again);
  KeyRing ring;
  const bool taken = ring.Replace(*keys).ok();
  Require(ring.size() == (taken ? keys->size() : 0));
  Require(!ring.Find(text).ok());
}

}  // namespace
}  // namespace alaya

// The names are libFuzzer's.
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  alaya::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
