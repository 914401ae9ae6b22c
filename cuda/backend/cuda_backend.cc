#include "cuda/backend/cuda_backend.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>
#include <variant>
#include <vector>

#include "cuda/backend/coarse_attention.h"
#include "cuda/backend/elapsed.h"
#include "cuda/backend/missed_rows.h"
#include "cuda/kernels/row_cache.cuh"
#include "index/attention/attention_merge.h"
#include "index/attention/exact_attention.h"
#include "index/coarse/coarse_index.h"
#include "storage/types/check.h"

namespace alaya {
namespace {

// Uses that a part is left to the CPU after it wanted more rows than can be named: its
// queries are diffuse.
constexpr uint64_t kUsesToSitOut = 256;
constexpr double kNewestWeight = 0.25;
// Deviations of a statistical bound, as the CPU's flat index takes.
constexpr float kDeviations = 3;
// Parts that are gone are looked for at least so often.
constexpr std::chrono::milliseconds kPromoteInterval{1000};
constexpr std::chrono::milliseconds kPromotePause{50};

TierKey KeyOf(const DevicePart& part, const PartLayout& layout) {
  return {ToInt(part.segment), ToInt(part.layer), static_cast<uint32_t>(layout.form())};
}

// How a part has to lie on the device to answer a task; none: it cannot.
std::optional<PartLayout> LayoutFor(const DeviceTask& task) {
  if (std::holds_alternative<FullTarget>(task.target)) return PartLayout::WholeOf(task.shape);
  const auto* const dipr = std::get_if<DiprTarget>(&task.target);
  if (dipr != nullptr && task.estimate_rest) {
    // A short part has no index on a device: attention to all of it is as good.
    return task.shape.token_count < PartLayout::kTokensMin ? PartLayout::WholeOf(task.shape)
                                                           : PartLayout::Of(task.shape);
  }
  const bool may_miss = dipr == nullptr || !dipr->sound;
  if (!task.has_coarse || !may_miss || !CoarseIndex::Answers(task.target)) return std::nullopt;
  return PartLayout::CoarseOf(task.shape);
}

// Who attends to which tokens of a part: all of `visible`, once.
struct TokenSplit {
  TokenSplit(const DeviceTask& task, const PartLayout& layout) {
    if (layout.form() != PartForm::kFlat) {
      sink = task.visible;
      return;
    }
    const uint64_t token_count = task.shape.token_count;
    sink = Intersect({0, layout.sink_tokens()}, task.visible);
    recent = Intersect({token_count - layout.recent_tokens(), token_count}, task.visible);
    // What the query attends to in any case begins and ends what it sees, if not empty.
    const auto end_of = [](TokenRange range) { return range.empty() ? 0 : range.end; };
    const auto begin_of = [&](TokenRange range) {
      return range.empty() ? task.visible.end : range.begin;
    };
    const uint64_t first =
        std::max({task.visible.begin, end_of(sink), end_of(Intersect(task.sink, task.visible))});
    const uint64_t last =
        std::min(begin_of(recent), begin_of(Intersect(task.recent, task.visible)));
    searched = {first, last};
    host_first = {std::max(task.visible.begin, end_of(sink)), first};
    host_last = {last, begin_of(recent)};
  }

  TokenRange sink;    // by the device, as a window
  TokenRange recent;  // the same
  TokenRange searched;
  TokenRange host_first;  // windows that the device does not have
  TokenRange host_last;
};

WindowRows RowsFrom(WindowRows window, TokenRange tokens, uint64_t window_begin) {
  window.token_count = static_cast<uint32_t>(tokens.size());
  if (tokens.empty()) return window;
  window.keys.data = window.keys.row(tokens.begin - window_begin);
  window.values.data = window.values.row(tokens.begin - window_begin);
  return window;
}

}  // namespace

// An answer of the lane and what the CPU adds to it.
class CudaBackend::Accepted final : public DeviceAttention {
 public:
  Accepted(CudaBackend* owner, const DeviceTask& task, const PartLayout& layout,
           std::shared_ptr<const ResidentIndex> part, std::vector<float> queries)
      : owner_(*owner),
        task_(task),
        split_(task, layout),
        layout_(layout),
        part_(std::move(part)),
        queries_(std::move(queries)) {}

