// Stores that earlier versions wrote must open for ever: each format has a directory in
// fixtures/, committed when that format was new and never changed since.
//
//   fixture_test --write=DIRECTORY    writes one of today's format, as a backup
//
// A format that changes gets a new directory; those of older formats that can still be
// read stay.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>

#include "storage/context/backup.h"
#include "storage/context/store_check.h"
#include "store_fixture.h"

namespace alaya {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint8_t kIndexKind = 2;
constexpr uint32_t kIndexVersion = 1;
constexpr uint64_t kSharedTokens = 25;

// What a fixture holds; changing it makes every fixture wrong.
ContextSpec Base() {
  return {.id = "base",
          .tokens = SomeTokens(40, 1),
          .seed = 1,
          .queries = 8,
          .create_time_ms = 1'700'000'000'000,
          .expire_time = TimeAt(4'000'000'000'000),
          .labels = {{"team", "x"}, {"empty", ""}}};
}
ContextSpec Branch(std::vector<SegmentLink> prefix) {
  return {.id = "branch",
          .prefix = std::move(prefix),
          .tokens = SomeTokens(20, 2),
          .seed = 2,
          .create_time_ms = 1'700'000'000'001};
}
std::vector<std::byte> IndexBlock(uint32_t layer) {
  return Rows(TestModel(), 99, layer, PageKind::kKey, 0, 2);
}

Status WriteFixture(const std::string& directory) {
  const TempDirectory work;
  ALAYA_ASSIGN_OR_RETURN(
      const auto store,
      ContextStore::Open({.directory = work / "data", .memory_budget_bytes = uint64_t{16} << 20}));
  ALAYA_RETURN_IF_ERROR(store->RegisterModel(TestModel()).status());
  ALAYA_ASSIGN_OR_RETURN(const auto base, Import(*store, Base()));
  ALAYA_RETURN_IF_ERROR(
      Import(*store, Branch(ChainPrefix(base.context->chain, kSharedTokens))).status());
  ALAYA_RETURN_IF_ERROR(store->UpdateContext("default", "branch", {.pinned = true}).status());
  ALAYA_ASSIGN_OR_RETURN(const auto writer, store->BeginIndex(base.context->chain[0].segment,
                                                              kIndexKind, kIndexVersion));
  for (uint32_t layer = 0; layer < TestModel().num_layers; ++layer) {
    ALAYA_RETURN_IF_ERROR(
        writer->AppendBlock(LayerIndex{layer}, KvHeadIndex{1}, IndexBlock(layer)));
  }
  ALAYA_RETURN_IF_ERROR(writer->Commit());
  return store->CreateBackup(directory).status();
}

class FixtureTest : public testing::TestWithParam<std::string> {
 protected:
  std::string fixture() const { return std::string(FIXTURES_PATH) + "/" + GetParam(); }

  void SetUp() override {
    ASSERT_OK(RestoreBackup(fixture(), directory_ / "data").status());
    auto store = ContextStore::Open(
        {.directory = directory_ / "data", .memory_budget_bytes = uint64_t{16} << 20});
    ASSERT_OK(store.status());
    store_ = *std::move(store);
  }

  TempDirectory directory_;
  std::unique_ptr<ContextStore> store_;
};

TEST_P(FixtureTest, OpensWithEveryField) {
  const auto base = store_->FindContext("default", "base");
  const auto branch = store_->FindContext("default", "branch");
  ASSERT_OK(base.status());
  ASSERT_OK(branch.status());

  EXPECT_EQ((*base)->model->model, TestModel());
  EXPECT_EQ((*base)->labels, Base().labels);
  EXPECT_EQ((*base)->create_time, TimeAt(Base().create_time_ms));
  EXPECT_EQ((*base)->expire_time, Base().expire_time);
  EXPECT_FALSE((*base)->pinned);
  EXPECT_TRUE((*branch)->pinned);
  EXPECT_EQ((*branch)->expire_time, std::nullopt);
  std::vector<TokenId> tokens = SomeTokens(40, 1);
  EXPECT_EQ(ChainTokens(*store_, (*base)->chain), tokens);
  tokens.resize(kSharedTokens);
  std::ranges::copy(SomeTokens(20, 2), std::back_inserter(tokens));
  EXPECT_EQ(ChainTokens(*store_, (*branch)->chain), tokens);
  EXPECT_EQ((*branch)->chain[0].segment, (*base)->chain[0].segment);
  EXPECT_THAT((*base)->chain[0].segment->query_counts, ElementsAre(8, 8));
}

TEST_P(FixtureTest, ReadsEveryByte) {
  const auto branch = store_->FindContext("default", "branch");
  ASSERT_OK(branch.status());

  const Segment& shared = *(*branch)->chain[0].segment;
  ASSERT_OK(VerifySegment(*store_, shared, 1));
  ASSERT_OK(VerifySegment(*store_, *(*branch)->chain[1].segment, 2));
  const StoredIndex* index = shared.indexes.find(kIndexKind);
  ASSERT_NE(index, nullptr);
  EXPECT_EQ(index->version, kIndexVersion);
  for (uint32_t layer = 0; layer < TestModel().num_layers; ++layer) {
    const PageId id = index->page(LayerIndex{layer}, KvHeadIndex{1}, 0);
    const auto page = store_->ReadIndexBlock(shared, *index, id);
    ASSERT_OK(page.status());
    EXPECT_TRUE(std::ranges::equal(page->payload(), IndexBlock(layer)));
  }
}

TEST_P(FixtureTest, IsSoundAndTakesNewContexts) {
  const auto report = CheckStore(fixture(), nullptr, nullptr);
  ASSERT_OK(report.status());
  for (const CheckedContext& context : report->contexts) EXPECT_THAT(context.damages, IsEmpty());

  const auto base = store_->FindContext("default", "base");
  const auto added = Import(
      *store_, {.id = "new", .prefix = (*base)->chain, .tokens = SomeTokens(30, 3), .seed = 3});
  ASSERT_OK(added.status());
  ASSERT_OK(VerifySegment(*store_, *added->context->chain[1].segment, 3));
  ASSERT_OK(store_->DeleteContext("default", "base").status());
}

TEST_P(FixtureTest, IsSmall) { EXPECT_LT(DiskBytes(fixture()), 300'000U); }

std::vector<std::string> Formats() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(FIXTURES_PATH)) {
    names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  return names;
}
INSTANTIATE_TEST_SUITE_P(Formats, FixtureTest, testing::ValuesIn(Formats()),
                         [](const auto& format) { return format.param; });

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  constexpr std::string_view kWrite = "--write=";
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument(argv[i]);
    if (!argument.starts_with(kWrite)) continue;
    const alaya::Status written = alaya::WriteFixture(std::string(argument.substr(kWrite.size())));
    std::printf("%s\n", written.ToString().c_str());
    return written.ok() ? 0 : 1;
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
