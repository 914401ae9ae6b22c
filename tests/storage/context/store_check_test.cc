// Damage anywhere in the files of pages costs the contexts whose pages it hit, and no
// others; nothing wrong is ever read.

#include "storage/context/store_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "store_fixture.h"

namespace alaya {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint32_t kContextCount = 3;
constexpr uint8_t kIndexKind = 2;
// Files of pages are longer; those of the catalog shorter.
constexpr uint64_t kPageFileBytesMin = 100'000;

std::string Id(uint32_t seed) { return "context-" + std::to_string(seed); }

struct Damage {
  std::string name;
  std::function<void(const fs::path& file)> apply;
};

void FlipByte(const fs::path& file, int64_t from_begin) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(from_begin);
  const int byte = stream.get();
  stream.seekp(from_begin);
  stream.put(static_cast<char>(byte ^ 0x10));
}

class DamageTest : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    for (uint32_t seed = 1; seed <= kContextCount; ++seed) {
      const auto imported =
          Import(*store_,
                 {.id = Id(seed), .tokens = SomeTokens(1100, seed), .seed = seed, .queries = 600});
      ASSERT_OK(imported.status());
      const auto writer =
          store_->BeginIndex(imported->context->chain.back().segment, kIndexKind, 1);
      ASSERT_OK(writer.status());
      for (uint32_t layer = 0; layer < model_.num_layers; ++layer) {
        ASSERT_OK((*writer)->AppendBlock(LayerIndex{layer}, KvHeadIndex{0},
                                         Rows(model_, seed, layer, PageKind::kKey, 0, 200)));
      }
      ASSERT_OK((*writer)->Commit());
    }
    store_.reset();
    fs::copy(directory_ / "data", directory_ / "sound", fs::copy_options::recursive);
  }

  // The store as it was before any damage.
  void Heal() {
    store_.reset();
    fs::remove_all(directory_ / "data");
    fs::copy(directory_ / "sound", directory_ / "data", fs::copy_options::recursive);
  }

  std::vector<fs::path> PageFiles() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(directory_ / "sound/db")) {
      if (entry.path().extension() == ".sst" && entry.file_size() >= kPageFileBytesMin) {
        files.push_back(directory_ / "data/db" / entry.path().filename());
      }
    }
    return files;
  }

  // How many contexts answer DataLoss; all others must give back what was stored.
  size_t LostContexts() {
    size_t lost = 0;
    for (uint32_t seed = 1; seed <= kContextCount; ++seed) {
      const auto context = store_->FindContext("default", Id(seed));
      EXPECT_TRUE(context.ok()) << context.status().ToString();
      if (!context.ok()) continue;
      const Status status = VerifySegment(*store_, *(*context)->chain[0].segment, seed);
      if (status.ok()) continue;
      EXPECT_EQ(status.code(), StatusCode::kDataLoss) << status.ToString();
      ++lost;
    }
    return lost;
  }
};

