// Integers are little-endian. A string is u32 length and bytes; a list is u32 count
// and its elements. A time is i64 milliseconds since 1970 UTC.
//
// Key: kind (one character), then
//   context 'c'   string tenant, id (the rest of the key)
//   limit   'i'   nothing
//   model   'm'   u32 model
//   segment 's'   u64 segment
//   tokens  't'   u64 segment, u32 chunk_index
//   index   'x'   u64 segment, u8 kind
//
// Value: u8 version (1), body, u64 checksum. Bodies:
//   context  u32 model, list chain {u64 segment, u64 token_count}, list labels
//            {string key, string value}, time create, u8 has_expire, time expire,
//            u8 pinned
//   limit    u64 segment_id_limit
//   model    string name, u32 num_layers, u32 num_query_heads, u32 num_kv_heads,
//            u32 head_dim, u8 dtype
//   segment  u32 model, string tenant, u64 token_begin, u64 token_count, list
//            query_counts u32, u64 stored_bytes, list wanted_indexes u8
//   tokens   list u32
//   index    u64 id, u32 version, list block_counts u32, u64 stored_bytes
//
// The checksum is XXH3-64 of version and body, seeded with XXH3-64 of the key.

#include "storage/context/catalog_records.h"

#include <xxhash.h>

#include <bit>
#include <concepts>
#include <cstring>
#include <utility>

