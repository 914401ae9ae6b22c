#include "storage/context/context_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "storage/context/backup.h"
#include "storage/context/catalog_records.h"
#include "storage/database/database.h"
#include "store_fixture.h"

namespace alaya {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::chrono::milliseconds kPatience{10'000};

class ContextStoreTest : public StoreTest {
 protected:
  // Waits for the background to do its part.
  template <typename Condition>
  bool Eventually(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }
  std::vector<std::string> ImportDirectories() {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory_ / "data")) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("import-")) names.push_back(name);
    }
    return names;
  }
  PrefixMatch Match(std::string_view tenant, ModelId model, std::span<const TokenId> tokens,
                    WallTime now) const {
    const auto match = store_->MatchPrefix(tenant, model, tokens, now);
    EXPECT_TRUE(match.ok()) << match.status().ToString();
    return match.value_or(PrefixMatch());
  }
  std::vector<std::string> ListIds(const ContextFilter& filter, std::string_view after = "",
                                   size_t limit = 100) {
    std::vector<std::string> ids;
    for (const auto& context : store_->ListContexts(filter, after, limit)) {
      ids.push_back(context->id);
    }
    return ids;
  }
};

TEST_F(ContextStoreTest, AContextReadsBackAfterCommitAndAfterReopening) {
  const ContextSpec spec{.tokens = SomeTokens(1300, 1), .queries = 700, .labels = {{"k", "v"}}};

  const auto committed = Import(*store_, spec);

  ASSERT_OK(committed.status());
  EXPECT_GT(committed->stored_bytes, committed->context->kv_bytes());
  ASSERT_OK(VerifySegment(*store_, *committed->context->chain[0].segment, spec.seed));
  const SegmentId segment = committed->context->chain[0].segment->id;
  Reopen();
  const auto context = store_->FindContext("default", "a");
  ASSERT_OK(context.status());
  EXPECT_EQ((*context)->chain[0].segment->id, segment);
  EXPECT_EQ(ChainTokens(*store_, (*context)->chain), spec.tokens);
  EXPECT_EQ((*context)->labels, spec.labels);
  EXPECT_EQ((*context)->create_time, TimeAt(1000));
  ASSERT_OK(VerifySegment(*store_, *(*context)->chain[0].segment, spec.seed));
}

TEST_F(ContextStoreTest, LayersMayComeOneAfterTheOtherOrInterleaved) {
  for (const bool interleaved : {false, true}) {
    for (const uint64_t chunk_tokens :
         {uint64_t{1}, uint64_t{100}, uint64_t{512}, uint64_t{5000}}) {
      const std::string id = std::to_string(interleaved) + "-" + std::to_string(chunk_tokens);
      const ContextSpec spec{.id = id,
                             .tokens = SomeTokens(1030, 1),
                             .queries = 3,
                             .chunk_tokens = chunk_tokens,
                             .layers_interleaved = interleaved};

      const auto committed = Import(*store_, spec);

      ASSERT_OK(committed.status());
      ASSERT_OK(VerifySegment(*store_, *committed->context->chain[0].segment, spec.seed));
    }
  }
}

TEST_F(ContextStoreTest, NothingIsVisibleBeforeCommit) {
  const ContextSpec spec{.tokens = SomeTokens(600, 1)};
  const auto writer = store_->BeginContext(Draft(*store_, spec));
  ASSERT_OK(writer.status());
  ASSERT_OK(Fill(**writer, model_, spec));

  EXPECT_EQ(store_->FindContext("default", "a").status().code(), StatusCode::kNotFound);
  const ModelId model = store_->FindModel("test").value()->id;
  EXPECT_EQ(Match("default", model, spec.tokens, TimeAt(0)).matched_tokens, 0);
}

