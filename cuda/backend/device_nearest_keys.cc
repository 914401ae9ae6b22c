#include "cuda/backend/device_nearest_keys.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include "cuda/backend/row_runs.h"
#include "cuda/kernels/flat_head.h"
#include "cuda/kernels/nearest_keys.h"

namespace alaya {
namespace {

Status Cancelled() { return MakeError(StatusCode::kCancelled, "index build cancelled"); }

}  // namespace

struct DeviceNearestKeys::Layout {
  // None: this does not fit `memory`, or a device cannot find it.
  static std::optional<Layout> Of(const NearestKeyQuery& query, size_t width, DType dtype,
                                  std::span<std::byte> memory) {
    const size_t head_dim = query.keys->head_dim();
    const size_t token_count = query.keys->token_count();
    if (head_dim % 8 != 0 || head_dim > kHeadDimMaxOnDevice || width > kNearestMax || width == 0 ||
        token_count > std::numeric_limits<uint32_t>::max() || token_count <= query.first_token) {
      return std::nullopt;
    }
    Layout layout;
    layout.row_bytes = head_dim * ElementBytes(dtype);
    layout.task.head_dim = static_cast<uint32_t>(head_dim);
    layout.task.width = static_cast<uint32_t>(width);
    layout.task.first_token = query.first_token;
    layout.task.token_count = static_cast<uint32_t>(token_count) - query.first_token;
    const size_t key_bytes = MemoryPool::RoundUp(layout.row_bytes * layout.task.token_count);
    const size_t query_bytes = head_dim * sizeof(float) + width * sizeof(uint32_t) +
                               NearestScratchBytes(1, layout.task.width, layout.task.token_count);
    const size_t rounding = 3 * MemoryPool::kAlignment;
    if (key_bytes + rounding + query_bytes > memory.size()) return std::nullopt;
    layout.batch_queries = static_cast<uint32_t>(std::min<size_t>(
        {(memory.size() - key_bytes - rounding) / query_bytes, size_t{kBatchQueriesMax},
         kStagingBytes / (std::max(head_dim, width) * sizeof(float))}));
    std::byte* next = memory.data();
    const auto take = [&](size_t bytes) {
      return std::exchange(next, next + MemoryPool::RoundUp(bytes));
    };
    layout.keys = take(key_bytes);
    layout.queries = take(layout.batch_queries * head_dim * sizeof(float));
    layout.task.scratch =
        take(NearestScratchBytes(layout.batch_queries, layout.task.width, layout.task.token_count));
    layout.task.tokens = reinterpret_cast<uint32_t*>(next);
    layout.task.keys = {layout.keys, layout.row_bytes, dtype};
    layout.task.queries = reinterpret_cast<const float*>(layout.queries);
    return layout;
  }

