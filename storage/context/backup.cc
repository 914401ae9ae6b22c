// The manifest is text: "alayadb backup 1", then one line per file of the database,
// "<bytes> <XXH3-64 as 16 hexadecimal digits> <path>", sorted by path.

#include "storage/context/backup.h"

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string_view>
#include <utility>

#include "storage/file/file_system.h"

namespace alaya {
namespace {

constexpr char kTitle[] = "alayadb backup 1\n";

struct Manifest {
  std::string text;
  uint64_t bytes = 0;
};

StatusOr<Manifest> DescribeFiles(const std::string& directory) {
  const std::string database = directory + "/" + kDatabaseDirectory;
  ALAYA_ASSIGN_OR_RETURN(const auto files, ListFilesBelow(database));
  Manifest manifest{kTitle, 0};
  for (const std::string& file : files) {
    ALAYA_ASSIGN_OR_RETURN(const FileDigest digest, DigestFile(database + "/" + file));
    char hex[17];
    std::snprintf(hex, sizeof(hex), "%016" PRIx64, digest.xxh3);
    manifest.text += std::to_string(digest.bytes) + " " + hex + " " + file + "\n";
    manifest.bytes += digest.bytes;
  }
  return manifest;
}

StatusOr<uint64_t> FillBackup(Database* database, const std::string& directory) {
  ALAYA_RETURN_IF_ERROR(CreateDirectories(directory));
  ALAYA_RETURN_IF_ERROR(database->Checkpoint(directory + "/" + kDatabaseDirectory));
  ALAYA_ASSIGN_OR_RETURN(const Manifest manifest, DescribeFiles(directory));
  ALAYA_RETURN_IF_ERROR(WriteFileSynced(directory + "/" + kBackupManifest, manifest.text));
  ALAYA_RETURN_IF_ERROR(SyncDirectory(directory));
  return manifest.bytes + manifest.text.size();
}

std::string ParentOf(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// The line of `text` that differs first, or its end.
std::string FirstDifference(std::string_view text, std::string_view other) {
  std::istringstream lines{std::string(text)};
  std::istringstream other_lines{std::string(other)};
  std::string line;
  std::string other_line;
  while (std::getline(lines, line) && std::getline(other_lines, other_line)) {
    if (line != other_line) break;
  }
  return line;
}

}  // namespace

StatusOr<uint64_t> WriteBackup(Database* database, const std::string& directory) {
  std::string target = directory;
  while (target.size() > 1 && target.back() == '/') target.pop_back();
  if (target.empty()) return InvalidArgument("a backup needs a directory");
  if (PathExists(target)) return AlreadyExists("backup directory " + target + " exists");
  const std::string partial = target + ".partial";
  ALAYA_RETURN_IF_ERROR(RemoveTree(partial));
  StatusOr<uint64_t> bytes = FillBackup(database, partial);
  Status status = bytes.status();
  if (status.ok()) status = RenamePath(partial, target);
  if (status.ok()) status = SyncDirectory(ParentOf(target));
  if (status.ok()) return bytes;
  RemoveTree(partial).IgnoreError();
  return status;
}

Status VerifyBackup(const std::string& directory) {
  std::ifstream file(directory + "/" + kBackupManifest, std::ios::binary);
  if (!file) return NotFound(directory + " holds no backup manifest");
  std::ostringstream stored;
  stored << file.rdbuf();
  ALAYA_ASSIGN_OR_RETURN(const Manifest found, DescribeFiles(directory));
  if (stored.str() == found.text) return OkStatus();
  return DataLoss("backup " + directory + " differs from its manifest at '" +
                  FirstDifference(stored.str(), found.text) + "'");
}

}  // namespace alaya