TEST_F(ContextStoreTest, ADiscardedWriterLeavesNothing) {
  const ContextSpec spec{.tokens = SomeTokens(2000, 1)};
  {
    const auto writer = store_->BeginContext(Draft(*store_, spec));
    ASSERT_OK(writer.status());
    ASSERT_OK(Fill(**writer, model_, spec));
    EXPECT_EQ(ImportDirectories().size(), 1);
    EXPECT_EQ(store_->BeginContext(Draft(*store_, spec)).status().code(),
              StatusCode::kAlreadyExists);
  }

  EXPECT_TRUE(ImportDirectories().empty());
  EXPECT_EQ(store_->stats().segments, 0);
  ASSERT_OK(Import(*store_, spec).status());  // the id is free again
}

TEST_F(ContextStoreTest, AnIncompleteLayerIsNamedAndNotCommitted) {
  ContextSpec spec{.tokens = SomeTokens(600, 1)};
  {
    const auto writer = store_->BeginContext(Draft(*store_, spec));
    ASSERT_OK(writer.status());
    const auto rows = Rows(model_, 1, 0, PageKind::kKey, 0, 600);
    ASSERT_OK((*writer)->Append(LayerIndex{0}, rows, rows));
    ASSERT_OK((*writer)->Append(LayerIndex{1}, std::span(rows).first(rows.size() / 2),
                                std::span(rows).first(rows.size() / 2)));

    const auto committed = (*writer)->Commit();

    EXPECT_EQ(committed.status().code(), StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(Message(committed.status())), HasSubstr("layer 1 has 300 of 600"));
  }
  EXPECT_EQ(store_->FindContext("default", "a").status().code(), StatusCode::kNotFound);
}

