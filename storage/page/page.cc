// Page key, 22 bytes, integers big-endian so that bytes sort like numbers:
//
//   0  segment     u64
//   8  class       u8   0: keys and values, 1: sampled queries, 16 + k: index of kind k
//   9  layer       u32
//   13 page_index  u32  of an index: head
//   17 head        u32  of an index: page_index
//   21 kind        u8   0: keys, 1: values, 2: queries, 16 + k: index of kind k
//
// Page value: a header of 64 bytes, integers little-endian, then the payload:
//
//   0  magic          u32  "APG1"
//   4  version        u16  1
//   6  kind           u8
//   7  dtype          u8
//   8  tenant_hash    u64
//   16 segment        u64
//   24 model          u32
//   28 layer          u32
//   32 head           u32
//   36 page_index     u32
//   40 row_count      u32  of an index: the low half of the indexed segment's number
//   44 head_dim       u32  of an index: its high half
//   48 payload_bytes  u32
//   52 reserved       u32  0
//   56 checksum       u64  XXH3-64 of the payload, seeded with XXH3-64 of bytes 0..55
//
// The seed ties the payload to its identity at no extra pass over it.

#include "storage/page/page.h"

#if defined(__x86_64__)
#include <immintrin.h>
// XXH3 in the widest vectors that the processor has: four times as fast as SSE2.
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

#include <array>
#include <bit>
#include <cassert>
#include <cstring>
#include <type_traits>
#include <utility>

namespace alaya {
namespace {

static_assert(std::endian::native == std::endian::little,
              "pages are stored as they lie in memory, little-endian");

constexpr uint32_t kMagic = 0x31475041;  // "APG1"
constexpr size_t kChecksumOffset = 56;
constexpr size_t kPageKeyBytes = 22;

constexpr size_t kPayloadBytesOffset = 48;

struct Field {
  const char* name;
  size_t offset;
  size_t bytes;
};
// In the order in which a difference is reported.
constexpr Field kFields[] = {{"magic", 0, 4},  {"format version", 4, 2}, {"segment", 16, 8},
                             {"layer", 28, 4}, {"head", 32, 4},          {"page index", 36, 4},
                             {"kind", 6, 1},   {"model", 24, 4},         {"tenant", 8, 8},
                             {"dtype", 7, 1}};
constexpr Field kRowFields[] = {{"row count", 40, 4}, {"head_dim", 44, 4}};
constexpr Field kIndexFields[] = {{"indexed segment", 40, 8}};
constexpr Field kLastFields[] = {{"payload bytes", kPayloadBytesOffset, 4},
                                 {"reserved bytes", 52, 4}};

using Header = std::array<std::byte, kPageHeaderBytes>;

template <typename T>
void Store(Header& header, size_t offset, T value) {
  std::memcpy(header.data() + offset, &value, sizeof(value));
}

// All but the checksum.
Header Identity(const PageInfo& info) {
  Header header{};
  Store(header, 0, kMagic);
  Store(header, 4, kPageFormatVersion);
  Store(header, 6, static_cast<uint8_t>(info.id.kind));
  Store(header, 7, static_cast<uint8_t>(info.dtype));
  Store(header, 8, info.tenant_hash);
  Store(header, 16, ToInt(info.id.segment));
  Store(header, 24, ToInt(info.model));
  Store(header, 28, info.id.layer);
  Store(header, 32, info.id.head);
  Store(header, 36, info.id.page_index);
  Store(header, 40, info.row_count);
  Store(header, 44, info.head_dim);
  Store(header, kPayloadBytesOffset, static_cast<uint32_t>(info.payload_bytes()));
  return header;
}

Header Identity(const IndexPageInfo& info, size_t payload_bytes) {
  // Rows of an unknown type, none of them: what describes rows is 0.
  Header header =
      Identity(PageInfo{.id = info.id, .model = info.model, .tenant_hash = info.tenant_hash});
  Store(header, 7, uint8_t{0});
  Store(header, 40, ToInt(info.indexed_segment));
  Store(header, kPayloadBytesOffset, static_cast<uint32_t>(payload_bytes));
  return header;
}

#if defined(__x86_64__)
__attribute__((target("avx"))) void ClearUpperVectorHalves() { _mm256_zeroupper(); }

// Debian's libxxhash forgets it, and SSE code that follows, such as RocksDB's checksum, then
// runs at a third of its speed.
void LeaveVectorCode() {
  static const bool has_avx = __builtin_cpu_supports("avx") != 0;
  if (has_avx) ClearUpperVectorHalves();
}
#else
void LeaveVectorCode() {}
#endif

uint64_t Checksum(std::span<const std::byte> identity, std::span<const std::byte> payload) {
  const uint64_t seed = XXH3_64bits(identity.data(), kChecksumOffset);
  const uint64_t checksum = XXH3_64bits_withSeed(payload.data(), payload.size(), seed);
  LeaveVectorCode();
  return checksum;
}

uint64_t Number(std::span<const std::byte> bytes, const Field& field) {
  uint64_t value = 0;
  std::memcpy(&value, bytes.data() + field.offset, field.bytes);
  return value;
}

template <typename T>
void AppendBigEndian(T value, std::string* out) {
  for (size_t i = sizeof(T); i-- > 0;) {
    out->push_back(static_cast<char>(static_cast<uint8_t>(value >> (8 * i))));
  }
}

template <typename T>
T ReadBigEndian(std::span<const std::byte> bytes, size_t offset) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>((value << 8) | static_cast<T>(bytes[offset + i]));
  }
  return value;
}

