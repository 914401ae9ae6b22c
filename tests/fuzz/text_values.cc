// Short texts that callers and operators send: page tokens, traceparent, sizes, durations,
// counts, addresses.
//
// The first byte chooses the parser, the rest is the text. What is read is written as the
// same value again.

#include <cstdint>
#include <string>

#include "server/config/value_text.h"
#include "server/rpc/page_token.h"
#include "server/rpc/traceparent.h"
#include "tests/fuzz/require.h"

namespace alaya {
namespace {

void FuzzPageToken(const std::string& text) {
  // A text as an id, and as a token.
  const std::string token = EncodePageToken("listing", text);
  const auto id = DecodePageToken("listing", token);
  if (id.ok() && !text.empty()) Require(*id == text);
  Require(text.empty() || !DecodePageToken("other listing", token).ok());
  const auto decoded = DecodePageToken("listing", text);
  if (decoded.ok() && !text.empty()) Require(EncodePageToken("listing", *decoded) == text);
}

void FuzzTraceparent(const std::string& text) {
  if (!IsTraceparent(text)) return;
  // It goes into the log as it is.
  Require(text.size() == 55 && text.find_first_not_of("0123456789abcdef-") == std::string::npos);
}

void FuzzBytes(const std::string& text) {
  const auto bytes = ParseBytes(text);
  if (!bytes.ok()) return;
  const auto again = ParseBytes(BytesText(*bytes));
  Require(again.ok() && *again == *bytes);
}

void FuzzDuration(const std::string& text) {
  const auto duration = ParseDuration(text);
  if (!duration.ok()) return;
  const auto again = ParseDuration(DurationText(*duration));
  Require(again.ok() && *again == *duration);
}

void FuzzAddress(const std::string& text) {
  const auto address = ParseListenAddress(text);
  if (address.ok()) Require(address->unix_path.empty() != address->host.empty());
}

void FuzzOne(uint8_t choice, const std::string& text) {
  constexpr uint8_t kParserCount = 6;
  switch (choice % kParserCount) {
    case 0:
      return FuzzPageToken(text);
    case 1:
      return FuzzTraceparent(text);
    case 2:
      return FuzzBytes(text);
    case 3:
      return FuzzDuration(text);
    case 4:
      return FuzzAddress(text);
    default:
      if (const auto count = ParseCount(text); count.ok()) {
        Require(ParseCount(std::to_string(*count)).ok());
      }
  }
}

}  // namespace
}  // namespace alaya

// The names are libFuzzer's.
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0) alaya::FuzzOne(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