TEST_F(DamageTest, OfAnyPartOfAFileOfPagesCostsOneContextOnly) {
  const std::vector<fs::path> files = PageFiles();
  ASSERT_GE(files.size(), kContextCount);
  size_t lost_total = 0;
  for (const fs::path& file : files) {
    const auto bytes = static_cast<int64_t>(fs::file_size(file));
    std::vector<Damage> damages = {
        {"missing", [](const fs::path& path) { fs::remove(path); }},
        {"empty", [](const fs::path& path) { fs::resize_file(path, 0); }},
        {"cut",
         [=](const fs::path& path) { fs::resize_file(path, static_cast<size_t>(bytes) / 2); }},
        {"cut by one byte",
         [=](const fs::path& path) { fs::resize_file(path, static_cast<size_t>(bytes) - 1); }}};
    // Pages, then what RocksDB keeps at the end: index, properties, footer.
    for (int64_t at = 7; at<bytes; at += bytes> at + 4000 ? 150'001 : 131) {
      if (at + 150'001 >= bytes && bytes > at + 4000) at = bytes - 4001;
      damages.push_back({"byte " + std::to_string(at) + " of " + std::to_string(bytes),
                         [at](const fs::path& path) { FlipByte(path, at); }});
    }
    for (const Damage& damage : damages) {
      SCOPED_TRACE(file.filename().string() + ": " + damage.name);
      Heal();
      damage.apply(file);

      const auto report = CheckStore(directory_ / "data", nullptr, nullptr);
      Reopen();

      ASSERT_TRUE(report.ok()) << report.status().ToString();
      const size_t lost = LostContexts();
      EXPECT_LE(lost, 1U);
      lost_total += lost;
      EXPECT_EQ(report->contexts.size(), kContextCount);
      EXPECT_LE(report->damaged_context_count(), 1U);
      // An index may be damaged as well, and is none of LostContexts' business.
      EXPECT_GE(report->damaged_context_count(), lost);
      if (HasFailure()) return;
    }
  }
  EXPECT_GE(lost_total, 10 * kContextCount);
}

TEST_F(DamageTest, AFileThatCannotBeOpenedIsSetAside) {
  const std::vector<fs::path> files = PageFiles();
  const fs::path file = *std::ranges::max_element(
      files, {}, [](const fs::path& path) { return fs::file_size(path); });
  Heal();
  fs::resize_file(file, 100'000);

  Reopen();

  EXPECT_EQ(LostContexts(), 1U);
  EXPECT_FALSE(fs::exists(file));
  EXPECT_EQ(fs::file_size(directory_ / "data/db/damaged" / file.filename()), 100'000U);
  // And the store works on: what is lost can be deleted and stored anew.
  for (uint32_t seed = 1; seed <= kContextCount; ++seed) {
    ASSERT_OK(store_->DeleteContext("default", Id(seed)).status());
    ASSERT_OK(
        Import(*store_, {.id = Id(seed), .tokens = SomeTokens(900, seed), .seed = seed}).status());
  }
  store_.reset();
  EXPECT_EQ(OpenAt(directory_ / "data").status().code(), StatusCode::kFailedPrecondition);
  accept_damage_ = true;
  Reopen();
  EXPECT_EQ(LostContexts(), 0U);
}

TEST_F(DamageTest, FoundInAPageKeepsTheNextProcessFromGoingOnInSilence) {
  const std::vector<fs::path> files = PageFiles();
  Heal();
  // Keys and values take more than an index.
  FlipByte(
      *std::ranges::max_element(files, {}, [](const auto& path) { return fs::file_size(path); }),
      1000);
  Reopen();
  EXPECT_EQ(LostContexts(), 1U);
  store_.reset();

  const Status refused = OpenAt(directory_ / "data").status();

  EXPECT_EQ(refused.code(), StatusCode::kFailedPrecondition) << refused;
  EXPECT_NE(Message(refused).find("--accept-damage"), std::string_view::npos) << refused;
  // Whoever only looks is let in.
  EXPECT_TRUE(CheckStore(directory_ / "data", nullptr, nullptr).ok());
  accept_damage_ = true;
  Reopen();
  accept_damage_ = false;
  // It was accepted once; what is damaged still is.
  Reopen();
  EXPECT_EQ(LostContexts(), 1U);
}

TEST_F(DamageTest, OfTheCatalogIsNoticedAndNeverReadsWrong) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory_ / "sound/db")) {
    if (entry.is_regular_file() && entry.file_size() < kPageFileBytesMin) {
      files.push_back(directory_ / "data/db" / entry.path().filename());
    }
  }
  for (const fs::path& file : files) {
    const auto bytes =
        static_cast<int64_t>(fs::file_size(directory_ / "sound/db" / file.filename()));
    for (int64_t at = 3; at < bytes; at += std::max<int64_t>(bytes / 7, 1)) {
      SCOPED_TRACE(file.filename().string() + ": byte " + std::to_string(at));
      Heal();
      FlipByte(file, at);

      const auto store = OpenAt(directory_ / "data");

      if (!store.ok()) continue;  // said so
      for (const auto& context : (*store)->ListContexts({.tenant = "default"}, "", 10)) {
        const auto seed = static_cast<uint32_t>(context->id.back() - '0');
        ASSERT_OK(VerifySegment(**store, *context->chain[0].segment, seed));
        ASSERT_EQ(ChainTokens(**store, context->chain), SomeTokens(1100, seed));
      }
    }
  }
}