  uint32_t tasks_per_head() const {
    return (task_.queries_per_head + kTaskQueriesMax - 1) / kTaskQueriesMax;
  }
  uint32_t queries_per_task() const {
    return (task_.queries_per_head + tasks_per_head() - 1) / tasks_per_head();
  }

  void Begin() {
    LaneRequest request;
    request.part = part_;
    const SparseShape shape = Shape(task_, layout_);
    const size_t row = task_.shape.head_dim;
    // The last task of a head may have fewer queries than the others: zeros fill it up.
    request.queries.resize(size_t{shape.task_count} * shape.query_count * row);
    std::byte* const memory = owner_.device_->memory().data() + part_->block.offset();
    for (uint32_t head = 0; head < task_.shape.kv_head_count; ++head) {
      SparseTask task = layout_.Task(memory, head);
      task.token_begin = static_cast<uint32_t>(split_.searched.begin);
      task.token_end = static_cast<uint32_t>(split_.searched.end);
      task.windows[0] = RowsFrom(task.windows[0], split_.sink, 0);
      task.windows[1] = RowsFrom(task.windows[1], split_.recent,
                                 task_.shape.token_count - layout_.recent_tokens());
      request.tasks.insert(request.tasks.end(), tasks_per_head(), task);
      std::copy_n(queries_.begin() + static_cast<std::ptrdiff_t>(FirstQuery(head) * row),
                  task_.queries_per_head * row,
                  request.queries.begin() + static_cast<std::ptrdiff_t>(FirstPlace(head) * row));
    }
    request.shape = shape;
    request.options.scale = task_.scale;
    // Of no matter where all is attended to: as others have it, to share a launch with them.
    const auto* const dipr = std::get_if<DiprTarget>(&task_.target);
    const DiprTarget target = dipr == nullptr ? DiprTarget() : *dipr;
    request.options.log_alpha = static_cast<float>(std::log(target.alpha));
    request.options.deviations = target.sound ? 0 : kDeviations;
    request.options.rest_error = static_cast<float>(task_.rest_error);
    ticket_ = owner_.lane_->Begin(std::move(request));
  }

  static SparseShape Shape(const DeviceTask& task, const PartLayout& layout) {
    const TokenSplit split(task, layout);
    const uint32_t per_head = (task.queries_per_head + kTaskQueriesMax - 1) / kTaskQueriesMax;
    return {
        .head_dim = task.shape.head_dim,
        .task_count = per_head * task.shape.kv_head_count,
        .query_count = (task.queries_per_head + per_head - 1) / per_head,
        .token_count =
            layout.form() == PartForm::kFlat ? static_cast<uint32_t>(task.shape.token_count) : 0,
        .window_count = static_cast<uint32_t>(std::max(split.sink.size(), split.recent.size()))};
  }

  StatusOr<DeviceHeadReport> Finish(KvHeadIndex head, const KvReader& rows,
                                    AttentionPart output) override {
    const StatusOr<const LaneAnswer*> waited = owner_.lane_->Wait(ticket_.get());
    if (!waited.ok()) {
      CountFailure();
      owner_.GiveUp(waited.status());
      return waited.status();
    }
    if (*waited == nullptr) {
      CountFailure();
      owner_.SitOut(KeyOf(task_.part, layout_));
      return ResourceExhausted("the queries want more rows than the device can name");
    }
    const auto begin = std::chrono::steady_clock::now();
    const LaneAnswer& answer = **waited;
    DeviceHeadReport report;
    report.device_ns = answer.device_ns;
    report.rest_estimated = layout_.form() == PartForm::kFlat;
    const std::vector<float> estimated = CopyAnswer(answer, head, output, &report);
    ALAYA_RETURN_IF_ERROR(AddHostWindows(head, rows, output, &report));
    ALAYA_RETURN_IF_ERROR(AddMissed(answer, head, rows, output, &report));
    for (uint32_t q = 0; q < task_.queries_per_head; ++q) {
      report.tokens_attended += report.query_tokens_attended[q];
      const double total = output.log_sum_exp[q];
      const double rest = std::isinf(total) ? 0 : std::exp(double{estimated[q]} - total);
      report.query_covered_mass.push_back(static_cast<float>(std::clamp(1 - rest, 0.0, 1.0)));
    }
    report.host_ns = NanosecondsSince(begin);
    return report;
  }

