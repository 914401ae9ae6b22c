#include "storage/context/page_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <string>
#include <utility>
#include <variant>

namespace alaya {
namespace {

// Reads under way at a time that somebody waits for; more gains nothing
// (tests/benchmarks/RESULTS.md).
constexpr size_t kAwaitedThreads = 16;
// Reads of what is announced, up to 1 MiB each: so many keep a disk as busy as it can be.
constexpr size_t kAnnouncedThreads = 6;
// Pages that follow each other on disk are read together, up to so many bytes at a time. Of keys
// and values less: a context that is streamed keeps more reads under way in the same buffers.
constexpr size_t kIndexRunBytesMax = size_t{1} << 20;
constexpr size_t kKvRunBytesMax = size_t{1} << 19;
// What a page takes on disk beside its payload: header, key, RocksDB's block.
constexpr size_t kStoredPageOverheadBytes = 128;

// What the page must be to belong to the segment.
StatusOr<PageInfo> ExpectedRows(const Segment& segment, const PageId& id) {
  const Model& model = segment.model->model;
  const bool is_query = id.kind == PageKind::kQuery;
  const uint64_t page_tokens = PageTokens(model);
  const uint64_t first_row = id.page_index * page_tokens;
  uint64_t row_count = 0;
  if (id.layer < model.num_layers) {
    row_count = is_query ? segment.query_counts[id.layer] : segment.token_count;
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

size_t KvPageBytesMax(const Segment& segment) {
  const Model& model = segment.model->model;
  return PageTokens(model) * model.row_bytes();
}

ReadPool::Purpose PurposeOf(const Segment& segment, uint32_t layer) {
  return {ToInt(segment.id), layer};
}

}  // namespace

// A page as it must be.
struct PageReader::Expected {
  std::variant<PageInfo, IndexPageInfo> info;

  // Errors: InvalidArgument if the segment has no such page.
  static StatusOr<Expected> Of(const Segment& segment, const PageId& id) {
    Expected expected;
    if (IsIndex(id.kind)) {
      const auto kind = static_cast<uint8_t>(static_cast<uint8_t>(id.kind) -
                                             static_cast<uint8_t>(PageKind::kIndex));
      ALAYA_ASSIGN_OR_RETURN(expected.info, ExpectedBlock(segment, segment.indexes.find(kind), id));
    } else {
      ALAYA_ASSIGN_OR_RETURN(expected.info, ExpectedRows(segment, id));
    }
    return expected;
  }
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

// Pages in runs that follow each other on disk.
struct PageReader::Runs {
  std::vector<PageId> ids;
  std::vector<size_t> begins;  // of each run, in `ids`

  static Runs Of(const Segment& segment, std::vector<PageId> ids);
  size_t size() const { return begins.size(); }
  std::span<const PageId> operator[](size_t i) const {
    const size_t end = i + 1 < begins.size() ? begins[i + 1] : ids.size();
    return std::span(ids).subspan(begins[i], end - begins[i]);
  }
};

PageReader::PageReader(const Database* database, PageCache* cache, DamageObserver on_damage)
    : database_(database),
      cache_(cache),
      on_damage_(std::move(on_damage)),
      pool_(kAwaitedThreads + kAnnouncedThreads, kAnnouncedThreads) {}
PageReader::~PageReader() = default;

PageReader::Runs PageReader::Runs::Of(const Segment& segment, std::vector<PageId> ids) {
  const uint32_t last_head = segment.model->model.num_kv_heads - 1;
  // Behind the last head's page of values the next pages of all heads begin.
  const auto is_next = [last_head](const PageId& id, const PageId& next) {
    return IsNextOnDisk(id, next) &&
           (IsIndex(id.kind) || id.page_index == next.page_index || id.head == last_head);
  };
  Runs runs{.ids = std::move(ids), .begins = {}};
  size_t run_bytes = 0;
  for (size_t i = 0; i < runs.ids.size(); ++i) {
    const PageId& id = runs.ids[i];
    const size_t bytes = IsIndex(id.kind) ? kPagePayloadBytesMax : kKvPagePayloadBytesMax;
    const size_t bytes_max = IsIndex(id.kind) ? kIndexRunBytesMax : kKvRunBytesMax;
    const bool goes_on = i > 0 && is_next(runs.ids[i - 1], id) && run_bytes + bytes <= bytes_max;
    if (!goes_on) {
      runs.begins.push_back(i);
      run_bytes = 0;
    }
    run_bytes += bytes;
  }
  return runs;
}

Status PageReader::ReadAlone(const Expected& expected,
                             const std::function<void(std::span<const std::byte>)>& use) {
  const PageId& id = expected.id();
  Status status = database_->ReadPage(EncodePageKey(id), [&](std::span<const std::byte> stored) {
    const StatusOr<std::span<const std::byte>> payload = expected.Decode(stored);
    if (!payload.ok()) return payload.status();
    use(*payload);
    return OkStatus();
  });
  if (status.code() == StatusCode::kNotFound) status = DataLoss(ToString(id) + " is missing");
  if (status.code() == StatusCode::kDataLoss) {
    checksum_failures_.fetch_add(1, std::memory_order_relaxed);
    status = Annotate(status, ToString(id));
    if (on_damage_ && !IsIndex(id.kind)) on_damage_(Message(status));
  }
  return status;
}

StatusOr<size_t> PageReader::Load(const Expected& expected, std::span<std::byte> frame) {
  size_t payload_bytes = 0;
  ALAYA_RETURN_IF_ERROR(ReadAlone(expected, [&](std::span<const std::byte> payload) {
    std::memcpy(frame.data(), payload.data(), payload.size());
    payload_bytes = payload.size();
  }));
  return payload_bytes;
}

StatusOr<PinnedPage> PageReader::ReadPage(const Segment& segment, const PageId& id, PageUse use) {
  // What is in memory was checked when it was read.
  if (PinnedPage page = cache_->Find(id, use); page.valid()) return page;
  ALAYA_ASSIGN_OR_RETURN(const PageInfo rows, ExpectedRows(segment, id));
  const Expected expected{rows};
  return cache_->Get(id, [&](std::span<std::byte> frame) { return Load(expected, frame); },
                     {.bytes_max = expected.bytes_max(), .use = use, .owner = segment.tenant});
}

StatusOr<PinnedPage> PageReader::ReadIndexBlock(const Segment& segment, const StoredIndex& index,
                                                const PageId& id) {
  if (PinnedPage page = cache_->Find(id); page.valid()) return page;
  ALAYA_ASSIGN_OR_RETURN(const IndexPageInfo block, ExpectedBlock(segment, &index, id));
  const Expected expected{block};
  StatusOr<PinnedPage> page =
      cache_->Get(id, [&](std::span<std::byte> frame) { return Load(expected, frame); },
                  {.owner = segment.tenant});
  if (page.ok()) return page;
  return Annotate(page.status(), "index of segment " + std::to_string(ToInt(segment.id)));
}

PageReader::Runs PageReader::MissingRuns(const Segment& segment,
                                         std::span<const PageId> ids) const {
  std::vector<PageId> missing;
  std::ranges::copy_if(ids, std::back_inserter(missing),
                       [this](const PageId& id) { return !cache_->ProbablyContains(id); });
  return Runs::Of(segment, std::move(missing));
}

void PageReader::ReadTogether(const Segment& segment, std::span<const PageId> run,
                              size_t page_bytes_max, const PageUser& use) {
  size_t next = 0;
  const auto use_stored = [&](std::string_view key, std::span<const std::byte> stored) {
    while (next < run.size() && EncodePageKey(run[next]) < key) ++next;
    if (next == run.size() || EncodePageKey(run[next]) != key) return;
    const size_t i = next++;
    const StatusOr<Expected> expected = Expected::Of(segment, run[i]);
    if (!expected.ok()) return;
    const StatusOr<std::span<const std::byte>> payload = expected->Decode(stored);
    if (payload.ok()) use(i, *payload);
  };
  const size_t bytes_behind_first = (run.size() - 1) * (page_bytes_max + kStoredPageOverheadBytes);
  database_
      ->ReadPages(EncodePageKey(run.front()), EncodePageKey(run.back()), bytes_behind_first,
                  use_stored)
      .IgnoreError();
}

// What goes wrong is left to whoever reads the page for its content.
void PageReader::LoadSlots(const Segment& segment, std::span<PageCache::Slot> slots) {
  if (slots.size() == 1) {
    const StatusOr<Expected> expected = Expected::Of(segment, slots[0].id);
    if (!expected.ok()) return;
    slots[0].payload_bytes = Load(*expected, slots[0].frame).value_or(0);
    return;
  }
  std::vector<PageId> ids(slots.size());
  std::ranges::transform(slots, ids.begin(), &PageCache::Slot::id);
  ReadTogether(segment, ids, slots[0].frame.size(),
               [slots](size_t i, std::span<const std::byte> payload) {
                 std::memcpy(slots[i].frame.data(), payload.data(), payload.size());
                 slots[i].payload_bytes = payload.size();
               });
}

void PageReader::LoadRun(const Segment& segment, std::span<const PageId> run) {
  const size_t bytes_max =
      IsIndex(run.front().kind) ? kPagePayloadBytesMax : KvPageBytesMax(segment);
  cache_->Prefetch(run, bytes_max, segment.tenant,
                   [&](std::span<PageCache::Slot> slots) { LoadSlots(segment, slots); });
}

size_t PageReader::LoadPages(const Segment& segment, std::span<const PageId> ids) {
  const Runs runs = MissingRuns(segment, ids);
  pool_.RunAll(runs.size(), [&](size_t i) { LoadRun(segment, runs[i]); });
  return runs.ids.size();
}

ReadPool::Pending PageReader::StartLoading(std::shared_ptr<const Segment> segment,
                                           std::span<const PageId> ids) {
  const auto runs = std::make_shared<const Runs>(MissingRuns(*segment, ids));
  return pool_.Start(runs->size(), [this, segment = std::move(segment), runs](size_t i) {
    LoadRun(*segment, (*runs)[i]);
  });
}

void PageReader::DropAnnounced(const Segment& segment, LayerIndex layer) {
  pool_.DropAnnounced(PurposeOf(segment, ToInt(layer)));
}

void PageReader::Announce(std::shared_ptr<const Segment> segment, std::span<const PageId> ids) {
  if (ids.empty()) return;
  const ReadPool::Purpose purpose = PurposeOf(*segment, ids.front().layer);
  const auto runs = std::make_shared<const Runs>(MissingRuns(*segment, ids));
  pool_.Announce(
      runs->size(),
      [this, segment = std::move(segment), runs](size_t i) { LoadRun(*segment, (*runs)[i]); },
      purpose);
}

Status PageReader::ScanPages(const Segment& segment, std::span<const PageId> ids,
                             const PageUser& use) {
  std::vector<PageId> missing;
  std::vector<size_t> places;  // of those, in `ids`
  for (size_t i = 0; i < ids.size(); ++i) {
    if (const PinnedPage page = cache_->Find(ids[i], PageUse::kOnce); page.valid()) {
      use(i, page.payload());
    } else {
      missing.push_back(ids[i]);
      places.push_back(i);
    }
  }
  const Runs runs = Runs::Of(segment, std::move(missing));
  std::vector<bool> used(runs.ids.size());
  for (size_t run = 0; run < runs.size(); ++run) {
    const size_t first = runs.begins[run];
    if (runs[run].size() == 1) continue;
    ReadTogether(segment, runs[run], KvPageBytesMax(segment),
                 [&](size_t i, std::span<const std::byte> payload) {
                   used[first + i] = true;
                   use(places[first + i], payload);
                 });
  }
  for (size_t i = 0; i < used.size(); ++i) {
    if (used[i]) continue;
    ALAYA_ASSIGN_OR_RETURN(const Expected expected, Expected::Of(segment, runs.ids[i]));
    ALAYA_RETURN_IF_ERROR(
        ReadAlone(expected, [&](std::span<const std::byte> payload) { use(places[i], payload); }));
  }
  return OkStatus();
}

ReadPool::Pending PageReader::StartReading(std::function<void()> read) {
  return pool_.Start(1, [read = std::move(read)](size_t /*i*/) { read(); });
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
