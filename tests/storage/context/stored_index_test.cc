// Indexes in the store: written once, committed all or nothing, gone with their segment.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "storage/database/database.h"
#include "storage/database/page_file.h"
#include "store_fixture.h"

namespace alaya {
namespace {

using testing::HasSubstr;

constexpr uint8_t kKind = 2;
constexpr uint32_t kVersion = 7;

// A block that tells which one it is, of a length of its own.
std::vector<std::byte> Block(uint32_t layer, uint32_t head, uint32_t block_index, uint8_t seed) {
  const size_t bytes = block_index == 0 ? kPagePayloadBytesMax : 1 + 977 * block_index + head;
  std::vector<std::byte> block(bytes);
  for (size_t i = 0; i < bytes; ++i) {
    const size_t source = (i << 16) + (layer << 12) + (head << 8) + (block_index << 4) + seed;
    const uint64_t mixed = source * 0x9E3779B97F4A7C15ULL;
    block[i] = static_cast<std::byte>((mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9ULL >> 40);
  }
  return block;
}

// Head h of layer l has l + h blocks: the first head of all has none.
uint32_t BlockCount(uint32_t layer, uint32_t head) { return layer + head; }

Status WriteBlocks(IndexWriter& writer, uint8_t seed) {
  const Model model = TestModel();
  for (uint32_t layer = 0; layer < model.num_layers; ++layer) {
    for (uint32_t head = 0; head < model.num_kv_heads; ++head) {
      for (uint32_t block = 0; block < BlockCount(layer, head); ++block) {
        ALAYA_RETURN_IF_ERROR(writer.AppendBlock(LayerIndex{layer}, KvHeadIndex{head},
                                                 Block(layer, head, block, seed)));
      }
    }
  }
  return OkStatus();
}

Status BuildIndex(ContextStore& store, const std::shared_ptr<const Segment>& segment,
                  uint8_t kind = kKind, uint32_t version = kVersion, uint8_t seed = 1) {
  ALAYA_ASSIGN_OR_RETURN(const auto writer, store.BeginIndex(segment, kind, version));
  ALAYA_RETURN_IF_ERROR(WriteBlocks(*writer, seed));
  return writer->Commit();
}

Status VerifyIndex(ContextStore& store, const Segment& segment, uint8_t kind = kKind,
                   uint8_t seed = 1) {
  const StoredIndex* index = segment.indexes.find(kind);
  if (index == nullptr) return NotFound("no index");
  const Model& model = segment.model->model;
  for (uint32_t layer = 0; layer < model.num_layers; ++layer) {
    for (uint32_t head = 0; head < model.num_kv_heads; ++head) {
      const LayerIndex l{layer};
      const KvHeadIndex h{head};
      if (index->block_count(l, h) != BlockCount(layer, head)) return Internal("block count");
      for (uint32_t block = 0; block < BlockCount(layer, head); ++block) {
        ALAYA_ASSIGN_OR_RETURN(const PinnedPage page,
                               store.ReadIndexBlock(segment, *index, index->page(l, h, block)));
        if (!std::ranges::equal(page.payload(), Block(layer, head, block, seed))) {
          return Internal("wrong bytes");
        }
      }
    }
  }
  return OkStatus();
}

class StoredIndexTest : public StoreTest {
 protected:
  std::shared_ptr<const Segment> ImportSegment(const std::string& id = "a", uint32_t seed = 1) {
    auto imported = Import(*store_, {.id = id, .tokens = SomeTokens(700, seed), .seed = seed});
    EXPECT_TRUE(imported.ok()) << imported.status().ToString();
    return imported->context->chain.back().segment;
  }
  std::shared_ptr<const Segment> FindSegment(const std::string& id = "a") {
    return store_->FindContext("default", id).value()->chain.back().segment;
  }
  IndexCount Count(uint8_t kind = kKind) { return store_->stats().indexes[kind]; }
  // Waits until dead segments and indexes are dropped.
  void Settle() { ASSERT_OK(store_->Compact().status()); }
};

TEST_F(StoredIndexTest, ACommittedIndexReadsBackAlsoAfterARestart) {
  {
    const auto segment = ImportSegment();
    EXPECT_EQ(segment->indexes.find(kKind), nullptr);

    ASSERT_OK(BuildIndex(*store_, segment));

    ASSERT_OK(VerifyIndex(*store_, *segment));
    EXPECT_EQ(Count().segments, 1U);
  }
  const uint64_t stored_bytes = Count().stored_bytes;
  EXPECT_GT(stored_bytes, 3 * kPagePayloadBytesMax);

  Reopen();

  const auto segment = FindSegment();
  ASSERT_OK(VerifyIndex(*store_, *segment));
  ASSERT_OK(VerifySegment(*store_, *segment, 1));
  EXPECT_EQ(segment->indexes.find(kKind)->version, kVersion);
  EXPECT_EQ(Count().segments, 1U);
  EXPECT_EQ(Count().stored_bytes, stored_bytes);
}

TEST_F(StoredIndexTest, KindsLieSideBySide) {
  const auto segment = ImportSegment();
  ASSERT_OK(BuildIndex(*store_, segment, 2, 1, /*seed=*/11));
  ASSERT_OK(BuildIndex(*store_, segment, 4, 9, /*seed=*/12));

  ASSERT_OK(VerifyIndex(*store_, *segment, 2, 11));
  ASSERT_OK(VerifyIndex(*store_, *segment, 4, 12));
  EXPECT_EQ(segment->indexes.find(3), nullptr);
  EXPECT_EQ(segment->indexes.list().size(), 2U);
  EXPECT_EQ(Count(4).segments, 1U);
}

TEST_F(StoredIndexTest, AnIndexWithoutBlocksIsAnIndex) {
  {
    const auto writer = store_->BeginIndex(ImportSegment(), kKind, kVersion);
    ASSERT_OK(writer.status());
    ASSERT_OK((*writer)->Commit());
  }

  Reopen();

  const StoredIndex* index = FindSegment()->indexes.find(kKind);
  ASSERT_NE(index, nullptr);
  EXPECT_EQ(index->block_count(LayerIndex{1}, KvHeadIndex{1}), 0U);
}

TEST_F(StoredIndexTest, AnUncommittedIndexLeavesNothing) {
  const auto segment = ImportSegment();
  const uint64_t disk_bytes = store_->stats().disk_bytes;
  {
    const auto writer = store_->BeginIndex(segment, kKind, kVersion);
    ASSERT_OK(writer.status());
    ASSERT_OK(WriteBlocks(**writer, 1));
  }

  EXPECT_EQ(segment->indexes.find(kKind), nullptr);
  EXPECT_EQ(store_->stats().disk_bytes, disk_bytes);
  for (const auto& entry : std::filesystem::directory_iterator(directory_ / "data")) {
    EXPECT_FALSE(entry.path().filename().string().starts_with("import-"));
  }
}

TEST_F(StoredIndexTest, PagesThatNoRecordNamesAreSweptAtTheStart) {
  uint64_t disk_bytes = 0;
  {
    const auto segment = ImportSegment();
    disk_bytes = store_->stats().disk_bytes;
  }
  store_.reset();
  {
    // As a crash between ingestion and the record leaves them.
    auto database = Database::Open(directory_ / "data/db", {});
    ASSERT_OK(database.status());
    StoredIndex index{.id = SegmentId{900}, .kind = kKind, .num_kv_heads = 2, .block_counts = {}};
    std::string stored;
    EncodeIndexPage({.id = index.page(LayerIndex{0}, KvHeadIndex{0}, 0)}, Block(0, 0, 0, 1),
                    &stored);
    auto file = PageFileWriter::Open(**database, directory_ / "data/orphan.sst");
    ASSERT_OK(file.status());
    ASSERT_OK((*file)->Add(EncodePageKey(index.page(LayerIndex{0}, KvHeadIndex{0}, 0)),
                           std::as_bytes(std::span(stored))));
    ASSERT_OK((*file)->Finish().status());
    ASSERT_OK((*database)->IngestPages({directory_ / "data/orphan.sst"}));
    ASSERT_GT((*database)->stats().disk_bytes, disk_bytes + kPagePayloadBytesMax / 2);
  }

  Reopen();

  EXPECT_LT(store_->stats().disk_bytes, disk_bytes + kPagePayloadBytesMax / 2);
  EXPECT_EQ(FindSegment()->indexes.find(kKind), nullptr);
  ASSERT_OK(VerifySegment(*store_, *FindSegment(), 1));
}

TEST_F(StoredIndexTest, ADeletedSegmentTakesItsIndexesAlong) {
  {
    const auto segment = ImportSegment();
    ASSERT_OK(BuildIndex(*store_, segment));
    const auto freed = store_->DeleteContext("default", "a");
    ASSERT_OK(freed.status());
    EXPECT_GE(*freed, segment->stored_bytes + segment->indexes.find(kKind)->stored_bytes);
    // Whoever holds the segment still reads its index.
    ASSERT_OK(VerifyIndex(*store_, *segment));
    EXPECT_EQ(Count().segments, 0U);
  }

  Settle();

  EXPECT_LT(store_->stats().disk_bytes, kPagePayloadBytesMax);
  Reopen();
  EXPECT_LT(store_->stats().disk_bytes, kPagePayloadBytesMax);
}

TEST_F(StoredIndexTest, ASegmentThatOutlivesItsContextKeepsItsIndexInTheNextOne) {
  {
    const auto context = Import(*store_, {.tokens = SomeTokens(700, 1)});
    ASSERT_OK(context.status());
    const std::vector<SegmentLink> chain = context->context->chain;
    ASSERT_OK(BuildIndex(*store_, chain.back().segment));
    ASSERT_OK(store_->DeleteContext("default", "a").status());
    ASSERT_OK(Import(*store_, {.id = "b", .prefix = chain}).status());
  }

  Reopen();

  ASSERT_OK(VerifyIndex(*store_, *FindSegment("b")));
}

TEST_F(StoredIndexTest, AnIndexOfADeletedSegmentIsRefusedAndItsPagesGo) {
  {
    const auto segment = ImportSegment();
    const auto writer = store_->BeginIndex(segment, kKind, kVersion);
    ASSERT_OK(writer.status());
    ASSERT_OK(WriteBlocks(**writer, 1));
    EXPECT_TRUE(store_->IsLinked(*segment));
    ASSERT_OK(store_->DeleteContext("default", "a").status());
    EXPECT_FALSE(store_->IsLinked(*segment));

    EXPECT_EQ((*writer)->Commit().code(), StatusCode::kNotFound);
    EXPECT_FALSE((*writer)->Commit().ok());
    EXPECT_EQ(segment->indexes.find(kKind), nullptr);
  }

  Settle();

  EXPECT_LT(store_->stats().disk_bytes, kPagePayloadBytesMax);
}

TEST_F(StoredIndexTest, ANewVersionReplacesTheOldOne) {
  {
    const auto segment = ImportSegment();
    ASSERT_OK(BuildIndex(*store_, segment, kKind, 1, /*seed=*/1));
    const StoredIndex* old_index = segment->indexes.find(kKind);
    ASSERT_OK(BuildIndex(*store_, segment, kKind, 2, /*seed=*/2));

    ASSERT_OK(VerifyIndex(*store_, *segment, kKind, 2));
    // Who found the old one before goes on reading it.
    ASSERT_OK(store_
                  ->ReadIndexBlock(*segment, *old_index,
                                   old_index->page(LayerIndex{1}, KvHeadIndex{1}, 1))
                  .status());
    EXPECT_EQ(Count().segments, 1U);
  }
  const uint64_t both_bytes = store_->stats().disk_bytes;

  Reopen();

  ASSERT_OK(VerifyIndex(*store_, *FindSegment(), kKind, 2));
  EXPECT_EQ(FindSegment()->indexes.find(kKind)->version, 2U);
  EXPECT_LT(store_->stats().disk_bytes, both_bytes - kPagePayloadBytesMax);
}

TEST_F(StoredIndexTest, BlocksOutOfTurnAndOfWrongSizeAreRefused) {
  const auto segment = ImportSegment();
  const std::vector<std::byte> block(10);
  const auto error = [&](uint32_t layer, uint32_t head, size_t bytes) {
    const auto writer = store_->BeginIndex(segment, kKind, kVersion).value();
    EXPECT_TRUE(writer->AppendBlock(LayerIndex{1}, KvHeadIndex{0}, block).ok());
    return writer->AppendBlock(LayerIndex{layer}, KvHeadIndex{head}, std::vector<std::byte>(bytes));
  };

  EXPECT_THAT(error(0, 1, 10).ToString(), HasSubstr("comes after layer 1, head 0"));
  EXPECT_THAT(error(2, 0, 10).ToString(), HasSubstr("the model has 2 and 2"));
  EXPECT_THAT(error(1, 2, 10).ToString(), HasSubstr("the model has 2 and 2"));
  EXPECT_THAT(error(1, 1, 0).ToString(), HasSubstr("allowed is 1 to 65536"));
  EXPECT_THAT(error(1, 1, kPagePayloadBytesMax + 1).ToString(), HasSubstr("allowed is 1 to 65536"));
  EXPECT_TRUE(error(1, 1, kPagePayloadBytesMax).ok());
  for (const uint8_t kind : {uint8_t{0}, uint8_t{16}, uint8_t{255}}) {
    EXPECT_EQ(store_->BeginIndex(segment, kind, 1).status().code(), StatusCode::kInvalidArgument);
  }
}

TEST_F(StoredIndexTest, ABlockThatDoesNotExistIsRefused) {
  const auto segment = ImportSegment();
  ASSERT_OK(BuildIndex(*store_, segment));
  const StoredIndex& index = *segment->indexes.find(kKind);
  const auto code = [&](uint32_t layer, uint32_t head, uint32_t block) {
    return store_
        ->ReadIndexBlock(*segment, index, index.page(LayerIndex{layer}, KvHeadIndex{head}, block))
        .status()
        .code();
  };

  EXPECT_EQ(code(1, 1, 1), StatusCode::kOk);
  EXPECT_EQ(code(1, 1, 2), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(1, 2, 0), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(2, 0, 0), StatusCode::kInvalidArgument);
}

TEST_F(StoredIndexTest, ADamagedBlockIsDataLossThatNamesItAndCounts) {
  ASSERT_OK(BuildIndex(*store_, ImportSegment()));
  store_.reset();
  // One byte of that block's page.
  size_t damaged_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory_ / "data/db")) {
    if (entry.path().extension() != ".sst") continue;
    std::ifstream stored(entry.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(stored)), {});
    const auto block = Block(1, 1, 0, 1);
    const size_t at = bytes.find(std::string(reinterpret_cast<const char*>(block.data()), 64));
    if (at == std::string::npos) continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(at + 1000));
    file.put(static_cast<char>(~bytes[at + 1000]));
    ASSERT_TRUE(file.flush().good());
    ++damaged_files;
  }
  ASSERT_EQ(damaged_files, 1U);

  Reopen();

  const auto segment = FindSegment();
  const StoredIndex& index = *segment->indexes.find(kKind);
  const Status status =
      store_->ReadIndexBlock(*segment, index, index.page(LayerIndex{1}, KvHeadIndex{1}, 0))
          .status();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(status.ToString(), HasSubstr("page 0 of index kind 2 of head 1, layer 1"));
  EXPECT_EQ(store_->stats().checksum_failures, 1U);
  ASSERT_OK(VerifySegment(*store_, *segment, 1));
}

TEST_F(StoredIndexTest, WishesSurviveARestart) {
  {
    ContextSpec spec{.tokens = SomeTokens(50, 1)};
    ContextDraft draft = Draft(*store_, spec);
    draft.wanted_indexes = {2, 4};
    const auto writer = store_->BeginContext(std::move(draft));
    ASSERT_OK(writer.status());
    ASSERT_OK(Fill(**writer, model_, spec));
    ASSERT_OK((*writer)->Commit().status());
  }

  Reopen();

  ASSERT_EQ(store_->ListSegments().size(), 1U);
  EXPECT_THAT(store_->ListSegments()[0]->wanted_indexes, testing::ElementsAre(2, 4));
}

TEST_F(StoredIndexTest, ABackupHoldsTheIndexes) {
  ASSERT_OK(BuildIndex(*store_, ImportSegment()));
  ASSERT_OK(store_->CreateBackup(directory_ / "backup").status());

  const auto copy = OpenAt(directory_ / "backup");

  ASSERT_OK(copy.status());
  const auto context = (*copy)->FindContext("default", "a");
  ASSERT_OK(context.status());
  ASSERT_OK(VerifyIndex(**copy, *(*context)->chain.back().segment));
}

}  // namespace
}  // namespace alaya
