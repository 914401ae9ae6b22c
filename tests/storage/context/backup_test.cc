#include "storage/context/backup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "storage/context/store_check.h"
#include "store_fixture.h"

namespace alaya {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class BackupTest : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    ASSERT_OK(Import(*store_, {.id = "a", .tokens = SomeTokens(1000, 1), .seed = 1}).status());
    backup_ = directory_ / "backup";
    ASSERT_OK(store_->CreateBackup(backup_).status());
  }

  fs::path LargestFile() const {
    fs::path largest;
    for (const auto& entry : fs::directory_iterator(backup_ + "/db")) {
      if (largest.empty() || entry.file_size() > fs::file_size(largest)) largest = entry.path();
    }
    return largest;
  }

  Status Restore() { return RestoreBackup(backup_, directory_ / "restored").status(); }

  std::string backup_;
};

TEST_F(BackupTest, RestoresToAStoreWithItsContexts) {
  ASSERT_OK(store_->DeleteContext("default", "a").status());
  uint64_t last_done = 0;
  uint64_t last_total = 1;

  const auto bytes =
      RestoreBackup(backup_, directory_ / "restored", [&](uint64_t done, uint64_t total) {
        last_done = done;
        last_total = total;
      });

  ASSERT_OK(bytes.status());
  EXPECT_EQ(last_done, *bytes);
  EXPECT_EQ(last_total, *bytes);
  EXPECT_FALSE(IsBackup(directory_ / "restored"));
  ASSERT_OK(CheckStore(directory_ / "restored", nullptr, nullptr).status());
  const auto restored = OpenAt(directory_ / "restored");
  ASSERT_OK(restored.status());
  const auto context = (*restored)->FindContext("default", "a");
  ASSERT_OK(context.status());
  ASSERT_OK(VerifySegment(**restored, *(*context)->chain[0].segment, 1));
}

TEST_F(BackupTest, CanBeCheckedWithoutBeingChanged) {
  const auto report = CheckStore(backup_, nullptr, nullptr);

  ASSERT_OK(report.status());
  EXPECT_EQ(report->contexts.size(), 1U);
  ASSERT_OK(VerifyBackup(backup_));
}

TEST_F(BackupTest, RestoresIntoAnEmptyDirectoryButNoOther) {
  fs::create_directory(directory_ / "restored");
  ASSERT_OK(Restore());
  EXPECT_EQ(Restore().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(RestoreBackup(directory_ / "data", directory_ / "other").status().code(),
            StatusCode::kNotFound);
}

TEST_F(BackupTest, ThatIsDamagedIsNotRestored) {
  const fs::path file = LargestFile();
  std::fstream(file, std::ios::in | std::ios::out | std::ios::binary).seekp(5000).put('x');

  const Status status = Restore();

  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Message(status)), HasSubstr(file.filename().string()));
  EXPECT_FALSE(fs::exists(directory_ / "restored"));
  EXPECT_FALSE(fs::exists(directory_ / "restored.partial"));
}

TEST_F(BackupTest, WithAFileTooFewOrTooManyIsNotSound) {
  const fs::path file = LargestFile();
  std::ofstream(backup_ + "/db/other.sst") << "x";
  EXPECT_EQ(VerifyBackup(backup_).code(), StatusCode::kDataLoss);
  EXPECT_EQ(Restore().code(), StatusCode::kDataLoss);
  fs::remove(backup_ + "/db/other.sst");
  ASSERT_OK(VerifyBackup(backup_));
  fs::remove(file);
  EXPECT_EQ(VerifyBackup(backup_).code(), StatusCode::kDataLoss);
  EXPECT_EQ(Restore().code(), StatusCode::kDataLoss);
}

TEST_F(BackupTest, WithADamagedManifestIsNotSound) {
  const std::string path = backup_ + "/BACKUP";
  std::ifstream stream(path);
  const std::string text((std::istreambuf_iterator<char>(stream)), {});
  for (const std::string& bad :
       {std::string("alayadb backup 2\n") + text.substr(text.find('\n') + 1), text + "x",
        text.substr(0, text.size() - 1), text.substr(0, text.size() / 2), std::string(),
        text + "1 0123456789abcdef ../../escape\n", text + "1x 0123456789abcdef a\n"}) {
    std::ofstream(path, std::ios::trunc) << bad;
    EXPECT_EQ(VerifyBackup(backup_).code(), StatusCode::kDataLoss) << bad;
    EXPECT_EQ(Restore().code(), StatusCode::kDataLoss) << bad;
  }
}

}  // namespace
}  // namespace alaya
