#include "storage/context/store_check.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "storage/context/context_store.h"
#include "storage/page/page.h"

namespace alaya {
namespace {

// Pages pass through; none is read twice.
constexpr uint64_t kMemoryBytes = uint64_t{16} << 20;
// Of one segment; the rest is counted.
constexpr size_t kDamagesMax = 8;

struct Damage {
  uint64_t first_token = 0;  // of the segment: contexts that link to fewer do not mind
  std::string what;
};

class StoreChecker {
 public:
  StoreChecker(std::unique_ptr<ContextStore> store, const ByteProgress& progress)
      : store_(std::move(store)), progress_(progress) {}

  StoreCheckReport Run() {
    const auto segments = store_->ListSegments();
    for (const auto& segment : segments) total_bytes_ += segment->stored_bytes_with_indexes();
    uint64_t checked_bytes = 0;
    for (const auto& segment : segments) {
      CheckSegment(*segment);
      checked_bytes += segment->stored_bytes_with_indexes();
      // Files hold a little more than the payloads that were counted.
      done_bytes_ = checked_bytes;
    }
    Tell();
    for (const std::string& tenant : store_->ListTenants()) AddContexts(tenant);
    return std::move(report_);
  }

 private:
  void CheckSegment(const Segment& segment) {
    const Model& model = segment.model->model;
    for (uint32_t layer = 0; layer < model.num_layers; ++layer) {
      CheckPages(segment, layer, PageKind::kKey);
      CheckPages(segment, layer, PageKind::kValue);
      CheckPages(segment, layer, PageKind::kQuery);
    }
    for (const StoredIndex* index : segment.indexes.list()) CheckIndex(segment, *index);
  }

  void CheckPages(const Segment& segment, uint32_t layer, PageKind kind) {
    const Model& model = segment.model->model;
    const bool is_query = kind == PageKind::kQuery;
    const uint64_t row_count = is_query ? segment.query_counts[layer] : segment.token_count;
    const uint32_t head_count = is_query ? model.num_query_heads : model.num_kv_heads;
    const uint64_t page_tokens = PageTokens(model);
    for (uint64_t row = 0; row < row_count; row += page_tokens) {
      for (uint32_t head = 0; head < head_count; ++head) {
        const PageId id{.segment = segment.id,
                        .layer = layer,
                        .page_index = static_cast<uint32_t>(row / page_tokens),
                        .kind = kind,
                        .head = head};
        Count(segment, is_query ? 0 : row, store_->ReadPage(segment, id, PageUse::kOnce));
      }
    }
  }

  void CheckIndex(const Segment& segment, const StoredIndex& index) {
    const Model& model = segment.model->model;
    for (uint32_t layer = 0; layer < model.num_layers; ++layer) {
      for (uint32_t head = 0; head < model.num_kv_heads; ++head) {
        const uint32_t block_count = index.block_count(LayerIndex{layer}, KvHeadIndex{head});
        for (uint32_t block = 0; block < block_count; ++block) {
          const PageId id = index.page(LayerIndex{layer}, KvHeadIndex{head}, block);
          Count(segment, 0, store_->ReadIndexBlock(segment, index, id));
        }
      }
    }
  }

  void Count(const Segment& segment, uint64_t first_token, const StatusOr<PinnedPage>& page) {
    ++report_.page_count;
    if (!page.ok()) {
      damages_[segment.id].push_back({first_token, std::string(Message(page.status()))});
      return;
    }
    report_.read_bytes += page->payload().size();
    done_bytes_ = std::min(total_bytes_, done_bytes_ + page->payload().size());
    constexpr uint64_t kTellPages = 64;
    if (report_.page_count % kTellPages == 0) Tell();
  }

  void Tell() const {
    if (progress_) progress_(done_bytes_, total_bytes_);
  }

  void AddContexts(const std::string& tenant) {
    constexpr size_t kListMax = 1000;
    std::string last_id;
    for (;;) {
      const auto contexts = store_->ListContexts({.tenant = tenant}, last_id, kListMax);
      for (const auto& context : contexts) AddContext(*context);
      if (contexts.size() < kListMax) return;
      last_id = contexts.back()->id;
    }
  }

  void AddContext(const StoredContext& context) {
    CheckedContext checked{.tenant = context.tenant,
                           .id = context.id,
                           .model = context.model->model.name,
                           .token_count = context.token_count()};
    for (const SegmentLink& link : context.chain) {
      checked.stored_bytes += link.segment->stored_bytes_with_indexes();
      const auto damages = damages_.find(link.segment->id);
      if (damages == damages_.end()) continue;
      size_t more = 0;
      for (const Damage& damage : damages->second) {
        if (damage.first_token >= link.token_count) continue;
        if (checked.damages.size() < kDamagesMax) {
          checked.damages.push_back(damage.what);
        } else {
          ++more;
        }
      }
      if (more > 0) checked.damages.push_back("and " + std::to_string(more) + " more pages");
    }
    report_.contexts.push_back(std::move(checked));
  }

  const std::unique_ptr<ContextStore> store_;
  const ByteProgress& progress_;
  StoreCheckReport report_;
  std::map<SegmentId, std::vector<Damage>> damages_;
  uint64_t done_bytes_ = 0;
  uint64_t total_bytes_ = 0;
};

}  // namespace

uint64_t StoreCheckReport::damaged_context_count() const {
  return static_cast<uint64_t>(std::ranges::count_if(
      contexts, [](const CheckedContext& context) { return !context.damages.empty(); }));
}

StatusOr<StoreCheckReport> CheckStore(const std::string& directory, const ByteProgress& progress,
                                      StorageLog log) {
  ALAYA_ASSIGN_OR_RETURN(auto store, ContextStore::Open({.directory = directory,
                                                         .memory_budget_bytes = kMemoryBytes,
                                                         .log = std::move(log),
                                                         .read_only = true}));
  return StoreChecker(std::move(store), progress).Run();
}

}  // namespace alaya
