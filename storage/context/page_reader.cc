#include "storage/context/page_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <variant>

namespace alaya {
namespace {

// Reads under way at a time; more than this gains nothing (tests/benchmarks/RESULTS.md).
constexpr size_t kReadThreads = 16;

// What the page must be to belong to the segment.
StatusOr<PageInfo> ExpectedRows(const Segment& segment, const PageId& id) {
  const Model& model = segment.model->model;
  const bool is_query = id.kind == PageKind::kQuery;
  const uint64_t page_tokens = PageTokens(model);
  const uint64_t first_row = id.page_index * page_tokens;
  uint64_t row_count = 0;
  if (id.layer < model.num_layers) {
    row_count = is_query ? segment.query_counts[id.layer] : segment.token_count();
  }
  const uint32_t head_count = is_query ? model.num_query_heads : model.num_kv_heads;
  if (id.segment != segment.id || id.head >= head_count || first_row >= row_count) {
    return InvalidArgument("no such page in segment " + std::to_string(ToInt(segment.id)) + ": " +
                           ToString(id));
  }
  return PageInfo{.id = id,
                  .model = segment.model->id,
                  .tenant_hash = TenantHash(segment.tenant),
                  .dtype = model.dtype,
                  .row_count = static_cast<uint32_t>(std::min(page_tokens, row_count - first_row)),
                  .head_dim = model.head_dim};
}

StatusOr<IndexPageInfo> ExpectedBlock(const Segment& segment, const StoredIndex* index,
                                      const PageId& id) {
  const Model& model = segment.model->model;
  if (index == nullptr || id.segment != index->id || id.kind != IndexPageKind(index->kind) ||
      id.layer >= model.num_layers || id.head >= model.num_kv_heads ||
      id.page_index >= index->block_count(LayerIndex{id.layer}, KvHeadIndex{id.head})) {
    return InvalidArgument("no such block in the index of segment " +
                           std::to_string(ToInt(segment.id)) + ": " + ToString(id));
  }
  return IndexPageInfo{.id = id,
                       .model = segment.model->id,
                       .tenant_hash = TenantHash(segment.tenant),
                       .indexed_segment = segment.id};
}

}  // namespace

// A page as it must be.
struct PageReader::Expected {
  std::variant<PageInfo, IndexPageInfo> info;

