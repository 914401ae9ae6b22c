// Records of the catalog: how models, contexts and segments are stored. Byte layout:
// storage/FORMAT.md and catalog_records.cc.
//
// Every value ends with a checksum over its key and itself, so a record in a wrong
// place is as damaged as one with a flipped bit.

#ifndef ALAYA_STORAGE_CONTEXT_CATALOG_RECORDS_H_
#define ALAYA_STORAGE_CONTEXT_CATALOG_RECORDS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "storage/context/stored_context.h"
#include "storage/types/ids.h"
#include "storage/types/model.h"
#include "storage/types/status.h"

namespace alaya {

// The first byte of a record's key.
enum class RecordKind : char {
  kContext = 'c',
  kIdLimit = 'i',
  kModel = 'm',
  kSegment = 's',
  kTokens = 't',
  kIndex = 'x',
};

struct Record {
  std::string key;
  std::string value;
};

struct ContextRecord {
  struct Link {
    SegmentId segment{};
    uint64_t token_count = 0;
    friend bool operator==(const Link&, const Link&) = default;
  };
  std::string tenant;
  std::string id;
  ModelId model{};
  std::vector<Link> chain;
  Labels labels;
  WallTime create_time;
  std::optional<WallTime> expire_time;
  bool pinned = false;
};

// A segment without its tokens, which have records of their own.
struct SegmentRecord {
  SegmentId id{};
  ModelId model{};
  std::string tenant;
  uint64_t token_begin = 0;
  uint64_t token_count = 0;
  std::vector<uint32_t> query_counts;
  uint64_t stored_bytes = 0;
  std::vector<uint8_t> wanted_indexes;
};

// The index of one kind of a segment.
struct IndexRecord {
  SegmentId segment{};
  uint8_t kind = 0;
  SegmentId id{};
  uint32_t version = 0;
  std::vector<uint32_t> block_counts;
  uint64_t stored_bytes = 0;
};

// Tokens [chunk_index * kTokensPerRecord, ...) of a segment.
inline constexpr size_t kTokensPerRecord = size_t{1} << 16;
struct TokensRecord {
  SegmentId segment{};
  uint32_t chunk_index = 0;
  std::vector<TokenId> tokens;
};

// Segment ids below the limit may have been used.
struct IdLimitRecord {
  uint64_t segment_id_limit = 1;
};

std::string ContextKey(std::string_view tenant, std::string_view id);
std::string SegmentKey(SegmentId id);
std::string TokensKey(SegmentId segment, uint32_t chunk_index);
std::string IndexKey(SegmentId segment, uint8_t kind);

Record EncodeRecord(const RegisteredModel& model);
Record EncodeRecord(const ContextRecord& context);
Record EncodeRecord(const SegmentRecord& segment);
Record EncodeRecord(const IndexRecord& index);
Record EncodeRecord(SegmentId segment, uint32_t chunk_index, std::span<const TokenId> tokens);
Record EncodeRecord(const IdLimitRecord& limit);

// Errors of all decoders: DataLoss, saying which record.
StatusOr<RecordKind> DecodeRecordKind(std::string_view key);
StatusOr<RegisteredModel> DecodeModelRecord(std::string_view key, std::string_view value);
StatusOr<ContextRecord> DecodeContextRecord(std::string_view key, std::string_view value);
StatusOr<SegmentRecord> DecodeSegmentRecord(std::string_view key, std::string_view value);
StatusOr<IndexRecord> DecodeIndexRecord(std::string_view key, std::string_view value);
StatusOr<TokensRecord> DecodeTokensRecord(std::string_view key, std::string_view value);
StatusOr<IdLimitRecord> DecodeIdLimitRecord(std::string_view key, std::string_view value);

// Appends the checksum of a record's body; for the encoders and for tests that forge
// records.
std::string SealRecord(std::string_view key, std::string body);

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_CATALOG_RECORDS_H_
