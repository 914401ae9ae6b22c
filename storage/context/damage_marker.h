// The file `DAMAGED` of a data directory: damage was found there, and the next start must
// not go on as if nothing had happened.
//
// A damaged page costs the contexts that it belongs to and no others, so a server that
// finds one goes on serving. But a disk that lied once should be looked at before a
// process begins to trust it again, and a supervisor that restarts it does not look.

#ifndef ALAYA_STORAGE_CONTEXT_DAMAGE_MARKER_H_
#define ALAYA_STORAGE_CONTEXT_DAMAGE_MARKER_H_

#include <atomic>
#include <string>
#include <string_view>

#include "storage/database/storage_log.h"
#include "storage/types/status.h"

namespace alaya {

inline constexpr char kDamageMarker[] = "DAMAGED";

// Threads: any.
class DamageMarker {
 public:
  // `log` may be null.
  DamageMarker(std::string directory, StorageLog log)
      : directory_(std::move(directory)), log_(std::move(log)) {}

  // Writes the marker, durably, unless it was written before; the first damage is what it
  // tells. A disk that takes no file is logged.
  void Record(std::string_view damage);

 private:
  const std::string directory_;
  const StorageLog log_;
  std::atomic<bool> recorded_{false};
};

// Errors: FailedPrecondition if the directory has a marker and `accept` is false, with what
//   it tells and how to go on. With `accept` the marker is removed.
Status CheckDamageMarker(const std::string& directory, bool accept, const StorageLog& log);

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_DAMAGE_MARKER_H_
