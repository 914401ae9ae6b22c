// A page: the unit in which KV is stored, checked and cached.
//
// A page holds consecutive tokens of one kind (keys, values or sampled queries) of
// one head of one layer of one segment. Every page of a model holds the same number
// of tokens but the last of a segment, chosen so that the payload fills at most
// kPagePayloadBytesMax: cache frames are all of one size and never fragment.
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

#include "storage/types/dtype.h"
#include "storage/types/ids.h"
#include "storage/types/model.h"
#include "storage/types/status.h"

namespace alaya {

inline constexpr size_t kPagePayloadBytesMax = 64 * 1024;

enum class PageKind : uint8_t { kKey = 0, kValue = 1, kQuery = 2 };

// Which page. `head` is a kv head, for kQuery a query head.
struct PageId {
  SegmentId segment{};
  uint32_t layer = 0;
  uint32_t page_index = 0;  // holds rows [page_index * page_tokens, ...)
  PageKind kind = PageKind::kKey;
  uint32_t head = 0;

  friend bool operator==(const PageId&, const PageId&) = default;
};

// Tokens of a full page: the largest multiple of 8 (at least 8) whose rows fit
// kPagePayloadBytesMax.
size_t PageTokens(const Model& model);

// The page's RocksDB key. Keys sort by segment, layer, page_index, head, kind: an
// import writes each layer of a segment in this order.
std::string EncodePageKey(const PageId& id);
StatusOr<PageId> DecodePageKey(std::span<const std::byte> key);
// [begin, end) of all keys of a segment.
std::string SegmentKeyBegin(SegmentId segment);
std::string SegmentKeyEnd(SegmentId segment);

struct PageInfo {
  PageId id;
  ModelId model{};
  uint64_t tenant_hash = 0;  // XXH3 of the tenant's name
  DType dtype = DType::kF32;
  uint32_t row_count = 0;
  uint32_t head_dim = 0;
};

// Appends header and payload to *out. Requires payload of row_count * head_dim elements.
void EncodePage(const PageInfo& info, std::span<const std::byte> payload, std::string* out);

// The payload within `stored`, if it is exactly the page that `expected` describes.
// Errors: DataLoss, saying which page and what differs.
StatusOr<std::span<const std::byte>> DecodePage(const PageInfo& expected,
                                                std::span<const std::byte> stored);

}  // namespace alaya

#endif  // ALAYA_STORAGE_PAGE_PAGE_H_