 private:
  // Of a head, in `queries_` and among the lane's.
  size_t FirstQuery(uint32_t head) const { return size_t{head} * task_.queries_per_head; }
  size_t FirstPlace(uint32_t head) const {
    return size_t{head} * tasks_per_head() * queries_per_task();
  }
  MatrixView<const float> Queries(KvHeadIndex head, size_t first, size_t count) const {
    const size_t row = task_.shape.head_dim;
    return {queries_.data() + (FirstQuery(ToInt(head)) + first) * row, count, row};
  }

  void CountFailure() {
    if (!has_failed_.exchange(true)) owner_.failure_count_.fetch_add(1, std::memory_order_relaxed);
  }

  // Returns ln of the estimated mass of every query.
  std::vector<float> CopyAnswer(const LaneAnswer& answer, KvHeadIndex head, AttentionPart output,
                                DeviceHeadReport* report) const {
    const size_t row = task_.shape.head_dim;
    std::vector<float> estimated;
    for (uint32_t q = 0; q < task_.queries_per_head; ++q) {
      const size_t place = FirstPlace(ToInt(head)) + q;
      std::copy_n(answer.outputs.begin() + static_cast<std::ptrdiff_t>(place * row), row,
                  output.output.row(q).begin());
      output.log_sum_exp[q] = answer.log_sum_exps[place];
      estimated.push_back(output.log_sum_exp[q] + std::log(answer.rest_shares[place]));
      report->query_tokens_attended.push_back(answer.tokens_attended[place] + split_.sink.size() +
                                              split_.recent.size());
    }
    const uint64_t windows = split_.sink.size() + split_.recent.size();
    report->tokens_scored = windows * task_.queries_per_head;
    for (uint32_t task = 0; task < tasks_per_head(); ++task) {
      const uint64_t scored = answer.rows_scored[ToInt(head) * tasks_per_head() + task];
      report->tokens_scored += scored * queries_per_task();
      owner_.cached_row_count_.fetch_add(scored, std::memory_order_relaxed);
    }
    return estimated;
  }

  Status AddHostWindows(KvHeadIndex head, const KvReader& rows, AttentionPart output,
                        DeviceHeadReport* report) const {
    for (const TokenRange range : {split_.host_first, split_.host_last}) {
      if (range.empty()) continue;
      const std::vector<TokenRange> visible(task_.queries_per_head, range);
      ALAYA_ASSIGN_OR_RETURN(
          const uint64_t scored,
          AddExactAttention({Queries(head, 0, task_.queries_per_head), visible, &rows, task_.scale},
                            output, {}));
      report->tokens_scored += scored;
      for (uint64_t& attended : report->query_tokens_attended) attended += range.size();
    }
    return OkStatus();
  }