TEST_F(DamageTest, ACheckOfASoundStoreReadsAllOfIt) {
  uint64_t last_done = 0;
  uint64_t last_total = 1;
  const auto report = CheckStore(
      directory_ / "data",
      [&](uint64_t done, uint64_t total) {
        EXPECT_GE(done, last_done);
        last_done = done;
        last_total = total;
      },
      nullptr);

  ASSERT_TRUE(report.ok()) << report.status().ToString();
  EXPECT_EQ(last_done, last_total);
  // 1100 tokens: 9 pages per head, layer and kind; 600 queries: 5; an index: 1 per layer.
  EXPECT_EQ(report->page_count, kContextCount * 2 * (2 * 2 * 9 + 4 * 5 + 1));
  ASSERT_EQ(report->contexts.size(), kContextCount);
  for (const CheckedContext& context : report->contexts) {
    EXPECT_THAT(context.damages, IsEmpty());
    EXPECT_EQ(context.token_count, 1100U);
    EXPECT_EQ(context.model, "test");
  }
}

TEST_F(DamageTest, ACheckNamesTheDamagedPageAndSparesShorterContexts) {
  Reopen();
  const auto whole = store_->FindContext("default", Id(1));
  ASSERT_OK(whole.status());
  const SegmentId segment = (*whole)->chain[0].segment->id;
  // Shares the first page only.
  ASSERT_OK(Import(*store_, {.id = "short", .prefix = ChainPrefix((*whole)->chain, 100)}).status());
  store_.reset();
  bool hit = false;
  for (const fs::path& file : PageFiles()) {
    for (int64_t at = 8'000; at < static_cast<int64_t>(fs::file_size(file)) && !hit; at += 30'000) {
      FlipByte(file, at);
      const auto report = CheckStore(directory_ / "data", nullptr, nullptr);
      ASSERT_TRUE(report.ok());
      for (const CheckedContext& context : report->contexts) {
        if (context.id != Id(1) || context.damages.empty()) continue;
        const std::string& damage = context.damages.front();
        if (damage.find("page 2 of") == std::string::npos) continue;
        EXPECT_THAT(damage, HasSubstr("segment " + std::to_string(ToInt(segment))));
        for (const CheckedContext& other : report->contexts) {
          if (other.id == Id(1)) continue;
          EXPECT_THAT(other.damages, IsEmpty()) << other.id;
        }
        hit = true;
      }
      FlipByte(file, at);
    }
  }
  EXPECT_TRUE(hit);
}

TEST_F(DamageTest, ACheckChangesNothingAndWaitsForNoServer) {
  Reopen();

  EXPECT_EQ(CheckStore(directory_ / "data", nullptr, nullptr).status().code(),
            StatusCode::kFailedPrecondition);
  EXPECT_EQ(CheckStore(directory_ / "nowhere", nullptr, nullptr).status().code(),
            StatusCode::kFailedPrecondition);
  store_.reset();
  Heal();
  const uint64_t bytes = DiskBytes(directory_ / "data");
  ASSERT_OK(CheckStore(directory_ / "data", nullptr, nullptr).status());
  EXPECT_EQ(DiskBytes(directory_ / "data"), bytes);
}

}  // namespace
}  // namespace alaya
