#include "storage/database/rocksdb_status.h"

#include <string>

namespace alaya {
namespace {

StatusCode Code(const rocksdb::Status& status) {
  // A full disk comes as an IOError with a subcode, also from the background.
  if (status.IsNoSpace() || status.subcode() == rocksdb::Status::kSpaceLimit ||
      status.IsMemoryLimit()) {
    return StatusCode::kResourceExhausted;
  }
  switch (status.code()) {
    case rocksdb::Status::kOk:
      return StatusCode::kOk;
    case rocksdb::Status::kNotFound:
      return StatusCode::kNotFound;
    case rocksdb::Status::kCorruption:
      return StatusCode::kDataLoss;
    case rocksdb::Status::kBusy:
    case rocksdb::Status::kTryAgain:
    case rocksdb::Status::kTimedOut:
    case rocksdb::Status::kShutdownInProgress:
    case rocksdb::Status::kIncomplete:
      return StatusCode::kUnavailable;
    default:
      // What we ask of RocksDB is valid, so the rest is the disk or a defect.
      return StatusCode::kInternal;
  }
}

}  // namespace

Status FromRocksDb(const rocksdb::Status& status, std::string_view action) {
  if (status.ok()) return OkStatus();
  return MakeError(Code(status), "cannot " + std::string(action) + ": " + status.ToString());
}

}  // namespace alaya