  Status AddMissed(const LaneAnswer& answer, KvHeadIndex head, const KvReader& rows,
                   AttentionPart output, DeviceHeadReport* report) const {
    std::byte* const memory = owner_.device_->memory().data() + part_->block.offset();
    const RowCache cache = layout_.Task(memory, ToInt(head)).cache;
    const size_t rows_wanted =
        std::min<size_t>(size_t{cache.set_count} * kCacheWays, AdmitRows::kOffersMax);
    size_t missed_count = 0;
    for (uint32_t task = 0; task < tasks_per_head(); ++task) {
      const size_t first = size_t{task} * queries_per_task();
      const size_t count = std::min<size_t>(queries_per_task(), task_.queries_per_head - first);
      std::vector<uint32_t> entries = answer.missed[ToInt(head) * tasks_per_head() + task];
      missed_count += static_cast<size_t>(
          std::ranges::count_if(entries, [](uint32_t entry) { return MissedQueries(entry) != 0; }));
      const auto offer = [&](std::span<const uint32_t> tokens,
                             std::span<const std::byte* const> keys,
                             std::span<const std::byte* const> values) {
        owner_.lane_->OfferRows({part_, cache, task_.shape.dtype, tokens, keys, values});
      };
      ALAYA_ASSIGN_OR_RETURN(
          const std::vector<uint64_t> attended,
          AddMissedRows(
              {Queries(head, first, count), entries, &rows, task_.scale}, rows_wanted, offer,
              {output.output.rows_range(first, count), output.log_sum_exp.subspan(first, count)}));
      for (size_t q = 0; q < count; ++q) {
        report->tokens_scored += attended[q];
        report->query_tokens_attended[first + q] += attended[q];
      }
    }
    owner_.missed_row_count_.fetch_add(missed_count, std::memory_order_relaxed);
    owner_.Learn(KeyOf(task_.part, layout_), static_cast<double>(missed_count));
    return OkStatus();
  }

  CudaBackend& owner_;
  const DeviceTask task_;
  const TokenSplit split_;
  const PartLayout layout_;
  const std::shared_ptr<const ResidentIndex> part_;
  const std::vector<float> queries_;
  std::shared_ptr<BatchLane::Ticket> ticket_;
  std::atomic<bool> has_failed_{false};
};

class CudaBackend::StandingOffer final : public DeviceOffer {
 public:
  StandingOffer(CudaBackend* owner, const DeviceTask& task, const PartLayout& layout,
                std::shared_ptr<const ResidentIndex> part, DeviceCost cost)
      : owner_(owner), task_(task), layout_(layout), part_(std::move(part)), cost_(cost) {}

  DeviceCost cost() const override { return cost_; }

  StatusOr<std::unique_ptr<DeviceAttention>> Accept(MatrixView<const float> queries) override {
    ALAYA_CHECK(queries.rows() == size_t{task_.shape.kv_head_count} * task_.queries_per_head);
    std::vector<float> copy;
    copy.reserve(queries.rows() * queries.cols());
    for (size_t i = 0; i < queries.rows(); ++i) {
      copy.insert(copy.end(), queries.row(i).begin(), queries.row(i).end());
    }
    if (layout_.form() == PartForm::kCoarse) {
      return owner_->AcceptCoarse(task_, layout_, std::move(part_), std::move(copy));
    }
    auto accepted =
        std::make_unique<Accepted>(owner_, task_, layout_, std::move(part_), std::move(copy));
    accepted->Begin();
    return accepted;
  }

 private:
  CudaBackend* const owner_;
  const DeviceTask task_;
  const PartLayout layout_;
  std::shared_ptr<const ResidentIndex> part_;
  const DeviceCost cost_;
};

CudaBackendOptions CudaBackendOptions::ForBudget(uint64_t budget_bytes) {
  constexpr uint64_t kMebibyte = 1 << 20;
  CudaBackendOptions options;
  const uint64_t share = budget_bytes / 16;
  options.lane.scratch_bytes = std::clamp(share, kMebibyte, 1024 * kMebibyte);
  // A task's input and output take some 40 KiB at most.
  options.lane.task_count_max =
      static_cast<uint32_t>(std::clamp<uint64_t>(share / (64 << 10), 16, 1024));
  options.coarse_bytes = std::clamp(share / 4, kMebibyte / 4, 64 * kMebibyte);
  options.build_bytes = std::min(share, 256 * kMebibyte);
  options.lane.admit_bytes = std::clamp(share / 16, kMebibyte / 8, 4 * kMebibyte);
  return options;
}

StatusOr<std::unique_ptr<CudaBackend>> CudaBackend::Open(std::unique_ptr<Device> device,
                                                         CudaBackendOptions options) {
  std::unique_ptr<CudaBackend> backend(new CudaBackend(std::move(device), std::move(options)));
  ALAYA_RETURN_IF_ERROR(backend->Start());
  return backend;
}

Status CudaBackend::Start() {
  ALAYA_ASSIGN_OR_RETURN(lane_, BatchLane::Create(device_.get(), &pool_, options_.lane));
  ALAYA_ASSIGN_OR_RETURN(stretch_lane_,
                         StretchLane::Create(device_.get(), &pool_, options_.coarse_bytes));
  if (options_.costs) {
    costs_ = *options_.costs;
  } else {
    ALAYA_ASSIGN_OR_RETURN(
        costs_, MeasureDeviceCosts({device_.get(), &pool_, lane_.get(), stretch_lane_.get()},
                                   options_.calibration_tokens));
  }
  ALAYA_ASSIGN_OR_RETURN(loader_, PartLoader::Create(device_.get()));
  tier_ = std::make_unique<DeviceTier>(&pool_, loader_.get());
  if (options_.build_bytes > 0) {
    ALAYA_ASSIGN_OR_RETURN(
        nearest_keys_,
        DeviceNearestKeys::Create(device_.get(), &pool_, options_.build_bytes,
                                  {.on_lost = [this](const Status& status) { GiveUp(status); },
                                   .on_wrong = options_.on_wrong_build}));
  }
  promoter_ = std::thread([this] { Promote(); });
  return OkStatus();
}

CudaBackend::~CudaBackend() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  wanted_.notify_all();
  if (promoter_.joinable()) promoter_.join();
}

