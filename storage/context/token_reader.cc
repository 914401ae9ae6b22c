#include "storage/context/token_reader.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "storage/context/catalog_records.h"

namespace alaya {
namespace {

constexpr size_t kTokensPerPage = kKvPagePayloadBytesMax / sizeof(TokenId);
static_assert(kTokensPerRecord % kTokensPerPage == 0, "a page's tokens lie in one record");

PageId TokenPage(const Segment& segment, uint64_t offset) {
  return {.segment = segment.id,
          .page_index = static_cast<uint32_t>(offset / kTokensPerPage),
          .kind = PageKind::kToken};
}

// The tokens of the page that holds `offset`. `tokens` are the segment's from `begin` on.
std::span<const TokenId> PageOf(std::span<const TokenId> tokens, uint64_t begin, uint64_t offset) {
  const uint64_t first = offset / kTokensPerPage * kTokensPerPage - begin;
  return tokens.subspan(first, std::min<uint64_t>(kTokensPerPage, tokens.size() - first));
}

}  // namespace

TokenReader::TokenReader(const Database* database, PageCache* cache, DamageObserver on_damage)
    : database_(database), cache_(cache), on_damage_(std::move(on_damage)) {}

StatusOr<std::vector<TokenId>> TokenReader::ReadRecord(const Segment& segment,
                                                       uint32_t chunk_index) const {
  const uint64_t begin = uint64_t{chunk_index} * kTokensPerRecord;
  const uint64_t count = std::min<uint64_t>(kTokensPerRecord, segment.token_count - begin);
  const std::string key = TokensKey(segment.id, chunk_index);
  std::vector<TokenId> tokens;
  Status status = database_->ReadCatalog(key, [&](std::string_view value) -> Status {
    ALAYA_ASSIGN_OR_RETURN(TokensRecord record, DecodeTokensRecord(key, value));
    tokens = std::move(record.tokens);
    if (tokens.size() == count) return OkStatus();
    return DataLoss("there are " + std::to_string(tokens.size()) + " instead of " +
                    std::to_string(count));
  });
  if (status.ok()) return tokens;
  if (status.code() == StatusCode::kNotFound) status = DataLoss("they are missing");
  status = Annotate(status, "tokens from " + std::to_string(begin) + " on of segment " +
                                std::to_string(ToInt(segment.id)));
  if (status.code() == StatusCode::kDataLoss) {
    checksum_failures_.fetch_add(1, std::memory_order_relaxed);
    if (on_damage_) on_damage_(Message(status));
  }
  return status;
}

StatusOr<TokenStretch> TokenReader::Read(const Segment& segment, uint64_t offset,
                                         uint64_t wanted_count) const {
  const auto chunk_index = static_cast<uint32_t>(offset / kTokensPerRecord);
  const uint64_t record_begin = uint64_t{chunk_index} * kTokensPerRecord;
  std::vector<TokenId> record;
  const auto load = [&](std::span<std::byte> frame) -> StatusOr<size_t> {
    ALAYA_ASSIGN_OR_RETURN(record, ReadRecord(segment, chunk_index));
    const std::span<const TokenId> page = PageOf(record, record_begin, offset);
    std::memcpy(frame.data(), page.data(), page.size_bytes());
    return page.size_bytes();
  };
  ALAYA_ASSIGN_OR_RETURN(PinnedPage page, cache_->Get(TokenPage(segment, offset), load,
                                                      {.bytes_max = kKvPagePayloadBytesMax}));
  const uint64_t wanted_end =
      std::min<uint64_t>(offset + wanted_count, record_begin + record.size());
  for (uint64_t next = (offset / kTokensPerPage + 1) * kTokensPerPage; next < wanted_end;
       next += kTokensPerPage) {
    cache_->Put(TokenPage(segment, next), std::as_bytes(PageOf(record, record_begin, next)), {});
  }
  return TokenStretch(std::move(page), offset % kTokensPerPage);
}

TokenSource TokenReader::source() const {
  return [this](const Segment& segment, uint64_t offset, uint64_t wanted_count) {
    return Read(segment, offset, wanted_count);
  };
}

void TokenReader::Keep(const Segment& segment, std::span<const TokenId> tokens) const {
  for (uint64_t offset = 0; offset < tokens.size(); offset += kTokensPerPage) {
    cache_->Put(TokenPage(segment, offset), std::as_bytes(PageOf(tokens, 0, offset)), {});
  }
}

}  // namespace alaya
