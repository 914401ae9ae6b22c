#include "server/engine/open_indexes.h"

#include <algorithm>
#include <utility>

#include "index/exact_index.h"
#include "server/engine/segment_reader.h"
#include "server/engine/stored_index_reader.h"

namespace alaya {
namespace {

// Blocks that are asked for to guess how much of an index is in memory.
constexpr uint32_t kResidencySamples = 4;

}  // namespace

// One stored index. Its layers are opened one by one.
struct OpenIndexes::OpenKind {
  struct Layer {
    std::once_flag opened;
    std::vector<std::unique_ptr<GuardedIndex>> heads;
  };

  OpenKind(const IndexKindRow* kind_row, const StoredIndex* stored_index, size_t layer_count)
      : row(kind_row), stored(stored_index), layers(layer_count) {}

  const IndexKindRow* const row;
  const StoredIndex* const stored;
  std::vector<Layer> layers;
  std::atomic<bool> damaged{false};
};

// Searches the index as long as it is sound, and scans the keys otherwise.
class OpenIndexes::GuardedIndex : public TokenIndex {
 public:
  GuardedIndex(OpenIndexes* owner, OpenKind* kind, LayerIndex layer, KvHeadIndex head)
      : owner_(owner),
        kind_(kind),
        keys_(owner->store_, owner->segment_, layer, head),
        blocks_(owner->store_, owner->segment_, *kind->stored, layer, head, &owner->disk_reads_),
        scan_(&keys_) {
    keys_.CountDiskReads(&owner->disk_reads_);
  }

  Status Open() {
    ALAYA_ASSIGN_OR_RETURN(index_, kind_->row->open(&blocks_, &keys_));
    return OkStatus();
  }

  IndexKind kind() const override { return kind_->row->kind; }

  StatusOr<SearchResult> Search(const SearchRequest& request) const override {
    if (index_ == nullptr || kind_->damaged.load(std::memory_order_relaxed)) {
      return scan_.Search(request);
    }
    StatusOr<SearchResult> found = index_->Search(request);
    if (found.status().code() != StatusCode::kDataLoss) return found;
    StatusOr<SearchResult> scanned = scan_.Search(request);
    // If the scan fails too, it is the keys that are damaged.
    if (scanned.ok()) owner_->ReportDamage(kind_, found.status());
    return scanned;
  }

 private:
  OpenIndexes* const owner_;
  OpenKind* const kind_;
  SegmentReader keys_;
  const StoredIndexReader blocks_;
  const ExactIndex scan_;
  std::unique_ptr<TokenIndex> index_;  // null: it could not be opened
};

OpenIndexes::OpenIndexes(ContextStore* store, const Segment& segment, const IndexKindTable* kinds,
                         const IndexDamageListener* listener)
    : store_(store), segment_(segment), kinds_(kinds), listener_(listener) {}

OpenIndexes::~OpenIndexes() = default;

const StoredIndex* OpenIndexes::Stored(IndexKind kind) const {
  const auto number = static_cast<uint8_t>(kind);
  const StoredIndex* stored = segment_.indexes.find(number);
  if (stored == nullptr) return nullptr;
  const OpenKind* open = current_[number].load(std::memory_order_acquire);
  if (open != nullptr && open->stored == stored) {
    return open->damaged.load(std::memory_order_relaxed) ? nullptr : stored;
  }
  const IndexKindRow* row = FindIndexKind(*kinds_, kind);
  return row != nullptr && row->version == stored->version ? stored : nullptr;
}

IndexKindSet OpenIndexes::available() const {
  IndexKindSet kinds;
  for (const IndexKindRow& row : *kinds_) {
    if (Stored(row.kind) != nullptr) kinds.Add(row.kind);
  }
  return kinds;
}

OpenIndexes::OpenKind* OpenIndexes::FindOrMake(IndexKind kind, const StoredIndex& stored) {
  std::atomic<OpenKind*>& slot = current_[static_cast<uint8_t>(kind)];
  OpenKind* open = slot.load(std::memory_order_acquire);
  if (open != nullptr && open->stored == &stored) return open;
  const std::scoped_lock lock(mutex_);
  open = slot.load(std::memory_order_relaxed);
  if (open != nullptr && open->stored == &stored) return open;
  held_.push_back(std::make_unique<OpenKind>(FindIndexKind(*kinds_, kind), &stored,
                                             segment_.model->model.num_layers));
  slot.store(held_.back().get(), std::memory_order_release);
  return held_.back().get();
}

const TokenIndex* OpenIndexes::Find(IndexKind kind, LayerIndex layer, KvHeadIndex head) {
  const StoredIndex* stored = Stored(kind);
  if (stored == nullptr) return nullptr;
  OpenKind* open = FindOrMake(kind, *stored);
  OpenKind::Layer& open_layer = open->layers[ToInt(layer)];
  std::call_once(open_layer.opened, [&] { OpenLayer(open, layer); });
  return open_layer.heads[ToInt(head)].get();
}

void OpenIndexes::OpenLayer(OpenKind* kind, LayerIndex layer) {
  std::vector<std::unique_ptr<GuardedIndex>>& heads = kind->layers[ToInt(layer)].heads;
  const uint32_t head_count = segment_.model->model.num_kv_heads;
  // Their first blocks at a time: one after the other, each would wait for the disk.
  std::vector<PageId> first_blocks;
  for (uint32_t head = 0; head < head_count; ++head) {
    first_blocks.push_back(kind->stored->page(layer, KvHeadIndex{head}, 0));
  }
  disk_reads_.fetch_add(store_->LoadPages(segment_, first_blocks), std::memory_order_relaxed);
  for (uint32_t head = 0; head < head_count; ++head) {
    heads.push_back(std::make_unique<GuardedIndex>(this, kind, layer, KvHeadIndex{head}));
    const Status opened = heads.back()->Open();
    // After another error, of a full page cache, this layer is scanned until the
    // segment is opened anew.
    if (opened.code() == StatusCode::kDataLoss) ReportDamage(kind, opened);
  }
}

void OpenIndexes::ReportDamage(OpenKind* kind, const Status& status) {
  if (kind->damaged.exchange(true, std::memory_order_relaxed)) return;
  if (*listener_) (*listener_)(segment_.id, kind->row->kind, status);
}

uint64_t OpenIndexes::bytes(IndexKind kind, LayerIndex layer) const {
  const StoredIndex* stored = Stored(kind);
  if (stored == nullptr) return 0;
  uint64_t all_blocks = 0;
  for (const uint32_t count : stored->block_counts) all_blocks += count;
  uint64_t layer_blocks = 0;
  for (uint32_t head = 0; head < stored->num_kv_heads; ++head) {
    layer_blocks += stored->block_count(layer, KvHeadIndex{head});
  }
  return all_blocks == 0 ? 0 : stored->stored_bytes * layer_blocks / all_blocks;
}

double OpenIndexes::ResidentShare(IndexKind kind, LayerIndex layer) const {
  const StoredIndex* stored = Stored(kind);
  if (stored == nullptr) return 1;
  const KvHeadIndex head{0};
  const uint32_t block_count = stored->block_count(layer, head);
  const uint32_t sample_count = std::min(block_count, kResidencySamples);
  if (sample_count == 0) return 1;
  uint32_t resident_count = 0;
  for (uint32_t sample = 0; sample < sample_count; ++sample) {
    const auto block = static_cast<uint32_t>(uint64_t{sample} * block_count / sample_count);
    if (store_->IsResident(stored->page(layer, head, block))) ++resident_count;
  }
  return static_cast<double>(resident_count) / static_cast<double>(sample_count);
}

}  // namespace alaya