TEST_F(ContextStoreTest, WrongSizesAndTooManyTokensAreRefused) {
  const ContextSpec spec{.tokens = SomeTokens(10, 1)};
  const auto rows = Rows(model_, 1, 0, PageKind::kKey, 0, 11);
  const std::span<const std::byte> all(rows);
  const auto begin = [&] { return *store_->BeginContext(Draft(*store_, spec)); };

  EXPECT_EQ(begin()->Append(LayerIndex{2}, all, all).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(begin()->Append(LayerIndex{0}, all, all).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(begin()->Append(LayerIndex{0}, all.first(100), all.first(100)).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(begin()->AppendQueries(LayerIndex{0}, all.first(100)).code(),
            StatusCode::kInvalidArgument);
}

TEST_F(ContextStoreTest, AContextMaySharePartOfAnother) {
  const auto parent = Import(*store_, {.id = "parent", .tokens = SomeTokens(700, 1), .seed = 1});
  ASSERT_OK(parent.status());

  const auto child = Import(*store_, {.id = "child",
                                      .prefix = ChainPrefix(parent->context->chain, 650),
                                      .tokens = SomeTokens(100, 2),
                                      .seed = 2});

  ASSERT_OK(child.status());
  EXPECT_EQ(child->context->token_count(), 750);
  EXPECT_EQ(child->context->chain[1].range(), (TokenRange{650, 750}));
  EXPECT_EQ(store_->stats().segments, 2);
  EXPECT_EQ(store_->stats().stored_tokens, 800);
  std::vector<TokenId> tokens = SomeTokens(700, 1);
  tokens.resize(650);
  const auto tail = SomeTokens(100, 2);
  tokens.insert(tokens.end(), tail.begin(), tail.end());
  Reopen();
  const ModelId model = store_->FindModel("test").value()->id;
  const PrefixMatch match = Match("default", model, tokens, TimeAt(0));
  EXPECT_EQ(match.matched_tokens, 750);
  EXPECT_EQ(match.context->id, "child");
  EXPECT_EQ(ChainTokens(*store_, match.context->chain), tokens);
  ASSERT_OK(VerifySegment(*store_, *match.context->chain[0].segment, 1));
  ASSERT_OK(VerifySegment(*store_, *match.context->chain[1].segment, 2));
  EXPECT_EQ(Match("other", model, tokens, TimeAt(0)).context, nullptr);
}

TEST_F(ContextStoreTest, AContextMayBeJustAPrefix) {
  const auto parent = Import(*store_, {.id = "parent", .tokens = SomeTokens(700, 1)});
  ASSERT_OK(parent.status());

  const auto child =
      Import(*store_, {.id = "child", .prefix = ChainPrefix(parent->context->chain, 10)});

  ASSERT_OK(child.status());
  EXPECT_EQ(child->stored_bytes, 0);
  ASSERT_OK(store_->DeleteContext("default", "parent").status());
  Reopen();
  const auto context = store_->FindContext("default", "child");
  ASSERT_OK(context.status());
  EXPECT_EQ((*context)->token_count(), 10);
  ASSERT_OK(VerifySegment(*store_, *(*context)->chain[0].segment, 1));
}

TEST_F(ContextStoreTest, ForeignOrGappyPrefixesAreRefused) {
  const auto parent = Import(*store_, {.id = "parent", .tokens = SomeTokens(700, 1)});
  ASSERT_OK(parent.status());
  ContextSpec spec{.id = "child", .tenant = "other", .prefix = parent->context->chain};
  EXPECT_EQ(store_->BeginContext(Draft(*store_, spec)).status().code(),
            StatusCode::kInvalidArgument);
  spec.tenant = "default";
  spec.prefix.push_back(spec.prefix[0]);
  EXPECT_EQ(store_->BeginContext(Draft(*store_, spec)).status().code(),
            StatusCode::kInvalidArgument);
  spec.prefix.clear();
  EXPECT_EQ(store_->BeginContext(Draft(*store_, spec)).status().code(),
            StatusCode::kInvalidArgument);
}

TEST_F(ContextStoreTest, DeletingFreesTheDisk) {
  ASSERT_OK(Import(*store_, {.id = "kept", .tokens = SomeTokens(600, 1)}).status());
  const uint64_t before = DiskBytes(directory_ / "data");
  const auto committed = Import(*store_, {.id = "big", .tokens = SomeTokens(20'000, 2), .seed = 2});
  ASSERT_OK(committed.status());
  const uint64_t stored = committed->stored_bytes;
  ASSERT_GT(DiskBytes(directory_ / "data"), before + stored);

  // Nobody but `committed` holds the segment.
  const auto freed = store_->DeleteContext("default", "big");

  ASSERT_OK(freed.status());
  EXPECT_EQ(*freed, stored);
  ASSERT_OK(VerifySegment(*store_, *committed->context->chain[0].segment, 2));
  const_cast<std::shared_ptr<const StoredContext>&>(committed->context).reset();
  EXPECT_TRUE(Eventually([&] { return DiskBytes(directory_ / "data") < before + stored / 10; }));
  EXPECT_EQ(store_->stats().segments, 1);
  ASSERT_OK(
      VerifySegment(*store_, *(*store_->FindContext("default", "kept"))->chain[0].segment, 1));
}

TEST_F(ContextStoreTest, AHeldSegmentStaysReadableAndCanBeLinkedAgain) {
  auto committed = Import(*store_, {.id = "a", .tokens = SomeTokens(1000, 1)});
  ASSERT_OK(committed.status());
  const std::vector<SegmentLink> held = committed->context->chain;
  ASSERT_OK(store_->DeleteContext("default", "a").status());
  EXPECT_EQ(store_->stats().segments, 0);

  ASSERT_OK(VerifySegment(*store_, *held[0].segment, 1));
  EXPECT_EQ(ChainTokens(*store_, held), SomeTokens(1000, 1));
  const auto revived = Import(*store_, {.id = "b", .prefix = held});

  ASSERT_OK(revived.status());
  EXPECT_EQ(store_->stats().segments, 1);
  const_cast<std::vector<SegmentLink>&>(held).clear();
  committed->context.reset();
  const_cast<std::shared_ptr<const StoredContext>&>(revived->context).reset();
  Reopen();
  const auto context = store_->FindContext("default", "b");
  ASSERT_OK(context.status());
  ASSERT_OK(VerifySegment(*store_, *(*context)->chain[0].segment, 1));
  EXPECT_EQ(ChainTokens(*store_, (*context)->chain), SomeTokens(1000, 1));
}

TEST_F(ContextStoreTest, TokensAreErasedWhenNobodyHoldsTheirSegment) {
  constexpr size_t kTokens = kTokensPerRecord + 1;  // two records
  auto committed = Import(*store_, {.id = "a", .tokens = SomeTokens(kTokens, 1)});
  ASSERT_OK(committed.status());
  ASSERT_OK(Import(*store_, {.id = "b", .tokens = SomeTokens(10, 2)}).status());
  std::vector<SegmentLink> held = committed->context->chain;
  committed = NotFound("");
  ASSERT_OK(store_->DeleteContext("default", "a").status());
  ASSERT_OK(store_->Compact().status());
  EXPECT_EQ(ChainTokens(*store_, held), SomeTokens(kTokens, 1));

  held.clear();
  ASSERT_OK(store_->Compact().status());  // waits for what is dropped
  store_.reset();

  const auto database = Database::Open(directory_ / "data/db", {});
  ASSERT_OK(database.status());
  size_t record_count = 0;
  ASSERT_OK((*database)->ScanCatalog([&](std::string_view key, std::string_view) -> Status {
    record_count += key.front() == static_cast<char>(RecordKind::kTokens) ? 1U : 0U;
    return OkStatus();
  }));
  EXPECT_EQ(record_count, 1U) << "those of b";
}

TEST_F(ContextStoreTest, ASegmentHeldAtShutdownIsSweptAtTheNextStart) {
  std::shared_ptr<const Segment> held;
  {
    const auto committed = Import(*store_, {.id = "a", .tokens = SomeTokens(20'000, 1)});
    ASSERT_OK(committed.status());
    held = committed->context->chain[0].segment;
  }
  ASSERT_OK(store_->DeleteContext("default", "a").status());
  const uint64_t before = DiskBytes(directory_ / "data");
  store_.reset();
  held.reset();  // too late for that store
  EXPECT_GT(DiskBytes(directory_ / "data"), before / 2);

  Reopen();

  EXPECT_LT(DiskBytes(directory_ / "data"), before / 10);
}

TEST_F(ContextStoreTest, SegmentIdsAreNotReused) {
  std::vector<uint64_t> ids;
  for (int round = 0; round < 3; ++round) {
    const auto committed = Import(*store_, {.id = "a", .tokens = SomeTokens(20, 1)});
    ASSERT_OK(committed.status());
    ids.push_back(ToInt(committed->context->chain[0].segment->id));
    ASSERT_OK(store_->DeleteContext("default", "a").status());
    Reopen();
  }

  EXPECT_LT(ids[0], ids[1]);
  EXPECT_LT(ids[1], ids[2]);
}

TEST_F(ContextStoreTest, LeftoverImportsAreSweptAtStart) {
  store_.reset();
  fs::create_directories(directory_ / "data/import-77");
  std::ofstream(directory_ / "data/import-77/0.sst") << "torn";

  Reopen();

  EXPECT_TRUE(ImportDirectories().empty());
}

TEST_F(ContextStoreTest, ADamagedPageIsDataLossOfItsContextAlone) {
  ASSERT_OK(Import(*store_, {.id = "good", .tokens = SomeTokens(2000, 1), .seed = 1}).status());
  ASSERT_OK(Import(*store_, {.id = "bad", .tokens = SomeTokens(2000, 2), .seed = 2}).status());
  store_.reset();
  // The second import made the younger file: flip a byte of a page in its middle.
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(directory_ / "data/db")) {
    if (entry.path().extension() == ".sst" && entry.file_size() > 100'000) {
      files.push_back(entry.path().string());
    }
  }
  ASSERT_EQ(files.size(), 4);  // two layers, interleaved, of two contexts
  std::sort(files.begin(), files.end());
  {
    std::fstream file(files.back(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100'000);
    file.put('\x5A');
  }

  Reopen();

  const auto good = store_->FindContext("default", "good");
  ASSERT_OK(good.status());
  ASSERT_OK(VerifySegment(*store_, *(*good)->chain[0].segment, 1));
  const auto bad = store_->FindContext("default", "bad");
  ASSERT_OK(bad.status());
  EXPECT_EQ(VerifySegment(*store_, *(*bad)->chain[0].segment, 2).code(), StatusCode::kDataLoss);
  EXPECT_GE(store_->stats().checksum_failures, 1);
  // It can still be deleted, and its space comes back.
  ASSERT_OK(store_->DeleteContext("default", "bad").status());
}

TEST_F(ContextStoreTest, AStoreInUseIsRefused) {
  EXPECT_EQ(OpenAt(directory_ / "data").status().code(), StatusCode::kFailedPrecondition);
}

TEST_F(ContextStoreTest, ADirectoryOfSomebodyElseIsLeftAlone) {
  fs::create_directories(directory_ / "home");
  std::ofstream(directory_ / "home/letter.txt") << "dear";

  const auto store = OpenAt(directory_ / "home");

  EXPECT_EQ(store.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(store.status())), HasSubstr("letter.txt"));
  EXPECT_FALSE(fs::exists(directory_ / "home/db"));
}

TEST_F(ContextStoreTest, AContextLargerThanTheMemoryBudgetReads) {
  // 48 MiB of KV over a budget of 16.
  const ContextSpec spec{.tokens = SomeTokens(49'152, 1), .chunk_tokens = 1024};
  const auto committed = Import(*store_, spec);
  ASSERT_OK(committed.status());
  ASSERT_GT(committed->context->kv_bytes(), 2 * kBudget);

  ASSERT_OK(VerifySegment(*store_, *committed->context->chain[0].segment, spec.seed));

  const PageCacheStats cache = store_->stats().cache;
  EXPECT_LE(cache.used_bytes, kBudget);
  EXPECT_GT(cache.evictions, 0);
}

TEST_F(ContextStoreTest, ReadingTwiceIsServedFromMemory) {
  ASSERT_OK(Import(*store_, {.tokens = SomeTokens(100, 1)}).status());
  Reopen();
  const auto context = store_->FindContext("default", "a");
  ASSERT_OK(context.status());
  const Segment& segment = *(*context)->chain[0].segment;
  const PageId id{.segment = segment.id, .layer = 1, .kind = PageKind::kValue, .head = 1};

  EXPECT_FALSE(store_->IsResident(id));
  EXPECT_FALSE(store_->ReadPage(segment, id)->was_resident());
  EXPECT_TRUE(store_->IsResident(id));
  EXPECT_TRUE(store_->ReadPage(segment, id)->was_resident());
}

TEST_F(ContextStoreTest, PagesThatASegmentDoesNotHaveAreRefused) {
  const auto committed = Import(*store_, {.tokens = SomeTokens(100, 1)});
  ASSERT_OK(committed.status());
  const Segment& segment = *committed->context->chain[0].segment;
  const PageId good{.segment = segment.id};
  std::vector<PageId> wrong(5, good);
  wrong[0].layer = 2;
  wrong[1].head = 2;
  wrong[2].page_index = 1;
  wrong[3].kind = PageKind::kQuery;
  wrong[4].segment = SegmentId{99};

  ASSERT_OK(store_->ReadPage(segment, good).status());
  for (const PageId& id : wrong) {
    EXPECT_EQ(store_->ReadPage(segment, id).status().code(), StatusCode::kInvalidArgument);
  }
}

TEST_F(ContextStoreTest, ABackupVerifiesAndOpensAsAStore) {
  ASSERT_OK(Import(*store_, {.tokens = SomeTokens(3000, 1)}).status());
  const std::string backup = directory_ / "backup";

  const auto bytes = store_->CreateBackup(backup);

  ASSERT_OK(bytes.status());
  EXPECT_GT(*bytes, 3000 * model_.token_bytes());
  EXPECT_EQ(store_->CreateBackup(backup).status().code(), StatusCode::kAlreadyExists);
  ASSERT_OK(VerifyBackup(backup));
  ASSERT_OK(store_->DeleteContext("default", "a").status());
  store_.reset();
  fs::remove_all(directory_ / "data");
  auto restored = OpenAt(backup);
  ASSERT_OK(restored.status());
  const auto context = (*restored)->FindContext("default", "a");
  ASSERT_OK(context.status());
  ASSERT_OK(VerifySegment(**restored, *(*context)->chain[0].segment, 1));
}

TEST_F(ContextStoreTest, ADamagedBackupIsNoticed) {
  ASSERT_OK(Import(*store_, {.tokens = SomeTokens(3000, 1)}).status());
  const std::string backup = directory_ / "backup";
  ASSERT_OK(store_->CreateBackup(backup).status());
  store_.reset();  // its files share storage with the backup's
  for (const auto& entry : fs::directory_iterator(backup + "/db")) {
    if (entry.path().extension() != ".sst" || entry.file_size() < 100'000) continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(50'000);
    file.put('\x5A');
  }

  EXPECT_EQ(VerifyBackup(backup).code(), StatusCode::kDataLoss);
}

TEST_F(ContextStoreTest, ExpiredContextsNeitherMatchNorStay) {
  const auto tokens = SomeTokens(100, 1);
  ASSERT_OK(Import(*store_, {.id = "a", .tokens = tokens, .expire_time = TimeAt(5000)}).status());
  const ModelId model = store_->FindModel("test").value()->id;

  EXPECT_EQ(Match("default", model, tokens, TimeAt(4999)).matched_tokens, 100);
  EXPECT_EQ(Match("default", model, tokens, TimeAt(5000)).matched_tokens, 0);
  EXPECT_EQ(store_->DeleteExpired(TimeAt(4999)).value(), 0);
  ASSERT_OK(store_->UpdateContext("default", "a", {.pinned = true}).status());
  EXPECT_EQ(Match("default", model, tokens, TimeAt(5000)).matched_tokens, 100);
  EXPECT_EQ(store_->DeleteExpired(TimeAt(5000)).value(), 0);
  Reopen();
  EXPECT_EQ(store_->DeleteExpired(TimeAt(5000)).value(), 0);
  ASSERT_OK(store_->UpdateContext("default", "a", {.pinned = false}).status());
  EXPECT_EQ(store_->DeleteExpired(TimeAt(5000)).value(), 1);
  EXPECT_EQ(store_->FindContext("default", "a").status().code(), StatusCode::kNotFound);
}

TEST_F(ContextStoreTest, UpdatesAreDurableAndLeaveSnapshotsAlone) {
  const auto committed =
      Import(*store_, {.tokens = SomeTokens(10, 1), .expire_time = TimeAt(9000)});
  ASSERT_OK(committed.status());

  const auto updated = store_->UpdateContext(
      "default", "a",
      {.expire_time = std::optional<std::optional<WallTime>>(std::optional<WallTime>()),
       .labels = Labels{{"x", "y"}}});

  ASSERT_OK(updated.status());
  EXPECT_TRUE(committed->context->labels.empty());
  Reopen();
  const auto context = store_->FindContext("default", "a");
  ASSERT_OK(context.status());
  EXPECT_EQ((*context)->labels, (Labels{{"x", "y"}}));
  EXPECT_FALSE((*context)->expire_time);
  EXPECT_EQ(store_->UpdateContext("default", "b", {}).status().code(), StatusCode::kNotFound);
}

TEST_F(ContextStoreTest, ListsPageByFallingTimeAndGoOnAfterADeletedContext) {
  for (const auto& [id, time] : {std::pair{"c", 10}, {"a", 30}, {"b", 20}, {"e", 20}, {"d", 5}}) {
    ASSERT_OK(Import(*store_, {.id = id,
                               .tokens = SomeTokens(10, 1),
                               .create_time_ms = time,
                               .labels = {{"even", time % 20 == 0 ? "yes" : "no"}}})
                  .status());
  }
  const ContextFilter all{.tenant = "default"};

  EXPECT_THAT(ListIds(all), ElementsAre("a", "b", "e", "c", "d"));
  EXPECT_THAT(ListIds(all, "", 2), ElementsAre("a", "b"));
  EXPECT_THAT(ListIds(all, "b", 2), ElementsAre("e", "c"));
  ASSERT_OK(store_->DeleteContext("default", "b").status());
  EXPECT_THAT(ListIds(all, "b", 2), ElementsAre("e", "c"));
  EXPECT_THAT(ListIds({.tenant = "default", .labels = {{"even", "yes"}}}), ElementsAre("e"));
  EXPECT_TRUE(ListIds({.tenant = "other"}).empty());
  EXPECT_TRUE(ListIds({.tenant = "default", .model = "other"}).empty());
}

TEST_F(ContextStoreTest, AModelKeepsItsShape) {
  EXPECT_FALSE(store_->RegisterModel(model_).value());
  Model other = model_;
  other.head_dim = 128;
  EXPECT_EQ(store_->RegisterModel(other).status().code(), StatusCode::kAlreadyExists);
  other.name = "other";
  EXPECT_TRUE(store_->RegisterModel(other).value());
  other.name = "odd";
  other.head_dim = 12;
  EXPECT_EQ(store_->RegisterModel(other).status().code(), StatusCode::kInvalidArgument);
  Reopen();
  EXPECT_EQ(store_->FindModel("other").value()->model.head_dim, 128);
  EXPECT_EQ(store_->ListModels().size(), 2);
}

TEST_F(ContextStoreTest, ManyThreadsImportReadAndDelete) {
  std::vector<std::thread> threads;
  for (uint32_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (uint32_t round = 0; round < 10; ++round) {
        const uint32_t seed = thread * 100 + round;
        const std::string id = std::to_string(seed);
        auto committed = Import(*store_, {.id = id, .tokens = SomeTokens(600, seed), .seed = seed});
        ASSERT_OK(committed.status());
        ASSERT_OK(VerifySegment(*store_, *committed->context->chain[0].segment, seed));
        if (round % 2 == 0) ASSERT_OK(store_->DeleteContext("default", id).status());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(store_->stats().contexts, 20);
  EXPECT_EQ(store_->stats().segments, 20);
  Reopen();
  for (const auto& context : store_->ListContexts({.tenant = "default"}, "", 100)) {
    const auto seed = static_cast<uint32_t>(std::stoul(context->id));
    ASSERT_OK(VerifySegment(*store_, *context->chain[0].segment, seed));
  }
}

TEST_F(ContextStoreTest, WhatTheStoreTakesOfItsBudgetTheTierGivesUp) {
  EXPECT_LT(store_->stats().cache.capacity_bytes, kBudget) << "looked at when it was opened";
  for (uint32_t i = 0; i < 20; ++i) {
    const ContextSpec spec{.id = std::to_string(i), .tokens = SomeTokens(600, i), .seed = i};
    ASSERT_OK(Import(*store_, spec).status());
  }

  store_->FitMemory();

  const ContextStoreStats stats = store_->stats();
  EXPECT_LE(stats.cache.capacity_bytes + stats.memory.total(), kBudget);
  EXPECT_GT(stats.cache.used_bytes, 0) << "they are kept";
  for (const uint64_t part : {stats.memory.page_tables, stats.memory.catalog,
                              stats.memory.write_buffers, stats.memory.files}) {
    EXPECT_GT(part, 0);
  }
  for (uint32_t i = 0; i < 20; ++i) {
    ASSERT_OK(store_->DeleteContext("default", std::to_string(i)).status());
  }
  store_->FitMemory();
  EXPECT_EQ(store_->stats().memory.catalog, 0);
}

TEST_F(ContextStoreTest, UpdatesCountWhatTheyChange) {
  ASSERT_OK(Import(*store_, {.tokens = SomeTokens(600, 1)}).status());
  const auto catalog_bytes = [this] {
    store_->FitMemory();
    return store_->stats().memory.catalog;
  };
  const uint64_t before = catalog_bytes();

  ASSERT_OK(store_->UpdateContext("default", "a", {.labels = Labels{{"k", "value"}}}).status());
  EXPECT_GT(catalog_bytes(), before);
  ASSERT_OK(store_->UpdateContext("default", "a", {.labels = Labels()}).status());
  EXPECT_EQ(catalog_bytes(), before);
}

}  // namespace
}  // namespace alaya
