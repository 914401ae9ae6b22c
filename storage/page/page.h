// A page: the unit in which KV is stored, checked and cached.
//
// A page holds consecutive tokens of one kind (keys, values or sampled queries) of
// one head of one layer of one segment. Every page of a model holds the same number
// of tokens but the last of a segment, chosen so that the payload fills at most
// kKvPagePayloadBytesMax. It is small because the tokens that a sparse query selects lie
// scattered: a page is the unit in which they are read from disk and kept in memory
// (how it was chosen: tests/benchmarks/RESULTS.md).
//
// Indexes are kept in pages too: a block of bytes each, of its own length, of one head
// of one layer. An index has a number of its own, drawn from the segments' numbers, so
// that its pages can be written, dropped and written anew without meeting old ones.
//
// Stored form: a header with the page's whole identity and a checksum, then the
// payload. A page that is not exactly the one that was asked for is DataLoss:
// silently wrong KV is the worst failure this system can have. Byte layout:
// storage/FORMAT.md and page.cc.

#ifndef ALAYA_STORAGE_PAGE_PAGE_H_
#define ALAYA_STORAGE_PAGE_PAGE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "storage/types/dtype.h"
#include "storage/types/ids.h"
#include "storage/types/model.h"
#include "storage/types/status.h"

namespace alaya {

inline constexpr size_t kPagePayloadBytesMax = size_t{64} * 1024;
inline constexpr size_t kKvPagePayloadBytesMax = size_t{16} * 1024;
inline constexpr size_t kPageHeaderBytes = 64;
inline constexpr uint16_t kPageFormatVersion = 1;

// kToken: token ids, pages in memory only. kIndex + k: a block of an index of kind k, 1 to
// kIndexKindMax.
enum class PageKind : uint8_t { kKey = 0, kValue = 1, kQuery = 2, kToken = 3, kIndex = 16 };

// What the numbers of index kinds mean is not storage's matter.
inline constexpr uint8_t kIndexKindMax = 15;
constexpr PageKind IndexPageKind(uint8_t index_kind) {
  return static_cast<PageKind>(static_cast<uint8_t>(PageKind::kIndex) + index_kind);
}
constexpr bool IsIndex(PageKind kind) { return kind > PageKind::kIndex; }

// Which page. `head` is a kv head, for kQuery a query head.
struct PageId {
  SegmentId segment{};  // of an index: its own number
  uint32_t layer = 0;
  // Holds rows [page_index * page_tokens, ...); of an index: the block's number.
  uint32_t page_index = 0;
  PageKind kind = PageKind::kKey;
  uint32_t head = 0;

  friend bool operator==(const PageId&, const PageId&) = default;
};

// "page 3 of values of head 1, layer 0, segment 42"
std::string ToString(const PageId& id);

// Tokens of a full page: the largest multiple of 8 (at least 8) whose rows fit
// kKvPagePayloadBytesMax. Rows of more than an eighth of that make larger pages.
size_t PageTokens(const Model& model);

// The page's RocksDB key. Keys sort by segment, class (keys and values before
// sampled queries), layer, page_index, head, kind. An import writes each layer of a
// class in this order; the class stands before the layer so that queries, which come
// at any time, live in files of their own. Pages of an index sort by layer, head,
// page_index, as it is built.
std::string EncodePageKey(const PageId& id);
// True if `next` may follow `id` on disk: of keys and values, if `id` has the last head or both
// are of one page_index. Of an index only within a head, as nobody here knows where one ends.
bool IsNextOnDisk(const PageId& id, const PageId& next);
StatusOr<PageId> DecodePageKey(std::span<const std::byte> key);
// [begin, end) of all keys of a segment.
std::string SegmentKeyBegin(SegmentId segment);
std::string SegmentKeyEnd(SegmentId segment);

// The first bytes of a page key that name its segment.
inline constexpr size_t kSegmentKeyPrefixBytes = 8;

struct PageInfo {
  PageId id;
  ModelId model{};
  uint64_t tenant_hash = 0;  // TenantHash of the tenant's name
  DType dtype = DType::kF32;
  uint32_t row_count = 0;
  uint32_t head_dim = 0;

  size_t payload_bytes() const { return size_t{row_count} * head_dim * ElementBytes(dtype); }
};

uint64_t TenantHash(std::string_view tenant);

// Writes the header of a page with this payload, for writers that keep room for it
// in front of the payload. Requires payload.size() == info.payload_bytes().
void EncodePageHeader(const PageInfo& info, std::span<const std::byte> payload,
                      std::span<std::byte, kPageHeaderBytes> header);

// Appends header and payload to *out. Requires payload.size() == info.payload_bytes().
void EncodePage(const PageInfo& info, std::span<const std::byte> payload, std::string* out);

// A page of an index. Its payload has 1 to kPagePayloadBytesMax bytes; how many is
// known from the stored page alone.
struct IndexPageInfo {
  PageId id;  // IsIndex(id.kind)
  ModelId model{};
  uint64_t tenant_hash = 0;
  SegmentId indexed_segment{};
};

// As EncodePage and DecodePage.
void EncodeIndexPage(const IndexPageInfo& info, std::span<const std::byte> payload,
                     std::string* out);
StatusOr<std::span<const std::byte>> DecodeIndexPage(const IndexPageInfo& expected,
                                                     std::span<const std::byte> stored);

// The payload within `stored`, if it is exactly the page that `expected` describes.
// Errors: DataLoss, saying which page and what differs.
StatusOr<std::span<const std::byte>> DecodePage(const PageInfo& expected,
                                                std::span<const std::byte> stored);

}  // namespace alaya

#endif  // ALAYA_STORAGE_PAGE_PAGE_H_
