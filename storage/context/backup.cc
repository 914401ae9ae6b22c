// The manifest is text: "alayadb backup 1", then one line per file of the database,
// "<bytes> <XXH3-64 as 16 hexadecimal digits> <path>", sorted by path.

#include "storage/context/backup.h"

#include <algorithm>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <set>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

#include "storage/file/file_system.h"

namespace alaya {
namespace {

constexpr std::string_view kTitle = "alayadb backup 1";

struct ManifestFile {
  std::string path;  // below the database's directory
  FileDigest digest;
};

std::string ToLine(const ManifestFile& file) {
  char hex[17];
  std::snprintf(hex, sizeof(hex), "%016" PRIx64, file.digest.xxh3);
  return std::to_string(file.digest.bytes) + " " + hex + " " + file.path;
}

// False for a line of another form.
bool ParseLine(std::string_view line, ManifestFile* file) {
  const size_t first_space = line.find(' ');
  const size_t second_space = line.find(' ', first_space + 1);
  if (first_space == std::string_view::npos || second_space == std::string_view::npos) return false;
  const char* const begin = line.data();
  const char* const bytes_end = begin + first_space;
  const char* const hash_end = begin + second_space;
  const auto bytes = std::from_chars(begin, bytes_end, file->digest.bytes);
  const auto hash = std::from_chars(bytes_end + 1, hash_end, file->digest.xxh3, 16);
  file->path = line.substr(second_space + 1);
  // A path leads nowhere but below the directory.
  const bool sound_path = !file->path.empty() && file->path.front() != '/' &&
                          file->path.find("..") == std::string::npos;
  return bytes.ec == std::errc() && bytes.ptr == bytes_end && hash.ec == std::errc() &&
         hash.ptr == hash_end && sound_path;
}

StatusOr<std::vector<ManifestFile>> ReadManifest(const std::string& directory) {
  const std::string path = directory + "/" + kBackupManifest;
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return NotFound(directory + " holds no backup manifest");
  std::string line;
  if (!std::getline(stream, line) || line != kTitle) {
    return DataLoss(path + " does not begin with '" + std::string(kTitle) + "'");
  }
  std::vector<ManifestFile> files;
  while (std::getline(stream, line)) {
    if (!ParseLine(line, &files.emplace_back())) {
      return DataLoss(std::string(path).append(" has the unknown line '").append(line) + "'");
    }
  }
  // Cut short, it could end anywhere; each line has its end.
  stream.clear();
  stream.seekg(-1, std::ios::end);
  if (stream.get() != '\n') return DataLoss(path + " is cut short");
  return files;
}

uint64_t TotalBytes(const std::vector<ManifestFile>& files) {
  uint64_t bytes = 0;
  for (const ManifestFile& file : files) bytes += file.digest.bytes;
  return bytes;
}

// Adds up what was read of all files.
class ProgressSum {
 public:
  ProgressSum(const ByteProgress& progress, uint64_t total_bytes)
      : progress_(progress), total_bytes_(total_bytes) {}
  PieceRead Reader() {
    return [this](uint64_t bytes) {
      done_bytes_ += bytes;
      if (progress_) progress_(done_bytes_, total_bytes_);
    };
  }