uint8_t KeyClass(PageKind kind) {
  if (IsIndex(kind)) return static_cast<uint8_t>(kind);
  return kind == PageKind::kQuery ? 1 : 0;
}

bool IsKnown(PageKind kind) {
  return kind <= PageKind::kQuery || (IsIndex(kind) && kind <= IndexPageKind(kIndexKindMax));
}

std::string Name(PageKind kind) {
  switch (kind) {
    case PageKind::kKey:
      return "keys";
    case PageKind::kValue:
      return "values";
    case PageKind::kQuery:
      return "queries";
    case PageKind::kToken:
      return "tokens";
    default:
      return "index kind " +
             std::to_string(static_cast<int>(kind) - static_cast<int>(PageKind::kIndex));
  }
}

Status Damaged(const PageId& id, const std::string& what) {
  return DataLoss(ToString(id) + ": " + what);
}

}  // namespace

std::string ToString(const PageId& id) {
  return "page " + std::to_string(id.page_index) + " of " + Name(id.kind) + " of head " +
         std::to_string(id.head) + ", layer " + std::to_string(id.layer) + ", segment " +
         std::to_string(ToInt(id.segment));
}

size_t PageTokens(const Model& model) {
  const size_t rows = kKvPagePayloadBytesMax / model.row_bytes() / 8 * 8;
  return rows < 8 ? 8 : rows;
}

std::string EncodePageKey(const PageId& id) {
  std::string key;
  key.reserve(kPageKeyBytes);
  AppendBigEndian(ToInt(id.segment), &key);
  AppendBigEndian(KeyClass(id.kind), &key);
  AppendBigEndian(id.layer, &key);
  AppendBigEndian(IsIndex(id.kind) ? id.head : id.page_index, &key);
  AppendBigEndian(IsIndex(id.kind) ? id.page_index : id.head, &key);
  AppendBigEndian(static_cast<uint8_t>(id.kind), &key);
  return key;
}

bool IsNextOnDisk(const PageId& id, const PageId& next) {
  if (id.segment != next.segment || id.layer != next.layer) return false;
  if (IsIndex(id.kind)) {
    return id.kind == next.kind && id.head == next.head && next.page_index == id.page_index + 1;
  }
  if (id.kind == PageKind::kKey) {
    return next.kind == PageKind::kValue && next.page_index == id.page_index &&
           next.head == id.head;
  }
  if (id.kind != PageKind::kValue || next.kind != PageKind::kKey) return false;
  return id.page_index == next.page_index ? next.head == id.head + 1
                                          : next.page_index == id.page_index + 1 && next.head == 0;
}

StatusOr<PageId> DecodePageKey(std::span<const std::byte> key) {
  if (key.size() != kPageKeyBytes) {
    return DataLoss("page key has " + std::to_string(key.size()) + " bytes, expected " +
                    std::to_string(kPageKeyBytes));
  }
  const auto kind = ReadBigEndian<uint8_t>(key, 21);
  if (!IsKnown(static_cast<PageKind>(kind))) {
    return DataLoss("page key has kind " + std::to_string(kind));
  }
  PageId id;
  id.segment = SegmentId{ReadBigEndian<uint64_t>(key, 0)};
  id.layer = ReadBigEndian<uint32_t>(key, 9);
  id.page_index = ReadBigEndian<uint32_t>(key, 13);
  id.head = ReadBigEndian<uint32_t>(key, 17);
  id.kind = static_cast<PageKind>(kind);
  if (IsIndex(id.kind)) std::swap(id.page_index, id.head);
  const auto key_class = ReadBigEndian<uint8_t>(key, 8);
  if (key_class != KeyClass(id.kind)) {
    return DataLoss("page key has class " + std::to_string(key_class) + " and kind " +
                    std::to_string(kind));
  }
  return id;
}

