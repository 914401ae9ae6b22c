// Words of alayactl's command line: durations, labels, ranges, types.
//
// The first byte chooses the parser, the rest is the word.

#include <cstdint>
#include <string>

#include "client/cli/arguments.h"
#include "tests/fuzz/require.h"

namespace alaya::client {
namespace {

void FuzzOne(uint8_t choice, const std::string& text) {
  constexpr uint8_t kParserCount = 4;
  switch (choice % kParserCount) {
    case 0:
      if (const auto duration = ParseDuration(text); duration.ok()) {
        Require(duration->count() >= 0);
        const auto proto = ToProto(*duration);
        Require(proto.seconds() >= 0 && proto.nanos() >= 0 && proto.nanos() < 1'000'000'000);
      }
      break;
    case 1: {
      const size_t half = text.size() / 2;
      const auto labels = ParseLabels({text.substr(0, half), text.substr(half)});
      if (labels.ok()) Require(labels->size() <= 2);
      break;
    }
    case 2: {
      const auto range = ParseTokenRange(text);
      if (range.ok() && range->end() != 0) Require(range->begin() <= range->end());
      break;
    }
    default:
      (void)ParseDType(text);
  }
}

}  // namespace
}  // namespace alaya::client

// The names are libFuzzer's.
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0) {
    alaya::client::FuzzOne(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  }
  return 0;
}