namespace alaya {
namespace {

static_assert(std::endian::native == std::endian::little, "records are little-endian");

constexpr uint8_t kVersion = 1;

class Writer {
 public:
  template <std::integral T>
  Writer& Add(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  Writer& AddString(std::string_view text) {
    Add(static_cast<uint32_t>(text.size()));
    bytes_.append(text);
    return *this;
  }
  template <std::integral T>
  Writer& AddList(std::span<const T> values) {
    Add(static_cast<uint32_t>(values.size()));
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
    return *this;
  }
  Writer& AddTime(WallTime time) { return Add(int64_t{time.time_since_epoch().count()}); }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// After a read beyond the end every read gives zeros, and complete() is false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  template <std::integral T>
  T Read() {
    T value = 0;
    const std::string_view raw = Take(sizeof(T));
    if (!raw.empty()) std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }
  std::string ReadString() { return std::string(Take(Read<uint32_t>())); }
  // A count of elements that take at least this many bytes each.
  uint32_t ReadCount(size_t element_bytes) {
    const auto count = Read<uint32_t>();
    if (count <= bytes_.size() / element_bytes) return count;
    failed_ = true;
    return 0;
  }
  template <std::integral T>
  std::vector<T> ReadList() {
    std::vector<T> values(ReadCount(sizeof(T)));
    const std::string_view raw = Take(values.size() * sizeof(T));
    if (!raw.empty()) std::memcpy(values.data(), raw.data(), raw.size());
    return values;
  }
  WallTime ReadTime() { return WallTime(std::chrono::milliseconds(Read<int64_t>())); }
  // 0 or 1; anything else is damage.
  bool ReadBool() {
    const auto value = Read<uint8_t>();
    failed_ |= value > 1;
    return value == 1;
  }
  std::string_view TakeRest() { return Take(bytes_.size()); }
  bool complete() const { return !failed_ && bytes_.empty(); }

 private:
  std::string_view Take(size_t count) {
    if (failed_ || count > bytes_.size()) {
      failed_ = true;
      return {};
    }
    const std::string_view taken = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return taken;
  }

  std::string_view bytes_;
  bool failed_ = false;
};

Writer StartKey(RecordKind kind) { return Writer().Add(static_cast<char>(kind)); }
Writer StartBody() { return Writer().Add(kVersion); }

Record Sealed(std::string key, Writer* body) {
  std::string value = SealRecord(key, body->Take());
  return {std::move(key), std::move(value)};
}

uint64_t Checksum(std::string_view key, std::string_view body) {
  return XXH3_64bits_withSeed(body.data(), body.size(), XXH3_64bits(key.data(), key.size()));
}

Status Damaged(std::string_view key, std::string_view what) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const char c : key.substr(0, 64)) {
    hex += kDigits[static_cast<uint8_t>(c) >> 4];
    hex += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return DataLoss("catalog record " + hex + ": " + std::string(what));
}

StatusOr<Reader> OpenKey(std::string_view key, RecordKind kind) {
  Reader reader(key);
  if (reader.Read<char>() != static_cast<char>(kind)) return Damaged(key, "is of another kind");
  return reader;
}

StatusOr<Reader> OpenBody(std::string_view key, std::string_view value) {
  if (value.size() < 1 + sizeof(uint64_t)) return Damaged(key, "is too short");
  const std::string_view body = value.substr(0, value.size() - sizeof(uint64_t));
  uint64_t checksum = 0;
  std::memcpy(&checksum, value.data() + body.size(), sizeof(checksum));
  if (checksum != Checksum(key, body)) return Damaged(key, "checksum does not match its bytes");
  Reader reader(body);
  const auto version = reader.Read<uint8_t>();
  if (version != kVersion) return Damaged(key, "has version " + std::to_string(version));
  return reader;
}

Status CheckComplete(std::string_view key, const Reader& key_reader, const Reader& body) {
  if (key_reader.complete() && body.complete()) return OkStatus();
  return Damaged(key, "does not have the layout of its kind");
}

}  // namespace

std::string SealRecord(std::string_view key, std::string body) {
  const uint64_t checksum = Checksum(key, body);
  body.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
  return body;
}

std::string ContextKey(std::string_view tenant, std::string_view id) {
  return StartKey(RecordKind::kContext).AddString(tenant).Take() + std::string(id);
}

std::string SegmentKey(SegmentId id) {
  return StartKey(RecordKind::kSegment).Add(ToInt(id)).Take();
}

std::string TokensKey(SegmentId segment, uint32_t chunk_index) {
  return StartKey(RecordKind::kTokens).Add(ToInt(segment)).Add(chunk_index).Take();
}

std::string IndexKey(SegmentId segment, uint8_t kind) {
  return StartKey(RecordKind::kIndex).Add(ToInt(segment)).Add(kind).Take();
}

Record EncodeRecord(const RegisteredModel& model) {
  Writer body = StartBody();
  body.AddString(model.model.name)
      .Add(model.model.num_layers)
      .Add(model.model.num_query_heads)
      .Add(model.model.num_kv_heads)
      .Add(model.model.head_dim)
      .Add(static_cast<uint8_t>(model.model.dtype));
  return Sealed(StartKey(RecordKind::kModel).Add(ToInt(model.id)).Take(), &body);
}

Record EncodeRecord(const ContextRecord& context) {
  Writer body = StartBody();
  body.Add(ToInt(context.model)).Add(static_cast<uint32_t>(context.chain.size()));
  for (const ContextRecord::Link& link : context.chain) {
    body.Add(ToInt(link.segment)).Add(link.token_count);
  }
  body.Add(static_cast<uint32_t>(context.labels.size()));
  for (const auto& [key, value] : context.labels) body.AddString(key).AddString(value);
  body.AddTime(context.create_time)
      .Add(static_cast<uint8_t>(context.expire_time.has_value()))
      .AddTime(context.expire_time.value_or(WallTime()))
      .Add(static_cast<uint8_t>(context.pinned));
  return Sealed(ContextKey(context.tenant, context.id), &body);
}

Record EncodeRecord(const SegmentRecord& segment) {
  Writer body = StartBody();
  body.Add(ToInt(segment.model))
      .AddString(segment.tenant)
      .Add(segment.token_begin)
      .Add(segment.token_count)
      .AddList(std::span<const uint32_t>(segment.query_counts))
      .Add(segment.stored_bytes)
      .AddList(std::span<const uint8_t>(segment.wanted_indexes));
  return Sealed(SegmentKey(segment.id), &body);
}

Record EncodeRecord(const IndexRecord& index) {
  Writer body = StartBody();
  body.Add(ToInt(index.id))
      .Add(index.version)
      .AddList(std::span<const uint32_t>(index.block_counts))
      .Add(index.stored_bytes);
  return Sealed(IndexKey(index.segment, index.kind), &body);
}

Record EncodeRecord(SegmentId segment, uint32_t chunk_index, std::span<const TokenId> tokens) {
  Writer body = StartBody();
  body.AddList(tokens);
  return Sealed(TokensKey(segment, chunk_index), &body);
}

Record EncodeRecord(const IdLimitRecord& limit) {
  Writer body = StartBody();
  body.Add(limit.segment_id_limit);
  return Sealed(StartKey(RecordKind::kIdLimit).Take(), &body);
}

StatusOr<RecordKind> DecodeRecordKind(std::string_view key) {
  const auto kind = static_cast<RecordKind>(key.empty() ? '\0' : key.front());
  switch (kind) {
    case RecordKind::kContext:
    case RecordKind::kIdLimit:
    case RecordKind::kModel:
    case RecordKind::kSegment:
    case RecordKind::kTokens:
    case RecordKind::kIndex:
      return kind;
  }
  return Damaged(key, "is of no known kind");
}

StatusOr<RegisteredModel> DecodeModelRecord(std::string_view key, std::string_view value) {
  ALAYA_ASSIGN_OR_RETURN(Reader name, OpenKey(key, RecordKind::kModel));
  ALAYA_ASSIGN_OR_RETURN(Reader body, OpenBody(key, value));
  RegisteredModel model;
  model.id = ModelId{name.Read<uint32_t>()};
  model.model.name = body.ReadString();
  model.model.num_layers = body.Read<uint32_t>();
  model.model.num_query_heads = body.Read<uint32_t>();
  model.model.num_kv_heads = body.Read<uint32_t>();
  model.model.head_dim = body.Read<uint32_t>();
  const auto dtype = body.Read<uint8_t>();
  model.model.dtype = static_cast<DType>(dtype);
  ALAYA_RETURN_IF_ERROR(CheckComplete(key, name, body));
  if (dtype < 1 || dtype > 3) return Damaged(key, "has dtype " + std::to_string(dtype));
  return model;
}

StatusOr<ContextRecord> DecodeContextRecord(std::string_view key, std::string_view value) {
  ALAYA_ASSIGN_OR_RETURN(Reader name, OpenKey(key, RecordKind::kContext));
  ALAYA_ASSIGN_OR_RETURN(Reader body, OpenBody(key, value));
  ContextRecord context;
  context.tenant = name.ReadString();
  context.id = std::string(name.TakeRest());
  context.model = ModelId{body.Read<uint32_t>()};
  context.chain.resize(body.ReadCount(2 * sizeof(uint64_t)));
  for (ContextRecord::Link& link : context.chain) {
    link.segment = SegmentId{body.Read<uint64_t>()};
    link.token_count = body.Read<uint64_t>();
  }
  const uint32_t label_count = body.ReadCount(2 * sizeof(uint32_t));
  for (uint32_t i = 0; i < label_count; ++i) {
    std::string label = body.ReadString();
    context.labels[std::move(label)] = body.ReadString();
  }
  context.create_time = body.ReadTime();
  const bool has_expire_time = body.ReadBool();
  const WallTime expire_time = body.ReadTime();
  if (has_expire_time) context.expire_time = expire_time;
  context.pinned = body.ReadBool();
  ALAYA_RETURN_IF_ERROR(CheckComplete(key, name, body));
  return context;
}

StatusOr<SegmentRecord> DecodeSegmentRecord(std::string_view key, std::string_view value) {
  ALAYA_ASSIGN_OR_RETURN(Reader name, OpenKey(key, RecordKind::kSegment));
  ALAYA_ASSIGN_OR_RETURN(Reader body, OpenBody(key, value));
  SegmentRecord segment;
  segment.id = SegmentId{name.Read<uint64_t>()};
  segment.model = ModelId{body.Read<uint32_t>()};
  segment.tenant = body.ReadString();
  segment.token_begin = body.Read<uint64_t>();
  segment.token_count = body.Read<uint64_t>();
  segment.query_counts = body.ReadList<uint32_t>();
  segment.stored_bytes = body.Read<uint64_t>();
  segment.wanted_indexes = body.ReadList<uint8_t>();
  ALAYA_RETURN_IF_ERROR(CheckComplete(key, name, body));
  return segment;
}

StatusOr<IndexRecord> DecodeIndexRecord(std::string_view key, std::string_view value) {
  ALAYA_ASSIGN_OR_RETURN(Reader name, OpenKey(key, RecordKind::kIndex));
  ALAYA_ASSIGN_OR_RETURN(Reader body, OpenBody(key, value));
  IndexRecord index;
  index.segment = SegmentId{name.Read<uint64_t>()};
  index.kind = name.Read<uint8_t>();
  index.id = SegmentId{body.Read<uint64_t>()};
  index.version = body.Read<uint32_t>();
  index.block_counts = body.ReadList<uint32_t>();
  index.stored_bytes = body.Read<uint64_t>();
  ALAYA_RETURN_IF_ERROR(CheckComplete(key, name, body));
  if (index.kind < 1 || index.kind > kIndexKindMax) {
    return Damaged(key, "has kind " + std::to_string(index.kind));
  }
  return index;
}

StatusOr<TokensRecord> DecodeTokensRecord(std::string_view key, std::string_view value) {
  ALAYA_ASSIGN_OR_RETURN(Reader name, OpenKey(key, RecordKind::kTokens));
  ALAYA_ASSIGN_OR_RETURN(Reader body, OpenBody(key, value));
  TokensRecord record;
  record.segment = SegmentId{name.Read<uint64_t>()};
  record.chunk_index = name.Read<uint32_t>();
  record.tokens = body.ReadList<TokenId>();
  ALAYA_RETURN_IF_ERROR(CheckComplete(key, name, body));
  return record;
}

StatusOr<IdLimitRecord> DecodeIdLimitRecord(std::string_view key, std::string_view value) {
  ALAYA_ASSIGN_OR_RETURN(Reader name, OpenKey(key, RecordKind::kIdLimit));
  ALAYA_ASSIGN_OR_RETURN(Reader body, OpenBody(key, value));
  IdLimitRecord limit{.segment_id_limit = body.Read<uint64_t>()};
  ALAYA_RETURN_IF_ERROR(CheckComplete(key, name, body));
  return limit;
}

}  // namespace alaya