std::string SegmentKeyBegin(SegmentId segment) {
  std::string key;
  AppendBigEndian(ToInt(segment), &key);
  return key;
}

std::string SegmentKeyEnd(SegmentId segment) {
  return SegmentKeyBegin(SegmentId{ToInt(segment) + 1});
}

uint64_t TenantHash(std::string_view tenant) { return XXH3_64bits(tenant.data(), tenant.size()); }

void EncodePageHeader(const PageInfo& info, std::span<const std::byte> payload,
                      std::span<std::byte, kPageHeaderBytes> header) {
  assert(payload.size() == info.payload_bytes());
  Header bytes = Identity(info);
  Store(bytes, kChecksumOffset, Checksum(bytes, payload));
  std::memcpy(header.data(), bytes.data(), bytes.size());
}

void EncodePage(const PageInfo& info, std::span<const std::byte> payload, std::string* out) {
  Header header;
  EncodePageHeader(info, payload, header);
  out->reserve(out->size() + header.size() + payload.size());
  out->append(reinterpret_cast<const char*>(header.data()), header.size());
  out->append(reinterpret_cast<const char*>(payload.data()), payload.size());
}

namespace {

// The payload of a stored page, which has at least a header, if it is this one.
StatusOr<std::span<const std::byte>> CheckedPayload(const PageId& id, const Header& identity,
                                                    std::span<const std::byte> stored) {
  if (std::memcmp(identity.data(), stored.data(), kChecksumOffset) != 0) {
    const std::span<const Field> own_fields =
        IsIndex(id.kind) ? std::span<const Field>(kIndexFields) : kRowFields;
    for (const std::span<const Field> fields :
         {std::span<const Field>(kFields), own_fields, std::span<const Field>(kLastFields)}) {
      for (const Field& field : fields) {
        const uint64_t found = Number(stored, field);
        const uint64_t wanted = Number(identity, field);
        if (found == wanted) continue;
        return Damaged(id, std::string(field.name) + " is " + std::to_string(found) +
                               ", expected " + std::to_string(wanted));
      }
    }
  }
  const std::span<const std::byte> payload = stored.subspan(kPageHeaderBytes);
  if (Number(stored, {"checksum", kChecksumOffset, 8}) != Checksum(identity, payload)) {
    return Damaged(id, "checksum does not match its bytes");
  }
  return payload;
}

}  // namespace

StatusOr<std::span<const std::byte>> DecodePage(const PageInfo& expected,
                                                std::span<const std::byte> stored) {
  const size_t stored_bytes = kPageHeaderBytes + expected.payload_bytes();
  if (stored.size() != stored_bytes) {
    return Damaged(expected.id, "has " + std::to_string(stored.size()) + " bytes, expected " +
                                    std::to_string(stored_bytes));
  }
  return CheckedPayload(expected.id, Identity(expected), stored);
}

void EncodeIndexPage(const IndexPageInfo& info, std::span<const std::byte> payload,
                     std::string* out) {
  assert(IsIndex(info.id.kind));
  assert(!payload.empty() && payload.size() <= kPagePayloadBytesMax);
  Header header = Identity(info, payload.size());
  Store(header, kChecksumOffset, Checksum(header, payload));
  out->reserve(out->size() + header.size() + payload.size());
  out->append(reinterpret_cast<const char*>(header.data()), header.size());
  out->append(reinterpret_cast<const char*>(payload.data()), payload.size());
}

StatusOr<std::span<const std::byte>> DecodeIndexPage(const IndexPageInfo& expected,
                                                     std::span<const std::byte> stored) {
  if (stored.size() <= kPageHeaderBytes ||
      stored.size() > kPageHeaderBytes + kPagePayloadBytesMax) {
    return Damaged(expected.id, "has " + std::to_string(stored.size()) + " bytes, expected " +
                                    std::to_string(kPageHeaderBytes + 1) + " to " +
                                    std::to_string(kPageHeaderBytes + kPagePayloadBytesMax));
  }
  return CheckedPayload(expected.id, Identity(expected, stored.size() - kPageHeaderBytes), stored);
}

}  // namespace alaya