 private:
  const ByteProgress& progress_;
  const uint64_t total_bytes_;
  uint64_t done_bytes_ = 0;
};

Status CompareWithManifest(const std::string& backup, const ManifestFile& file,
                           const FileDigest& found) {
  const ManifestFile as_found{file.path, found};
  if (ToLine(as_found) == ToLine(file)) return OkStatus();
  return DataLoss("backup " + backup + " differs from its manifest at '" + ToLine(file) +
                  "': found '" + ToLine(as_found) + "'");
}

Status CheckFileExists(const std::string& backup, const std::string& path) {
  if (PathExists(backup + "/" + kDatabaseDirectory + "/" + path)) return OkStatus();
  return DataLoss("backup " + backup + ": file " + path + " is missing");
}

// Errors: DataLoss for a file that the manifest does not name.
Status CheckNoOtherFiles(const std::string& backup, const std::vector<ManifestFile>& files) {
  std::set<std::string> known;
  for (const ManifestFile& file : files) known.insert(file.path);
  ALAYA_ASSIGN_OR_RETURN(const auto found, ListFilesBelow(backup + "/" + kDatabaseDirectory));
  const auto other = std::ranges::find_if(
      found, [&known](const std::string& path) { return !known.contains(path); });
  if (other == found.end()) return OkStatus();
  return DataLoss("backup " + backup + ": file " + *other + " is not in its manifest");
}

std::string ParentOf(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

StatusOr<std::string> WithoutLastSlashes(std::string directory) {
  while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  if (directory.empty()) return InvalidArgument("a directory is needed");
  return directory;
}

// Fills `target`.partial and gives it its name when it is complete.
template <typename Fill>
StatusOr<uint64_t> FillWhole(const std::string& target, Fill fill) {
  const std::string partial = target + ".partial";
  ALAYA_RETURN_IF_ERROR(RemoveTree(partial));
  StatusOr<uint64_t> bytes = fill(partial);
  Status status = bytes.status();
  if (status.ok()) status = SyncDirectory(partial);
  if (status.ok()) status = RenamePath(partial, target);
  if (status.ok()) status = SyncDirectory(ParentOf(target));
  if (status.ok()) return bytes;
  RemoveTree(partial).IgnoreError();
  return status;
}

StatusOr<uint64_t> FillBackup(Database* database, const std::string& directory) {
  ALAYA_RETURN_IF_ERROR(CreateDirectories(directory));
  const std::string copy = directory + "/" + kDatabaseDirectory;
  const std::string copy_prefix = copy + "/";
  ALAYA_RETURN_IF_ERROR(database->Checkpoint(copy));
  ALAYA_RETURN_IF_ERROR(SyncDirectory(copy));
  ALAYA_ASSIGN_OR_RETURN(const auto paths, ListFilesBelow(copy));
  std::string manifest = std::string(kTitle) + "\n";
  uint64_t bytes = 0;
  for (const std::string& path : paths) {
    ALAYA_ASSIGN_OR_RETURN(const FileDigest digest, DigestFile(copy_prefix + path));
    manifest += ToLine({path, digest}) + "\n";
    bytes += digest.bytes;
  }
  ALAYA_RETURN_IF_ERROR(WriteFileSynced(directory + "/" + kBackupManifest, manifest));
  return bytes + manifest.size();
}

StatusOr<uint64_t> FillRestored(const std::string& backup, const std::string& directory,
                                const ByteProgress& progress) {
  ALAYA_ASSIGN_OR_RETURN(const auto files, ReadManifest(backup));
  ALAYA_RETURN_IF_ERROR(CheckNoOtherFiles(backup, files));
  const std::string from = backup + "/" + kDatabaseDirectory;
  const std::string to = directory + "/" + kDatabaseDirectory;
  ALAYA_RETURN_IF_ERROR(CreateDirectories(to));
  ProgressSum sum(progress, TotalBytes(files));
  for (const ManifestFile& file : files) {
    ALAYA_RETURN_IF_ERROR(CheckFileExists(backup, file.path));
    const std::string target = to + "/" + file.path;
    ALAYA_RETURN_IF_ERROR(CreateDirectories(ParentOf(target)));
    ALAYA_ASSIGN_OR_RETURN(const FileDigest found,
                           CopyFileSynced(from + "/" + file.path, target, sum.Reader()));
    ALAYA_RETURN_IF_ERROR(CompareWithManifest(backup, file, found));
    ALAYA_RETURN_IF_ERROR(SyncDirectory(ParentOf(target)));
  }
  return TotalBytes(files);
}

}  // namespace

StatusOr<uint64_t> WriteBackup(Database* database, const std::string& directory) {
  ALAYA_ASSIGN_OR_RETURN(const std::string target, WithoutLastSlashes(directory));
  if (PathExists(target)) return AlreadyExists("backup directory " + target + " exists");
  return FillWhole(target,
                   [&](const std::string& partial) { return FillBackup(database, partial); });
}

bool IsBackup(const std::string& directory) {
  return PathExists(directory + "/" + kBackupManifest);
}

Status VerifyBackup(const std::string& directory, const ByteProgress& progress) {
  ALAYA_ASSIGN_OR_RETURN(const auto files, ReadManifest(directory));
  ALAYA_RETURN_IF_ERROR(CheckNoOtherFiles(directory, files));
  ProgressSum sum(progress, TotalBytes(files));
  for (const ManifestFile& file : files) {
    ALAYA_RETURN_IF_ERROR(CheckFileExists(directory, file.path));
    ALAYA_ASSIGN_OR_RETURN(
        const FileDigest found,
        DigestFile(directory + "/" + kDatabaseDirectory + "/" + file.path, sum.Reader()));
    ALAYA_RETURN_IF_ERROR(CompareWithManifest(directory, file, found));
  }
  return OkStatus();
}

StatusOr<uint64_t> RestoreBackup(const std::string& backup, const std::string& directory,
                                 const ByteProgress& progress) {
  ALAYA_ASSIGN_OR_RETURN(const std::string target, WithoutLastSlashes(directory));
  if (!IsBackup(backup)) return NotFound(backup + " holds no backup manifest");
  if (PathExists(target)) {
    ALAYA_ASSIGN_OR_RETURN(const auto names, ListDirectory(target));
    if (!names.empty()) return AlreadyExists("directory " + target + " is not empty");
  }
  return FillWhole(
      target, [&](const std::string& partial) { return FillRestored(backup, partial, progress); });
}

}  // namespace alaya
