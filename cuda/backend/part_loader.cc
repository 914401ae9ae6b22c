#include "cuda/backend/part_loader.h"

#include <algorithm>
#include <cstring>
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
  sources_.try_emplace(key, Source{layout, source, nullptr});
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
  const size_t staging_bytes =
      std::max(2 * size_t{kRunTokens} * layout.row_bytes(), kIndexBlockBytesMax);
  if (!staging_ || staging_->bytes().size() < staging_bytes) {
    ALAYA_ASSIGN_OR_RETURN(staging_, device_->AllocatePinned(staging_bytes));
  }
  std::byte* const memory = device_->memory().data() + block.offset();
  const Status loaded = LoadHeads(key, layout, *rows, memory);
  if (loaded.ok()) return loaded;
  // The block goes back: nothing may write to it any more.
  const Status waited = queue_->Finish();
  return waited.ok() ? loaded : waited;
}

PartLoader::Headers PartLoader::headers(TierKey key) const {
  const std::lock_guard lock(mutex_);
  const auto found = sources_.find(key);
  return found == sources_.end() ? nullptr : found->second.headers;
}

Status PartLoader::LoadHeads(TierKey key, const PartLayout& layout, const DevicePartRows& rows,
                             std::byte* memory) {
  std::vector<StretchHeader> headers;
  for (uint32_t h = 0; h < layout.shape().kv_head_count; ++h) {
    const KvHeadIndex head{h};
    switch (layout.form()) {
      case PartForm::kFlat:
        ALAYA_RETURN_IF_ERROR(LoadHead(layout, rows.head(head), memory, h));
        break;
      case PartForm::kWhole:
        ALAYA_RETURN_IF_ERROR(LoadWholeHead(layout, rows.head(head), memory, h));
        break;
      case PartForm::kCoarse: {
        ALAYA_ASSIGN_OR_RETURN(
            StretchHeader header,
            LoadCoarseHead(layout, rows.coarse(head), memory + h * layout.head_bytes()));
        headers.push_back(std::move(header));
        break;
      }
    }
  }
  const std::lock_guard lock(mutex_);
  const auto source = sources_.find(key);
  if (source != sources_.end() && !headers.empty()) {
    source->second.headers = std::make_shared<const std::vector<StretchHeader>>(std::move(headers));
  }
  return OkStatus();
}

Status PartLoader::LoadWholeHead(const PartLayout& layout, const KvReader& rows, std::byte* memory,
                                 uint32_t head) {
  const TokenRange all = {0, layout.shape().token_count};
  for (uint64_t first = 0; first < all.end; first += kRunTokens) {
    const TokenRange run = {first, std::min(first + kRunTokens, all.end)};
    ALAYA_RETURN_IF_ERROR(StageRun(layout, rows, run));
    ALAYA_RETURN_IF_ERROR(CopyWindow(layout, all, run, 0, layout.Windows(memory, head)));
    ALAYA_RETURN_IF_ERROR(queue_->Finish());
  }
  return OkStatus();
}

StatusOr<StretchHeader> PartLoader::LoadCoarseHead(const PartLayout& layout,
                                                   const IndexBlockReader* blocks,
                                                   std::byte* memory) {
  if (blocks == nullptr) return NotFound("the part has no coarse index");
  ALAYA_ASSIGN_OR_RETURN(StretchHeader header, ReadStretchHeader(*blocks));
  if (header.token_count != layout.shape().token_count ||
      header.head_dim != layout.shape().head_dim ||
      header.stretch_tokens != PartLayout::kStretchTokens) {
    return NotFound("the part has a coarse index of another shape");
  }
  size_t left = size_t{layout.stretch_count()} * layout.row_bytes();
  for (size_t b = 1; b < blocks->block_count(); ++b) {
    ALAYA_ASSIGN_OR_RETURN(const PinnedBytes block, blocks->ReadBlock(b));
    if (block.bytes.size() > left) return DataLoss("coarse blocks: long block");
    std::memcpy(staging_->data(), block.bytes.data(), block.bytes.size());
    ALAYA_RETURN_IF_ERROR(
        queue_->CopyToDevice(staging_->bytes().first(block.bytes.size()), memory));
    ALAYA_RETURN_IF_ERROR(queue_->Finish());
    memory += block.bytes.size();
    left -= block.bytes.size();
  }
  if (left > 0) return DataLoss("coarse blocks: short block");
  return header;
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
  return queue_->Finish();
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
  return queue_->Finish();
}

Status PartLoader::LoadRun(const PartLayout& layout, const KvReader& rows, const FlatHead& head,
                           TokenRange run, std::byte* windows) {
  const uint32_t row_bytes = layout.row_bytes();
  std::byte* const keys = staging_->data();
  std::byte* const values = keys + size_t{kRunTokens} * row_bytes;
  ALAYA_RETURN_IF_ERROR(StageRun(layout, rows, run));
  EncodeTask task;
  task.keys = {keys, row_bytes, layout.shape().dtype};
  task.values = {values, row_bytes, layout.shape().dtype};
  task.head = head;
  task.row_count = static_cast<uint32_t>(run.size());
  task.first_token = static_cast<uint32_t>(run.begin);
  ALAYA_RETURN_IF_ERROR(queue_->EncodeGroups(task));
  const uint64_t token_count = layout.shape().token_count;
  ALAYA_RETURN_IF_ERROR(CopyWindow(layout, {0, layout.sink_tokens()}, run, 0, windows));
  ALAYA_RETURN_IF_ERROR(CopyWindow(layout, {token_count - layout.recent_tokens(), token_count}, run,
                                   layout.sink_tokens(), windows));
  return queue_->Finish();
}

Status PartLoader::StageRun(const PartLayout& layout, const KvReader& rows, TokenRange run) {
  const auto first = static_cast<uint32_t>(run.begin);
  const auto count = static_cast<uint32_t>(run.size());
  const uint32_t row_bytes = layout.row_bytes();
  ALAYA_RETURN_IF_ERROR(
      GatherRows(rows, KvKind::kKey, first, 1, count, row_bytes, staging_->data()));
  return GatherRows(rows, KvKind::kValue, first, 1, count, row_bytes,
                    staging_->data() + size_t{kRunTokens} * row_bytes);
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

}  // namespace alaya
