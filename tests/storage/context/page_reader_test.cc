// Pages that come to memory ahead of use.

#include "storage/context/page_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "store_fixture.h"

namespace alaya {
namespace {

class PageReaderTest : public StoreTest {
 protected:
  // A context that is on disk only.
  std::shared_ptr<const StoredContext> OnDisk(uint64_t token_count) {
    EXPECT_TRUE(Import(*store_, {.tokens = SomeTokens(token_count, 1)}).ok());
    Reopen();
    return store_->FindContext("default", "a").value();
  }
  static std::vector<PageId> AllPages(const Segment& segment) {
    std::vector<PageId> ids;
    const Model& model = segment.model->model;
    const uint64_t page_tokens = PageTokens(model);
    for (uint32_t layer = 0; layer < model.num_layers; ++layer) {
      for (uint64_t page = 0; page * page_tokens < segment.token_count; ++page) {
        for (uint32_t head = 0; head < model.num_kv_heads; ++head) {
          for (const PageKind kind : {PageKind::kKey, PageKind::kValue}) {
            ids.push_back({segment.id, layer, static_cast<uint32_t>(page), kind, head});
          }
        }
      }
    }
    return ids;
  }
};

TEST_F(PageReaderTest, ASmallSegmentIsInMemoryOnceItIsWritten) {
  const auto committed = Import(*store_, {.tokens = SomeTokens(1000, 1)});
  ASSERT_OK(committed.status());
  const std::vector<SegmentLink>& chain = committed->context->chain;

  EXPECT_EQ(store_->ResidentTokens(chain), 1000U);
  ASSERT_OK(VerifySegment(*store_, *chain[0].segment, 1));
  EXPECT_EQ(store_->stats().cache.misses, 0U);
}

TEST_F(PageReaderTest, ALargeSegmentLeavesMemoryToOthers) {
  // 16 MiB of memory, 1 KiB a token.
  const auto committed = Import(*store_, {.tokens = SomeTokens(5000, 1)});
  ASSERT_OK(committed.status());

  EXPECT_EQ(store_->ResidentTokens(committed->context->chain), 0U);
  EXPECT_EQ(store_->stats().cache.used_bytes, 0U);
}

TEST_F(PageReaderTest, AnImportThatIsGivenUpLeavesNothingInMemory) {
  {
    ASSERT_OK(store_->RegisterModel(model_).status());
    const ContextSpec spec{.tokens = SomeTokens(1000, 1)};
    auto writer = store_->BeginContext(Draft(*store_, spec));
    ASSERT_OK(writer.status());
    ASSERT_OK(Fill(**writer, model_, spec));
    EXPECT_GT(store_->stats().cache.used_bytes, 0U);
  }

  EXPECT_EQ(store_->stats().cache.used_bytes, 0U);
}

TEST_F(PageReaderTest, LoadedPagesAreThereAndRight) {
  const auto context = OnDisk(1000);
  const Segment& segment = *context->chain[0].segment;
  const std::vector<PageId> ids = AllPages(segment);

  EXPECT_EQ(store_->LoadPages(segment, ids), ids.size());

  for (const PageId& id : ids) EXPECT_TRUE(store_->IsResident(id)) << ToString(id);
  EXPECT_EQ(store_->LoadPages(segment, ids), 0U);
  ASSERT_OK(VerifySegment(*store_, segment, 1));
  EXPECT_EQ(store_->stats().cache.misses, 0U);
  EXPECT_EQ(store_->ResidentTokens(context->chain), 1000U);
}

TEST_F(PageReaderTest, AnnouncedPagesComeByThemselves) {
  const auto context = OnDisk(1000);
  const auto segment = context->chain[0].segment;
  const std::vector<PageId> ids = AllPages(*segment);

  store_->Announce(segment, ids);

  // Reading waits for pages that are on their way.
  ASSERT_OK(VerifySegment(*store_, *segment, 1));
  while (store_->stats().cache.prefetched + store_->stats().cache.misses < ids.size()) {
    std::this_thread::yield();
  }
  for (const PageId& id : ids) EXPECT_TRUE(store_->IsResident(id)) << ToString(id);
}

TEST_F(PageReaderTest, ResidentTokensEndAtTheFirstGap) {
  const auto context = OnDisk(1000);
  const Segment& segment = *context->chain[0].segment;
  const uint64_t page_tokens = PageTokens(model_);
  std::vector<PageId> ids = AllPages(segment);
  // All but one value of the second page.
  std::erase_if(ids, [](const PageId& id) {
    return id.page_index == 1 && id.kind == PageKind::kValue && id.head == 1 && id.layer == 1;
  });
  store_->LoadPages(segment, ids);

  EXPECT_EQ(store_->ResidentTokens(context->chain), page_tokens);
  EXPECT_EQ(store_->ResidentTokens(ChainPrefix(context->chain, page_tokens - 1)), page_tokens - 1);
}

TEST_F(PageReaderTest, AScanGivesEveryPageOnceAndLeavesMemoryAlone) {
  const auto context = OnDisk(1000);
  const Segment& segment = *context->chain[0].segment;
  const std::vector<PageId> ids = AllPages(segment);
  // Some are in memory: they come from there.
  std::vector<PageId> loaded;
  for (size_t i = 0; i < ids.size(); i += 3) loaded.push_back(ids[i]);
  store_->LoadPages(segment, loaded);
  const uint64_t used_bytes = store_->stats().cache.used_bytes;

  std::vector<std::vector<std::byte>> pages(ids.size());
  ASSERT_OK(store_->ScanPages(segment, ids, [&](size_t i, std::span<const std::byte> payload) {
    EXPECT_TRUE(pages[i].empty());
    pages[i].assign(payload.begin(), payload.end());
  }));

  EXPECT_EQ(store_->stats().cache.used_bytes, used_bytes);
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto page = store_->ReadPage(segment, ids[i]);
    ASSERT_OK(page.status());
    EXPECT_TRUE(std::ranges::equal(pages[i], page->payload())) << ToString(ids[i]);
  }
}

TEST_F(PageReaderTest, AScanSaysWhichPageIsDamagedAndNeverGivesIt) {
  const auto context = OnDisk(1000);
  const Segment& segment = *context->chain[0].segment;
  const std::vector<PageId> ids = AllPages(segment);
  store_.reset();
  for (const auto& entry : std::filesystem::directory_iterator(directory_ / "data/db")) {
    if (entry.path().extension() != ".sst" || entry.file_size() < 100'000) continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100'000);
    file.put('\x5A');
  }
  Reopen();
  const auto again = store_->FindContext("default", "a");
  ASSERT_OK(again.status());

  std::vector<size_t> given;
  const Status scanned =
      store_->ScanPages(*(*again)->chain[0].segment, ids,
                        [&](size_t i, std::span<const std::byte>) { given.push_back(i); });

  EXPECT_EQ(scanned.code(), StatusCode::kDataLoss);
  EXPECT_NE(Message(scanned).find("page "), std::string::npos) << Message(scanned);
  EXPECT_GT(given.size(), 0U);
  for (const size_t i : given) {
    EXPECT_TRUE(store_->ReadPage(*(*again)->chain[0].segment, ids[i]).ok()) << ToString(ids[i]);
  }
  EXPECT_GE(store_->stats().checksum_failures, 1U);
}

TEST_F(PageReaderTest, AScanRefusesPagesThatDoNotExist) {
  const auto context = OnDisk(100);
  const Segment& segment = *context->chain[0].segment;
  const std::vector<PageId> wrong = {{.segment = segment.id, .layer = 7}};

  EXPECT_EQ(store_->ScanPages(segment, wrong, [](size_t, std::span<const std::byte>) {}).code(),
            StatusCode::kInvalidArgument);
}

TEST_F(PageReaderTest, PagesThatDoNotExistAreLeftToReadPageToReport) {
  const auto context = OnDisk(100);
  const Segment& segment = *context->chain[0].segment;
  const PageId wrong{.segment = segment.id, .layer = 7};

  EXPECT_EQ(store_->LoadPages(segment, std::vector<PageId>(2, wrong)), 2U);

  EXPECT_EQ(store_->ReadPage(segment, wrong).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace alaya
