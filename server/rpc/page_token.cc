// A token is 16 hexadecimal digits of a checksum, then the id itself.

#include "server/rpc/page_token.h"

#include <array>
#include <cstdio>

#include "server/rpc/status_details.h"

namespace alaya {
namespace {

constexpr size_t kChecksumDigits = 16;
constexpr size_t kIdBytesMax = 128;
constexpr int32_t kPageSizeDefault = 100;
constexpr int32_t kPageSizeMax = 1000;

// FNV-1a, 64 bits: it guards against mistakes, not against forgery, and a forged
// token yields only what its sender may list anyway.
std::string Checksum(std::string_view listing, std::string_view id) {
  uint64_t hash = 0xcbf29ce484222325U;
  const auto add = [&hash](std::string_view text) {
    for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3U;
    hash = (hash ^ 0xffU) * 0x100000001b3U;
  };
  add(listing);
  add(id);
  std::array<char, kChecksumDigits + 1> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(hash));
  return {digits.data(), kChecksumDigits};
}

}  // namespace

std::string EncodePageToken(std::string_view listing, std::string_view last_id) {
  return Checksum(listing, last_id) + std::string(last_id);
}

StatusOr<std::string> DecodePageToken(std::string_view listing, std::string_view token) {
  if (token.empty()) return std::string();
  if (token.size() > kChecksumDigits && token.size() <= kChecksumDigits + kIdBytesMax) {
    const std::string_view id = token.substr(kChecksumDigits);
    if (token.substr(0, kChecksumDigits) == Checksum(listing, id)) return std::string(id);
  }
  return RequestError("PAGE_TOKEN", {"page_token"},
                      "not the next_page_token of an answer to the same method and filters");
}

StatusOr<size_t> PageSizeFromProto(int32_t page_size) {
  if (page_size < 0 || page_size > kPageSizeMax) {
    return RequestError("PAGE_SIZE", {"page_size"},
                        std::to_string(page_size) + ", allowed is 1 to 1000, or 0 for 100");
  }
  return static_cast<size_t>(page_size == 0 ? kPageSizeDefault : page_size);
}

}  // namespace alaya
