#include "storage/context/disk_reserve.h"

#include <utility>

#include "storage/file/file_system.h"

namespace alaya {
namespace {

// Free space is looked up after so many bytes.
constexpr uint64_t kCheckBytes = uint64_t{16} << 20;

}  // namespace

DiskReserve::DiskReserve(std::string directory, uint64_t reserve_bytes, DiskQuota* quota)
    : directory_(std::move(directory)),
      reserve_bytes_(reserve_bytes),
      quota_(quota),
      unchecked_bytes_(kCheckBytes) {}

DiskReserve::~DiskReserve() {
  if (quota_ != nullptr) quota_->RemoveWriting(written_bytes_);
}

void DiskReserve::CountWritten(uint64_t bytes) {
  unchecked_bytes_ += bytes;
  written_bytes_ += bytes;
  if (quota_ != nullptr) quota_->AddWriting(bytes);
}

Status DiskReserve::Check() {
  if (unchecked_bytes_ < kCheckBytes) return OkStatus();
  unchecked_bytes_ = 0;
  if (quota_ != nullptr) ALAYA_RETURN_IF_ERROR(quota_->Check());
  if (reserve_bytes_ == 0) return OkStatus();
  ALAYA_ASSIGN_OR_RETURN(const uint64_t free_bytes, FreeBytes(directory_));
  if (free_bytes >= reserve_bytes_) return OkStatus();
  return ResourceExhausted("the disk has " + std::to_string(free_bytes) + " bytes left, " +
                           std::to_string(reserve_bytes_) + " are kept in reserve");
}

}  // namespace alaya
