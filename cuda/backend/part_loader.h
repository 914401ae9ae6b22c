// Brings parts to a device: reads their rows in runs, has the device make the indexes,
// and leaves the rows of the first and last tokens there; or all rows, or the blocks of the
// coarse index.

#ifndef ALAYA_CUDA_BACKEND_PART_LOADER_H_
#define ALAYA_CUDA_BACKEND_PART_LOADER_H_

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "cuda/backend/part_layout.h"
#include "cuda/device/device.h"
#include "cuda/device/device_tier.h"
#include "index/attention/attention_device.h"
#include "index/coarse/stretch_bounds.h"
#include "storage/types/status.h"

namespace alaya {

// Threads: any, one Load at a time.
class PartLoader : public IndexLoader {
 public:
  // `device` must outlive the loader.
  // Errors: what the device returns.
  static StatusOr<std::unique_ptr<PartLoader>> Create(Device* device);

  // Where the rows of a part will come from.
  void SetSource(TierKey key, const PartLayout& layout, const DevicePartSource& source);
  // Forgets the sources of parts that are gone, and returns their segments.
  std::vector<uint64_t> TakeGone();

  // Errors: Unavailable if the device failed; whatever a block read returns; NotFound if
  //   the part is gone, or has no such index.
  Status Load(TierKey key, const PoolBlock& block) override;

  // What the bytes of a kCoarse part stand for, by head; null until it was loaded.
  using Headers = std::shared_ptr<const std::vector<StretchHeader>>;
  Headers headers(TierKey key) const;

 private:
  // Rows that are within the device's reach at a time.
  static constexpr uint32_t kRunTokens = 4096;

  struct Source {
    PartLayout layout;
    DevicePartSource rows;
    Headers headers;
  };

  PartLoader(Device* device, std::unique_ptr<DeviceQueue> queue)
      : device_(device), queue_(std::move(queue)) {}

  Status LoadHeads(TierKey key, const PartLayout& layout, const DevicePartRows& rows,
                   std::byte* memory);
  Status LoadHead(const PartLayout& layout, const KvReader& rows, std::byte* memory, uint32_t head);
  Status LoadWholeHead(const PartLayout& layout, const KvReader& rows, std::byte* memory,
                       uint32_t head);
  StatusOr<StretchHeader> LoadCoarseHead(const PartLayout& layout, const IndexBlockReader* blocks,
                                         std::byte* memory);
  Status LoadCentre(const PartLayout& layout, const KvReader& rows, const FlatHead& head);
  // Keys and values of the run, to the staging buffer.
  Status StageRun(const PartLayout& layout, const KvReader& rows, TokenRange run);
  // Tokens `run` of the index, and those of them that are in a window.
  Status LoadRun(const PartLayout& layout, const KvReader& rows, const FlatHead& head,
                 TokenRange run, std::byte* windows);
  // Tokens of the run to row `first_row` of the windows on.
  Status CopyWindow(const PartLayout& layout, TokenRange window, TokenRange run, uint32_t first_row,
                    std::byte* windows);

  Device* const device_;
  const std::unique_ptr<DeviceQueue> queue_;
  std::optional<PinnedBuffer> staging_;  // keys, then values of a run

  mutable std::mutex mutex_;
  std::map<TierKey, Source> sources_;  // guarded by mutex_
};

}  // namespace alaya

#endif  // ALAYA_CUDA_BACKEND_PART_LOADER_H_
