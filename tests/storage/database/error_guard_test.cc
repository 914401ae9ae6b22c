#include "storage/database/error_guard.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temp_directory.h"

namespace alaya {
namespace {

rocksdb::Status SomeError() { return rocksdb::Status::IOError("some"); }

TEST(ErrorGuardTest, StopsAtAnErrorUntilTheDatabaseIsOpenedAnew) {
  std::string logged;
  ErrorGuard guard([&](StorageLogLevel, std::string_view message) { logged = message; });
  EXPECT_FALSE(guard.stopped());

  rocksdb::Status error = SomeError();
  guard.OnBackgroundError(rocksdb::BackgroundErrorReason::kFlush, &error);

  EXPECT_TRUE(guard.stopped());
  EXPECT_NE(logged.find("some"), std::string::npos);
  guard.Reopened();
  EXPECT_FALSE(guard.stopped());
  EXPECT_EQ(guard.count(), 1U);
}

TEST(ErrorGuardTest, LetsNothingRecoverByItself) {
  ErrorGuard guard(nullptr);
  bool auto_recovery = true;

  guard.OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason::kFlush, SomeError(), &auto_recovery);

  EXPECT_FALSE(auto_recovery);
}

TEST(ErrorGuardTest, TellsOfErrorsThatMeanDamage) {
  std::string damage;
  ErrorGuard guard(nullptr, [&](std::string_view text) { damage = text; });
  rocksdb::Status error = SomeError();
  guard.OnBackgroundError(rocksdb::BackgroundErrorReason::kCompaction, &error);
  EXPECT_EQ(damage, "");

  error = rocksdb::Status::Corruption("a block");
  guard.OnBackgroundError(rocksdb::BackgroundErrorReason::kCompaction, &error);

  EXPECT_NE(damage.find("a block"), std::string::npos);
}

TEST(GuardedFileSystemTest, RemovesNoFileWhileStopped) {
  const TempDirectory directory;
  const std::string path = directory / "file";
  std::ofstream(path) << "bytes";
  const auto guard = std::make_shared<ErrorGuard>(nullptr);
  GuardedFileSystem system(rocksdb::FileSystem::Default(), guard, directory.path());

  guard->Stop();
  EXPECT_TRUE(system.DeleteFile(path, {}, nullptr).ok());
  EXPECT_TRUE(std::filesystem::exists(path));
  guard->Reopened();
  EXPECT_TRUE(system.DeleteFile(path, {}, nullptr).ok());
  EXPECT_FALSE(std::filesystem::exists(path));
}

// Every other read fails.
class StutteringFileSystem : public rocksdb::FileSystemWrapper {
 public:
  StutteringFileSystem() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "StutteringFileSystem"; }
  rocksdb::IOStatus NewRandomAccessFile(const std::string& path,
                                        const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                        rocksdb::IODebugContext* debug) override {
    class File : public rocksdb::FSRandomAccessFileOwnerWrapper {
     public:
      using FSRandomAccessFileOwnerWrapper::FSRandomAccessFileOwnerWrapper;
      rocksdb::IOStatus Read(uint64_t offset, size_t bytes, const rocksdb::IOOptions& read_options,
                             rocksdb::Slice* result, char* scratch,
                             rocksdb::IODebugContext* read_debug) const override {
        if (count_++ % 2 == 0) return rocksdb::IOStatus::IOError("stutters");
        return FSRandomAccessFileOwnerWrapper::Read(offset, bytes, read_options, result, scratch,
                                                    read_debug);
      }

     private:
      mutable int count_ = 0;
    };
    rocksdb::IOStatus status = FileSystemWrapper::NewRandomAccessFile(path, options, file, debug);
    if (status.ok()) *file = std::make_unique<File>(std::move(*file));
    return status;
  }
};

TEST(GuardedFileSystemTest, ReadsFilesFromOutsideWithPatience) {
  const TempDirectory directory;
  GuardedFileSystem system(std::make_shared<StutteringFileSystem>(),
                           std::make_shared<ErrorGuard>(nullptr), directory / "db");
  std::filesystem::create_directory(directory / "db");
  const auto read = [&](const std::string& path) {
    std::ofstream(path) << "bytes";
    std::unique_ptr<rocksdb::FSRandomAccessFile> file;
    EXPECT_TRUE(system.NewRandomAccessFile(path, {}, &file, nullptr).ok());
    char buffer[5];
    rocksdb::Slice result;
    return file->Read(0, sizeof(buffer), {}, &result, buffer, nullptr);
  };

  EXPECT_TRUE(read(directory / "outside").ok());
  EXPECT_TRUE(read(directory / "db/own").IsIOError());
}

}  // namespace
}  // namespace alaya
