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

TEST(GuardedFileSystemTest, RemovesNoFileWhileStopped) {
  const TempDirectory directory;
  const std::string path = directory / "file";
  std::ofstream(path) << "bytes";
  const auto guard = std::make_shared<ErrorGuard>(nullptr);
  GuardedFileSystem system(rocksdb::FileSystem::Default(), guard);

  guard->Stop();
  EXPECT_TRUE(system.DeleteFile(path, {}, nullptr).ok());
  EXPECT_TRUE(std::filesystem::exists(path));
  guard->Reopened();
  EXPECT_TRUE(system.DeleteFile(path, {}, nullptr).ok());
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace alaya
