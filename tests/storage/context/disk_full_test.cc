// A full disk: a small file system of its own, so that it really is full.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "store_fixture.h"

namespace alaya {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class DiskFullTest : public testing::Test {
 protected:
  void SetUp() override {
    if (mount("none", directory_.path().c_str(), "tmpfs", 0, "size=48m") != 0) {
      GTEST_SKIP() << "cannot mount a tmpfs here: " << std::strerror(errno);
    }
    mounted_ = true;
    Open(0);
  }
  void TearDown() override {
    store_.reset();
    if (mounted_) umount2(directory_.path().c_str(), MNT_DETACH);
  }

  void Open(uint64_t disk_reserve_bytes) {
    store_.reset();
    auto store = ContextStore::Open({.directory = directory_ / "data",
                                     .memory_budget_bytes = uint64_t{16} << 20,
                                     .disk_reserve_bytes = disk_reserve_bytes});
    ASSERT_OK(store.status());
    store_ = *std::move(store);
    ASSERT_OK(store_->RegisterModel(TestModel()).status());
  }
  void FillDisk() {
    std::ofstream file(directory_ / "ballast", std::ios::binary);
    const std::string block(4096, 'x');
    while (file.write(block.data(), 4096).flush()) {
    }
  }
  void EmptyDisk() { fs::remove(directory_ / "ballast"); }

  TempDirectory directory_;
  bool mounted_ = false;
  std::unique_ptr<ContextStore> store_;
};

// 1 KiB of KV per token: 60 MiB on a disk of 48.
ContextSpec TooLarge() {
  return {.id = "large", .tokens = SomeTokens(60'000, 2), .seed = 2, .chunk_tokens = 1000};
}

TEST_F(DiskFullTest, AnImportThatDoesNotFitFailsAndTheStoreWorksOn) {
  ASSERT_OK(Import(*store_, {.id = "kept", .tokens = SomeTokens(2000, 1)}).status());

  const auto committed = Import(*store_, TooLarge());

  EXPECT_EQ(committed.status().code(), StatusCode::kResourceExhausted) << committed.status();
  EXPECT_EQ(store_->FindContext("default", "large").status().code(), StatusCode::kNotFound);
  ASSERT_OK(Import(*store_, {.id = "next", .tokens = SomeTokens(2000, 3), .seed = 3}).status());
  Open(0);
  for (const auto& [id, seed] : {std::pair{"kept", 1U}, {"next", 3U}}) {
    const auto context = store_->FindContext("default", id);
    ASSERT_OK(context.status());
    ASSERT_OK(VerifySegment(*store_, *(*context)->chain[0].segment, seed));
  }
  EXPECT_EQ(store_->stats().contexts, 2U);
}

TEST_F(DiskFullTest, TheReserveIsLeftAlone) {
  Open(uint64_t{24} << 20);

  const auto committed = Import(*store_, TooLarge());

  EXPECT_EQ(committed.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(Message(committed.status())), HasSubstr("kept in reserve"));
  ASSERT_OK(Import(*store_, {.id = "small", .tokens = SomeTokens(2000, 1)}).status());
}

TEST_F(DiskFullTest, WritesFailWhileTheDiskIsFullAndWorkAfterwards) {
  ASSERT_OK(Import(*store_, {.id = "a", .tokens = SomeTokens(2000, 1)}).status());
  FillDisk();

  // Preallocated room may let some writes through; not all of these.
  Status failed;
  Labels last_good;
  for (int i = 0; i < 50'000 && failed.ok(); ++i) {
    const Labels labels = {{"n", std::to_string(i)}, {"bulk", std::string(4000, 'b')}};
    failed = store_->UpdateContext("default", "a", {.labels = labels}).status();
    if (failed.ok()) last_good = labels;
  }

  ASSERT_EQ(failed.code(), StatusCode::kResourceExhausted) << failed;
  EXPECT_EQ((*store_->FindContext("default", "a"))->labels, last_good);
  ASSERT_OK(VerifySegment(*store_, *(*store_->FindContext("default", "a"))->chain[0].segment, 1));
  EmptyDisk();
  Status written = failed;
  for (int i = 0; i < 200 && !written.ok(); ++i) {
    written = store_->UpdateContext("default", "a", {.labels = Labels{{"n", "after"}}}).status();
    if (!written.ok()) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  ASSERT_OK(written);
  Open(0);
  const auto context = store_->FindContext("default", "a");
  ASSERT_OK(context.status());
  EXPECT_EQ((*context)->labels, (Labels{{"n", "after"}}));
  ASSERT_OK(VerifySegment(*store_, *(*context)->chain[0].segment, 1));
}

TEST_F(DiskFullTest, AFailedCommitStaysInvisibleAfterRestart) {
  ASSERT_OK(Import(*store_, {.id = "a", .tokens = SomeTokens(2000, 1)}).status());
  const ContextSpec spec{.id = "b", .tokens = SomeTokens(200, 2), .seed = 2};
  Status failed;
  {
    const auto writer = store_->BeginContext(Draft(*store_, spec));
    ASSERT_OK(writer.status());
    ASSERT_OK(Fill(**writer, TestModel(), spec));
    FillDisk();
    failed = (*writer)->Commit().status();
  }
  if (failed.ok()) GTEST_SKIP() << "preallocated room was enough for the commit";
  EXPECT_EQ(failed.code(), StatusCode::kResourceExhausted) << failed;

  EmptyDisk();
  Open(0);

  EXPECT_EQ(store_->FindContext("default", "b").status().code(), StatusCode::kNotFound);
  ASSERT_OK(VerifySegment(*store_, *(*store_->FindContext("default", "a"))->chain[0].segment, 1));
}

}  // namespace
}  // namespace alaya