  NearestTask task;  // of a batch; query_count is set for each
  size_t row_bytes = 0;
  uint32_t batch_queries = 0;
  std::byte* keys = nullptr;
  std::byte* queries = nullptr;
};

StatusOr<std::unique_ptr<DeviceNearestKeys>> DeviceNearestKeys::Create(Device* device,
                                                                       MemoryPool* pool,
                                                                       uint64_t workspace_bytes,
                                                                       Callbacks callbacks) {
  std::unique_ptr<DeviceNearestKeys> finder(new DeviceNearestKeys(device, std::move(callbacks)));
  ALAYA_ASSIGN_OR_RETURN(finder->queue_, device->CreateQueue());
  ALAYA_ASSIGN_OR_RETURN(PinnedBuffer staging, device->AllocatePinned(kStagingBytes));
  finder->staging_ = std::make_unique<PinnedBuffer>(std::move(staging));
  ALAYA_ASSIGN_OR_RETURN(finder->workspace_, pool->Allocate(workspace_bytes));
  return finder;
}

StatusOr<bool> DeviceNearestKeys::Find(const NearestKeyQuery& query, MatrixView<uint32_t> lists) {
  const std::lock_guard lock(mutex_);
  const auto leave = [&] {
    left_count_.fetch_add(1, std::memory_order_relaxed);
    return false;
  };
  if (is_off_ || query.keys->token_count() == 0) return leave();
  ALAYA_ASSIGN_OR_RETURN(const PinnedRows first, query.keys->ReadBlock(KvKind::kKey, 0));
  const std::span<std::byte> workspace =
      device_.memory().subspan(workspace_.offset(), workspace_.bytes());
  const std::optional<Layout> layout = Layout::Of(query, lists.cols(), first.rows.dtype, workspace);
  if (!layout) return leave();
  Status lost;
  ALAYA_RETURN_IF_ERROR(FindOnDevice(query, *layout, lists, &lost));
  if (!lost.ok()) {
    if (!is_off_.exchange(true) && callbacks_.on_lost) callbacks_.on_lost(lost);
    return leave();
  }
  found_count_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void DeviceNearestKeys::GiveUp(const Status& why) {
  found_count_.fetch_sub(1, std::memory_order_relaxed);
  left_count_.fetch_add(1, std::memory_order_relaxed);
  if (!is_off_.exchange(true) && callbacks_.on_wrong) callbacks_.on_wrong(why);
}

DeviceNearestKeys::Stats DeviceNearestKeys::stats() const {
  return {found_count_.load(std::memory_order_relaxed),
          left_count_.load(std::memory_order_relaxed)};
}

Status DeviceNearestKeys::FindOnDevice(const NearestKeyQuery& query, const Layout& layout,
                                       MatrixView<uint32_t> lists, Status* lost) {
  ALAYA_RETURN_IF_ERROR(LoadKeys(query, layout, lost));
  for (size_t begin = 0; begin < lists.rows() && lost->ok(); begin += layout.batch_queries) {
    if (query.should_stop && query.should_stop()) return Cancelled();
    const size_t count = std::min<size_t>(layout.batch_queries, lists.rows() - begin);
    *lost =
        FindBatch(layout, query.queries.rows_range(begin, count), lists.rows_range(begin, count));
  }
  return OkStatus();
}

Status DeviceNearestKeys::LoadKeys(const NearestKeyQuery& query, const Layout& layout,
                                   Status* lost) {
  const auto run_tokens = static_cast<uint32_t>(kStagingBytes / layout.row_bytes);
  for (uint32_t begin = 0; begin < layout.task.token_count && lost->ok(); begin += run_tokens) {
    if (query.should_stop && query.should_stop()) return Cancelled();
    const uint32_t count = std::min(run_tokens, layout.task.token_count - begin);
    ALAYA_RETURN_IF_ERROR(GatherRows(*query.keys, KvKind::kKey, query.first_token + begin, 1, count,
                                     static_cast<uint32_t>(layout.row_bytes), staging_->data()));
    *lost = queue_->CopyToDevice(staging_->bytes().first(count * layout.row_bytes),
                                 layout.keys + begin * layout.row_bytes);
    if (lost->ok()) *lost = queue_->Finish();
  }
  return OkStatus();
}

Status DeviceNearestKeys::FindBatch(const Layout& layout, MatrixView<const float> queries,
                                    MatrixView<uint32_t> lists) {
  const size_t row_bytes = queries.cols() * sizeof(float);
  for (size_t q = 0; q < queries.rows(); ++q) {
    std::memcpy(staging_->data() + q * row_bytes, queries.row(q).data(), row_bytes);
  }
  ALAYA_RETURN_IF_ERROR(
      queue_->CopyToDevice(staging_->bytes().first(queries.rows() * row_bytes), layout.queries));
  NearestTask task = layout.task;
  task.query_count = static_cast<uint32_t>(queries.rows());
  ALAYA_RETURN_IF_ERROR(queue_->FindNearest(task));
  const size_t list_bytes = lists.cols() * sizeof(uint32_t);
  ALAYA_RETURN_IF_ERROR(queue_->CopyToHost(reinterpret_cast<const std::byte*>(task.tokens),
                                           staging_->bytes().first(lists.rows() * list_bytes)));
  ALAYA_RETURN_IF_ERROR(queue_->Finish());
  for (size_t q = 0; q < lists.rows(); ++q) {
    std::memcpy(lists.row(q).data(), staging_->data() + q * list_bytes, list_bytes);
  }
  return OkStatus();
}

}  // namespace alaya
