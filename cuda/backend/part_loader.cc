#include "cuda/backend/part_loader.h"

#include <algorithm>
#include <string>
#include <utility>

#include "cuda/backend/row_runs.h"
#include "cuda/kernels/flat_encode.cuh"

namespace alaya {

StatusOr<std::unique_ptr<PartLoader>> PartLoader::Create(Device* device) {
  ALAYA_ASSIGN_OR_RETURN(std::unique_ptr<DeviceQueue> queue, device->CreateQueue());
  return std::unique_ptr<PartLoader>(new PartLoader(device, std::move(queue)));
}

void PartLoader::SetSource(TierKey key, const PartLayout& layout, const DevicePartSource& source) {
  const std::lock_guard lock(mutex_);
  sources_.try_emplace(key, Source{layout, source});
}

std::vector<uint64_t> PartLoader::TakeGone() {
  const std::lock_guard lock(mutex_);
  std::vector<uint64_t> segments;
  std::erase_if(sources_, [&](const auto& entry) {
    if (!entry.second.rows.owner.expired()) return false;
    if (segments.empty() || segments.back() != entry.first.segment) {
      segments.push_back(entry.first.segment);
    }
    return true;
  });
  return segments;
}

Status PartLoader::Load(TierKey key, const PoolBlock& block) {
  std::optional<Source> source;
  {
    const std::lock_guard lock(mutex_);
    const auto found = sources_.find(key);
    if (found != sources_.end()) source = found->second;
  }
  const auto rows = source ? source->rows.open() : nullptr;
  if (rows == nullptr) {
    return NotFound("segment " + std::to_string(key.segment) + " is gone");
  }
  const PartLayout& layout = source->layout;
  const size_t staging_bytes = 2 * size_t{kRunTokens} * layout.row_bytes();
  if (!staging_ || staging_->bytes().size() < staging_bytes) {
    ALAYA_ASSIGN_OR_RETURN(staging_, device_->AllocatePinned(staging_bytes));
  }
  std::byte* const memory = device_->memory().data() + block.offset();
  for (uint32_t head = 0; head < layout.shape().kv_head_count; ++head) {
    const Status loaded = LoadHead(layout, rows->head(KvHeadIndex{head}), memory, head);
    if (loaded.ok()) continue;
    // The block goes back: nothing may write to it any more.
    const Status waited = WaitForDevice();
    return waited.ok() ? loaded : waited;
  }
  return OkStatus();
}

Status PartLoader::LoadHead(const PartLayout& layout, const KvReader& rows, std::byte* memory,
                            uint32_t head) {
  const SparseTask task = layout.Task(memory, head);
  std::byte* const windows = layout.Windows(memory, head);
  ALAYA_RETURN_IF_ERROR(LoadCentre(layout, rows, task.head));
  const uint64_t token_count = layout.shape().token_count;
  for (uint64_t first = 0; first < token_count; first += kRunTokens) {
    const TokenRange run = {first, std::min(first + kRunTokens, token_count)};
    ALAYA_RETURN_IF_ERROR(LoadRun(layout, rows, task.head, run, windows));
  }
  const RowCache& cache = task.cache;
  ALAYA_RETURN_IF_ERROR(queue_->Clear(reinterpret_cast<std::byte*>(cache.tags),
                                      RowCacheBytes(cache.set_count, cache.head_dim)));
  return WaitForDevice();
}

Status PartLoader::LoadCentre(const PartLayout& layout, const KvReader& rows,
                              const FlatHead& head) {
  constexpr uint32_t kSample = EncodeCentre::kSampleTokens;
  const uint32_t step = (head.token_count + kSample - 1) / kSample;
  const uint32_t count = (head.token_count + step - 1) / step;
  ALAYA_RETURN_IF_ERROR(
      GatherRows(rows, KvKind::kKey, 0, step, count, layout.row_bytes(), staging_->data()));
  EncodeTask task;
  task.keys = {staging_->data(), layout.row_bytes(), layout.shape().dtype};
  task.values = task.keys;
  task.head = head;
  task.row_count = count;
  ALAYA_RETURN_IF_ERROR(queue_->EncodeCentre(task));
  return WaitForDevice();
}

Status PartLoader::LoadRun(const PartLayout& layout, const KvReader& rows, const FlatHead& head,
                           TokenRange run, std::byte* windows) {
  const uint32_t row_bytes = layout.row_bytes();
  std::byte* const keys = staging_->data();
  std::byte* const values = keys + size_t{kRunTokens} * row_bytes;
  EncodeTask task;
  task.keys = {keys, row_bytes, layout.shape().dtype};
  task.values = {values, row_bytes, layout.shape().dtype};
  task.head = head;
  task.row_count = static_cast<uint32_t>(run.size());
  task.first_token = static_cast<uint32_t>(run.begin);
  ALAYA_RETURN_IF_ERROR(
      GatherRows(rows, KvKind::kKey, task.first_token, 1, task.row_count, row_bytes, keys));
  ALAYA_RETURN_IF_ERROR(
      GatherRows(rows, KvKind::kValue, task.first_token, 1, task.row_count, row_bytes, values));
  ALAYA_RETURN_IF_ERROR(queue_->EncodeGroups(task));
  const uint64_t token_count = layout.shape().token_count;
  ALAYA_RETURN_IF_ERROR(CopyWindow(layout, {0, layout.sink_tokens()}, run, 0, windows));
  ALAYA_RETURN_IF_ERROR(CopyWindow(layout, {token_count - layout.recent_tokens(), token_count}, run,
                                   layout.sink_tokens(), windows));
  return WaitForDevice();
}

Status PartLoader::CopyWindow(const PartLayout& layout, TokenRange window, TokenRange run,
                              uint32_t first_row, std::byte* windows) {
  const TokenRange part = Intersect(run, window);
  if (part.empty()) return OkStatus();
  const size_t row_bytes = layout.row_bytes();
  const size_t from = (part.begin - run.begin) * row_bytes;
  std::byte* const keys = windows + (first_row + part.begin - window.begin) * row_bytes;
  std::byte* const values =
      keys + (size_t{layout.sink_tokens()} + layout.recent_tokens()) * row_bytes;
  const size_t bytes = part.size() * row_bytes;
  const size_t staged_values = size_t{kRunTokens} * row_bytes;
  ALAYA_RETURN_IF_ERROR(queue_->CopyToDevice(staging_->bytes().subspan(from, bytes), keys));
  return queue_->CopyToDevice(staging_->bytes().subspan(staged_values + from, bytes), values);
}

Status PartLoader::WaitForDevice() {
  ALAYA_RETURN_IF_ERROR(queue_->Mark());
  return queue_->Wait();
}

}  // namespace alaya