void CudaBackend::Promote() {
  std::unique_lock lock(mutex_);
  while (!is_stopping_) {
    wanted_.wait_for(lock, kPromoteInterval, [this] { return is_wanted_ || is_stopping_; });
    const bool was_wanted = std::exchange(is_wanted_, false);
    lock.unlock();
    for (const uint64_t segment : loader_->TakeGone()) Forget(segment);
    bool came = was_wanted;
    while (came) {
      came = tier_->Promote();
      const std::lock_guard check(mutex_);
      came &= !is_stopping_;
    }
    // It may have failed under the promotion.
    const Status status = tier_->stats().device_status;
    if (!status.ok()) GiveUp(status);
    lock.lock();
    // Looking for what deserves a place costs time: not for every use.
    if (was_wanted) wanted_.wait_for(lock, kPromotePause, [this] { return is_stopping_; });
  }
}

std::unique_ptr<DeviceOffer> CudaBackend::Offer(const DeviceTask& task,
                                                const DevicePartSource& source) {
  const std::optional<PartLayout> layout = LayoutFor(task);
  if (!layout || task.queries_per_head == 0 || task.queries_per_head > kQueriesPerHeadMax) {
    return nullptr;
  }
  if (!CanAnswer(task, *layout)) return nullptr;
  const TierKey key = KeyOf(task.part, *layout);
  {
    const std::lock_guard lock(mutex_);
    PartExperience& experience = experience_[key];
    if (experience.uses_to_sit_out > 0) {
      --experience.uses_to_sit_out;
      return nullptr;
    }
  }
  std::shared_ptr<const ResidentIndex> part = tier_->Use(key, layout->bytes());
  const std::lock_guard lock(mutex_);
  if (part == nullptr) {
    if (was_given_up_) return nullptr;
    loader_->SetSource(key, *layout, source);
    is_wanted_ = true;
    wanted_.notify_one();
    return nullptr;
  }
  return std::make_unique<StandingOffer>(this, task, *layout, std::move(part),
                                         CostOf(task, *layout, experience_[key].missed_rows));
}

bool CudaBackend::CanAnswer(const DeviceTask& task, const PartLayout& layout) const {
  if (layout.form() == PartForm::kCoarse) {
    return stretch_lane_->Fits(StretchTaskOf(layout, task.queries_per_head, nullptr));
  }
  if (layout.form() == PartForm::kFlat && TokenSplit(task, layout).searched.empty()) return false;
  return lane_->Fits(Accepted::Shape(task, layout));
}

