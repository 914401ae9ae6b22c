#include "server/engine/device_offers.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <utility>
#include <variant>

#include "index/attention/window_ranges.h"
#include "server/engine/attention_fan_out.h"
#include "server/engine/segment_reader.h"
#include "server/engine/stored_index_reader.h"

namespace alaya {
namespace {

// Of the segment's coarse index; null: it has none.
const StoredIndex* CoarseOf(const Segment& segment) {
  return segment.indexes.find(static_cast<uint8_t>(IndexKind::kCoarse));
}

// All rows of one layer of a segment, read once.
class SegmentRows final : public DevicePartRows {
 public:
  SegmentRows(ContextStore* store, std::shared_ptr<const Segment> segment, LayerIndex layer)
      : segment_(std::move(segment)) {
    for (uint32_t head = 0; head < segment_->model->model.num_kv_heads; ++head) {
      readers_.emplace_back(store, *segment_, layer, KvHeadIndex{head});
      readers_.back().ReadOnce();
      if (const StoredIndex* coarse = CoarseOf(*segment_); coarse != nullptr) {
        coarse_.emplace_back(store, *segment_, *coarse, layer, KvHeadIndex{head}, &disk_reads_);
      }
    }
  }
  const KvReader& head(KvHeadIndex head) const override { return readers_[ToInt(head)]; }
  const IndexBlockReader* coarse(KvHeadIndex head) const override {
    return coarse_.empty() ? nullptr : &coarse_[ToInt(head)];
  }

 private:
  const std::shared_ptr<const Segment> segment_;
  std::deque<SegmentReader> readers_;  // they do not move
  std::deque<StoredIndexReader> coarse_;
  std::atomic<uint64_t> disk_reads_{0};
};

TokenRange Minus(TokenRange range, uint64_t begin) {
  return range.empty() ? TokenRange{} : TokenRange{range.begin - begin, range.end - begin};
}

// None: a device cannot answer this.
std::optional<DeviceTask> TaskOf(const DeviceItem& item, const SegmentLink& link,
                                 const SegmentFacts& facts, LayerIndex layer) {
  const Target target = item.target.value_or(DiprTarget());
  const uint64_t begin = link.range().begin;
  const TokenRange visible = Intersect(item.visible.front(), link.range());
  const bool is_same = std::ranges::all_of(
      item.visible, [&](TokenRange each) { return Intersect(each, link.range()) == visible; });
  if (visible.empty() || !is_same) return std::nullopt;
  const WindowRanges windows = RangesOf(item.window, item.visible.front());
  DeviceTask task;
  task.part = {link.segment->id, layer};
  task.shape = {.token_count = link.segment->token_count,
                .kv_head_count = item.model->num_kv_heads,
                .head_dim = item.model->head_dim,
                .dtype = item.model->dtype};
  task.visible = Minus(visible, begin);
  task.sink = Minus(Intersect(windows.sink, visible), begin);
  // The first position's begins first. All of them attend to what it does.
  const TokenRange recent = {windows.recent.begin, visible.end};
  task.recent = Minus(Intersect(recent, visible), begin);
  task.queries_per_head = static_cast<uint32_t>(item.query.tokens * item.model->group_size());
  task.scale = item.scale;
  task.target = target;
  task.estimate_rest = item.estimate_rest && std::holds_alternative<DiprTarget>(target);
  task.explain = item.explain;
  task.has_coarse = std::ranges::find(facts.indexes, IndexKind::kCoarse, &IndexFacts::kind) !=
                    facts.indexes.end();
  return task;
}

}  // namespace

void DeviceOffers::Ask(const DeviceItem& item, PlanRequest* request) {
  if (device_ == nullptr) return;
  offers_.resize(sequence_.segment_count());
  for (size_t i = 0; i < offers_.size(); ++i) {
    const SegmentLink& link = sequence_.link(i);
    const std::optional<DeviceTask> task =
        TaskOf(item, link, request->segments[i], sequence_.layer());
    if (!task) continue;
    // The best k are those of the whole sequence, not of each segment.
    if (std::holds_alternative<TopKTarget>(task->target) && offers_.size() > 1) continue;
    // Whoever holds the source does not hold the segment.
    DevicePartSource source;
    source.owner = link.segment;
    source.open = [store = store_, layer = sequence_.layer(),
                   weak = std::weak_ptr(link.segment)]() -> std::unique_ptr<const DevicePartRows> {
      std::shared_ptr<const Segment> segment = weak.lock();
      if (segment == nullptr) return nullptr;
      return std::make_unique<SegmentRows>(store, std::move(segment), layer);
    };
    offers_[i] = device_->Offer(*task, source);
    if (offers_[i] != nullptr) request->segments[i].device = offers_[i]->cost();
  }
}

Status DeviceOffers::Accept(const DeviceItem& item, const AttendPlan& plan) {
  std::vector<float> queries;
  for (size_t i = 0; i < plan.segments.size(); ++i) {
    if (!plan.segments[i].on_device) continue;
    if (queries.empty()) {
      for (uint32_t head = 0; head < item.model->num_kv_heads; ++head) {
        const std::vector<float> group =
            GroupQueries(item.query, *item.model, KvHeadIndex{head}, 0, item.query.tokens);
        queries.insert(queries.end(), group.begin(), group.end());
      }
    }
    const size_t head_dim = item.model->head_dim;
    accepted_.resize(plan.segments.size());
    ALAYA_ASSIGN_OR_RETURN(
        accepted_[i], offers_[i]->Accept({queries.data(), queries.size() / head_dim, head_dim}));
  }
  return OkStatus();
}

}  // namespace alaya
