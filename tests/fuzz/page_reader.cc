// Bytes from a damaged disk: pages, page keys and catalog records.
//
// The first byte chooses the decoder. Half of the choices put a good checksum under
// the input, so that the fuzzer gets past it to the layout behind.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "storage/context/catalog_records.h"
#include "storage/page/page.h"
#include "tests/fuzz/require.h"

namespace alaya {
namespace {

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

PageInfo SomePage(uint8_t row_count) {
  return {.id = {.segment = SegmentId{1}},
          .model = ModelId{1},
          .tenant_hash = TenantHash("default"),
          .dtype = DType::kBF16,
          .row_count = row_count,
          .head_dim = 8};
}

void FuzzPage(std::string_view input) {
  const PageInfo expected = SomePage(input.empty() ? 0 : static_cast<uint8_t>(input.front()));
  const auto payload = DecodePage(expected, Bytes(input));
  if (!payload.ok()) return;
  // What passes is what would have been written.
  std::string stored;
  EncodePage(expected, *payload, &stored);
  Require(stored == input);
}

void FuzzIndexPage(std::string_view input) {
  const IndexPageInfo expected{.id = {.segment = SegmentId{1}, .kind = IndexPageKind(2)},
                               .model = ModelId{1},
                               .tenant_hash = TenantHash("default"),
                               .indexed_segment = SegmentId{2}};
  const auto payload = DecodeIndexPage(expected, Bytes(input));
  if (!payload.ok()) return;
  std::string stored;
  EncodeIndexPage(expected, *payload, &stored);
  Require(stored == input);
}

void FuzzPageKey(std::string_view input) {
  const auto id = DecodePageKey(Bytes(input));
  if (id.ok()) Require(EncodePageKey(*id) == input);
}

void FuzzRecord(std::string_view input, bool seal) {
  if (input.empty()) return;
  const size_t key_bytes = static_cast<uint8_t>(input.front()) % input.size();
  const std::string_view key = input.substr(1, key_bytes);
  std::string value(input.substr(1 + key.size()));
  if (seal) value = SealRecord(key, "\x01" + value);
  const auto kind = DecodeRecordKind(key);
  if (!kind.ok()) return;
  switch (*kind) {
    case RecordKind::kContext:
      (void)DecodeContextRecord(key, value);
      break;
    case RecordKind::kIdLimit:
      (void)DecodeIdLimitRecord(key, value);
      break;
    case RecordKind::kModel:
      (void)DecodeModelRecord(key, value);
      break;
    case RecordKind::kSegment:
      (void)DecodeSegmentRecord(key, value);
      break;
    case RecordKind::kIndex: {
      const auto index = DecodeIndexRecord(key, value);
      if (!index.ok()) break;
      const Record again = EncodeRecord(*index);
      Require(again.key == key && again.value == value);
      break;
    }
    case RecordKind::kTokens: {
      const auto tokens = DecodeTokensRecord(key, value);
      if (!tokens.ok()) break;
      const Record again = EncodeRecord(tokens->segment, tokens->chunk_index, tokens->tokens);
      Require(again.key == key && again.value == value);
      break;
    }
  }
}

void FuzzOne(std::string_view input) {
  if (input.empty()) return;
  const auto choice = static_cast<uint8_t>(input.front());
  input.remove_prefix(1);
  switch (choice % 4) {
    case 0:
      return choice % 8 == 0 ? FuzzPage(input) : FuzzIndexPage(input);
    case 1:
      return FuzzPageKey(input);
    default:
      return FuzzRecord(input, choice % 4 == 2);
  }
}

}  // namespace
}  // namespace alaya

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  alaya::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