  const PageId& id() const {
    return std::visit([](const auto& page) -> const PageId& { return page.id; }, info);
  }
  size_t bytes_max() const {
    const auto* rows = std::get_if<PageInfo>(&info);
    return rows != nullptr ? rows->payload_bytes() : kPagePayloadBytesMax;
  }
  StatusOr<std::span<const std::byte>> Decode(std::span<const std::byte> stored) const {
    const auto* rows = std::get_if<PageInfo>(&info);
    return rows != nullptr ? DecodePage(*rows, stored)
                           : DecodeIndexPage(std::get<IndexPageInfo>(info), stored);
  }
};

PageReader::PageReader(const Database* database, PageCache* cache)
    : database_(database), cache_(cache), pool_(kReadThreads) {}
PageReader::~PageReader() = default;

StatusOr<size_t> PageReader::Load(const Expected& expected, std::span<std::byte> frame) {
  const PageId& id = expected.id();
  size_t payload_bytes = 0;
  Status status = database_->ReadPage(EncodePageKey(id), [&](std::span<const std::byte> stored) {
    const StatusOr<std::span<const std::byte>> payload = expected.Decode(stored);
    if (!payload.ok()) return payload.status();
    std::memcpy(frame.data(), payload->data(), payload->size());
    payload_bytes = payload->size();
    return OkStatus();
  });
  if (status.code() == StatusCode::kNotFound) status = DataLoss(ToString(id) + " is missing");
  if (status.code() == StatusCode::kDataLoss) {
    checksum_failures_.fetch_add(1, std::memory_order_relaxed);
    status = Annotate(status, ToString(id));
  }
  if (!status.ok()) return status;
  return payload_bytes;
}

StatusOr<PinnedPage> PageReader::ReadPage(const Segment& segment, const PageId& id, PageUse use) {
  // What is in memory was checked when it was read.
  if (PinnedPage page = cache_->Find(id, use); page.valid()) return page;
  ALAYA_ASSIGN_OR_RETURN(const PageInfo rows, ExpectedRows(segment, id));
  const Expected expected{rows};
  return cache_->Get(id, [&](std::span<std::byte> frame) { return Load(expected, frame); },
                     {.bytes_max = expected.bytes_max(), .use = use});
}

StatusOr<PinnedPage> PageReader::ReadIndexBlock(const Segment& segment, const StoredIndex& index,
                                                const PageId& id) {
  if (PinnedPage page = cache_->Find(id); page.valid()) return page;
  ALAYA_ASSIGN_OR_RETURN(const IndexPageInfo block, ExpectedBlock(segment, &index, id));
  const Expected expected{block};
  StatusOr<PinnedPage> page =
      cache_->Get(id, [&](std::span<std::byte> frame) { return Load(expected, frame); });
  if (page.ok()) return page;
  return Annotate(page.status(), "index of segment " + std::to_string(ToInt(segment.id)));
}

Status PageReader::Prefetch(const Segment& segment, const PageId& id) {
  Expected expected;
  if (IsIndex(id.kind)) {
    const auto kind = static_cast<uint8_t>(static_cast<uint8_t>(id.kind) -
                                           static_cast<uint8_t>(PageKind::kIndex));
    ALAYA_ASSIGN_OR_RETURN(expected.info, ExpectedBlock(segment, segment.indexes.find(kind), id));
  } else {
    ALAYA_ASSIGN_OR_RETURN(expected.info, ExpectedRows(segment, id));
  }
  return cache_->Prefetch(
      id, [&](std::span<std::byte> frame) { return Load(expected, frame); }, expected.bytes_max());
}

size_t PageReader::LoadPages(const Segment& segment, std::span<const PageId> ids) {
  std::vector<PageId> missing;
  for (const PageId& id : ids) {
    if (!cache_->ProbablyContains(id)) missing.push_back(id);
  }
  // Whoever reads the page for its content meets the error again.
  pool_.RunAll(missing.size(), [&](size_t i) { Prefetch(segment, missing[i]).IgnoreError(); });
  return missing.size();
}

void PageReader::Announce(std::shared_ptr<const Segment> segment, std::vector<PageId> ids) {
  std::erase_if(ids, [this](const PageId& id) { return cache_->ProbablyContains(id); });
  const size_t count = ids.size();
  pool_.Announce(count, [this, segment = std::move(segment), ids = std::move(ids)](size_t i) {
    Prefetch(*segment, ids[i]).IgnoreError();
  });
}

// Looks at the first and last layer and head: pages of a token come and go together,
// those of the first layer first.
uint64_t PageReader::ResidentTokens(const std::vector<SegmentLink>& chain) const {
  uint64_t tokens = 0;
  for (const SegmentLink& link : chain) {
    const Model& model = link.segment->model->model;
    const uint64_t page_tokens = PageTokens(model);
    for (uint64_t begin = 0; begin < link.token_count; begin += page_tokens) {
      for (const uint32_t layer : {uint32_t{0}, model.num_layers - 1}) {
        for (const uint32_t head : {uint32_t{0}, model.num_kv_heads - 1}) {
          for (const PageKind kind : {PageKind::kKey, PageKind::kValue}) {
            const PageId id{.segment = link.segment->id,
                            .layer = layer,
                            .page_index = static_cast<uint32_t>(begin / page_tokens),
                            .kind = kind,
                            .head = head};
            if (!cache_->ProbablyContains(id) && !cache_->Contains(id)) return tokens;
          }
        }
      }
      tokens += std::min(page_tokens, link.token_count - begin);
    }
  }
  return tokens;
}

}  // namespace alaya
