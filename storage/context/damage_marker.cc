// The marker is one line of text for people: what was damaged.

#include "storage/context/damage_marker.h"

#include <algorithm>
#include <fstream>

#include "storage/file/file_system.h"

namespace alaya {
namespace {

std::string MarkerPath(const std::string& directory) { return directory + "/" + kDamageMarker; }

Status Write(const std::string& directory, std::string_view damage) {
  std::string line(damage);
  // Keys of damaged records are binary.
  std::ranges::replace_if(
      line, [](char c) { return c < ' ' || c > '~'; }, '?');
  const Status written = WriteFileSynced(MarkerPath(directory), line + "\n");
  ALAYA_RETURN_IF_ERROR(written);
  return SyncDirectory(directory);
}

}  // namespace

void DamageMarker::Record(std::string_view damage) {
  if (recorded_.exchange(true)) return;
  const Status written =
      PathExists(MarkerPath(directory_)) ? OkStatus() : Write(directory_, damage);
  if (!log_) return;
  const std::string text(damage);
  if (written.ok()) {
    log_(StorageLogLevel::kError,
         "damage found, the next start will ask for --accept-damage: " + text);
  } else {
    log_(StorageLogLevel::kError,
         "damage found: " + text + "; it could not be marked: " + std::string(Message(written)));
  }
}

Status CheckDamageMarker(const std::string& directory, bool accept, const StorageLog& log) {
  const std::string path = MarkerPath(directory);
  if (!PathExists(path)) return OkStatus();
  std::string damage;
  std::ifstream stream(path);
  std::getline(stream, damage);
  if (!accept) {
    return FailedPrecondition(
        path + ": damage was found before: " + damage + ". 'alayactl verify " + directory +
        "' tells which contexts are damaged; restore a backup, or start with --accept-damage, "
        "which forgets this and serves what is sound");
  }
  if (log) log(StorageLogLevel::kWarning, "damage was accepted: " + damage);
  ALAYA_RETURN_IF_ERROR(RemoveTree(path));
  return SyncDirectory(directory);
}

}  // namespace alaya