DeviceCost CudaBackend::CostOf(const DeviceTask& task, const PartLayout& layout,
                               double missed_rows) const {
  const auto us = [](double call_us, double ns_each, uint64_t count) {
    return call_us + ns_each * static_cast<double>(count) / 1000;
  };
  const uint64_t task_count = Accepted::Shape(task, layout).task_count;
  DeviceCost cost;
  switch (layout.form()) {
    case PartForm::kFlat: {
      const TokenSplit split(task, layout);
      cost.kind = IndexKind::kFlat;
      cost.device_us = us(costs_.call_us, costs_.ns_per_token, task_count * task.shape.token_count);
      cost.rows_per_head =
          missed_rows + static_cast<double>(split.host_first.size() + split.host_last.size());
      break;
    }
    case PartForm::kWhole:
      cost.kind = IndexKind::kExact;
      cost.device_us = us(costs_.call_us, costs_.ns_per_row, task_count * task.visible.size());
      break;
    case PartForm::kCoarse:
      cost.kind = IndexKind::kCoarse;
      cost.device_us =
          us(costs_.coarse_call_us, costs_.ns_per_stretch,
             uint64_t{task.shape.kv_head_count} * task.queries_per_head * layout.stretch_count());
      break;
  }
  return cost;
}

StatusOr<std::unique_ptr<DeviceAttention>> CudaBackend::AcceptCoarse(
    const DeviceTask& task, const PartLayout& layout, std::shared_ptr<const ResidentIndex> part,
    std::vector<float> queries) {
  CoarsePart coarse = {layout, std::move(part), nullptr, nullptr};
  coarse.headers = loader_->headers(coarse.index->key);
  if (coarse.headers == nullptr) return Unavailable("the part is gone");
  coarse.memory = device_->memory().data() + coarse.index->block.offset();
  coarse_request_count_.fetch_add(1, std::memory_order_relaxed);
  return std::make_unique<CoarseAttention>(task, std::move(coarse), std::move(queries),
                                           stretch_lane_.get(), [this](const Status& status) {
                                             failure_count_.fetch_add(1, std::memory_order_relaxed);
                                             GiveUp(status);
                                           });
}

DeviceStats CudaBackend::stats() const {
  const DeviceTier::Stats tier = tier_->stats();
  const BatchLane::Stats lane = lane_->stats();
  const uint64_t coarse_requests = coarse_request_count_.load(std::memory_order_relaxed);
  const auto builds =
      nearest_keys_ == nullptr ? DeviceNearestKeys::Stats() : nearest_keys_->stats();
  return {.used_bytes = tier.memory.used_bytes,
          .capacity_bytes = tier.memory.budget_bytes,
          .part_count = tier.resident_count,
          .hit_count = tier.hit_count,
          .miss_count = tier.miss_count,
          .promotion_count = tier.promotion_count,
          .demotion_count = tier.demotion_count,
          .request_count = lane.request_count + coarse_requests,
          .batch_count = lane.batch_count + coarse_requests,
          .failure_count = failure_count_.load(std::memory_order_relaxed),
          .cached_row_count = cached_row_count_.load(std::memory_order_relaxed),
          .missed_row_count = missed_row_count_.load(std::memory_order_relaxed),
          .found_head_count = builds.found_count,
          .left_head_count = builds.left_count,
          .status = tier.device_status};
}

void CudaBackend::Learn(TierKey key, double missed_rows) {
  const std::lock_guard lock(mutex_);
  double& known = experience_[key].missed_rows;
  known = std::lerp(known, missed_rows, kNewestWeight);
}

void CudaBackend::Forget(uint64_t segment) {
  tier_->Forget(segment);
  const std::lock_guard lock(mutex_);
  std::erase_if(experience_, [&](const auto& entry) { return entry.first.segment == segment; });
}

void CudaBackend::SitOut(TierKey key) {
  const std::lock_guard lock(mutex_);
  experience_[key].uses_to_sit_out = kUsesToSitOut;
}

void CudaBackend::GiveUp(const Status& status) {
  tier_->GiveUp(status);
  // Whoever comes second waits until it is known.
  std::call_once(given_up_once_, [&] {
    was_given_up_ = true;
    if (options_.on_given_up) options_.on_given_up(status);
  });
}

}  // namespace alaya
