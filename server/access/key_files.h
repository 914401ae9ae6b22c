// The files that hold the keys, read again when they change.
//
// Several files may be given, each with several keys, so that a key can be replaced
// without a moment in which neither counts: add the new one, move the clients, take the
// old one out.

#ifndef ALAYA_SERVER_ACCESS_KEY_FILES_H_
#define ALAYA_SERVER_ACCESS_KEY_FILES_H_

#include <string>
#include <vector>

#include "server/access/key_ring.h"
#include "storage/types/status.h"

namespace alaya {

// Not thread-safe; the ring is.
class KeyFiles {
 public:
  // `ring` must outlive it.
  KeyFiles(std::vector<std::string> paths, KeyRing* ring) : paths_(std::move(paths)), ring_(ring) {}

  // Reads the files; true if they differ from what was read before. On an error the keys
  // stay as they are, and the same error is reported once only, unless `again`.
  // Errors: InvalidArgument, naming the file and line; also if no key is left.
  StatusOr<bool> Load(bool again = false);

 private:
  const std::vector<std::string> paths_;
  KeyRing* const ring_;
  std::vector<std::string> texts_;  // as last looked at
};

// The whole file. Errors: InvalidArgument, naming it.
StatusOr<std::string> ReadTextFile(const std::string& path);

}  // namespace alaya

#endif  // ALAYA_SERVER_ACCESS_KEY_FILES_H_
