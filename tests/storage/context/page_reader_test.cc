// Pages that come to memory ahead of use.

#include "storage/context/page_reader.h"

#include <gtest/gtest.h>

#include <thread>

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
      for (uint64_t page = 0; page * page_tokens < segment.token_count(); ++page) {
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

TEST_F(PageReaderTest, PagesThatDoNotExistAreLeftToReadPageToReport) {
  const auto context = OnDisk(100);
  const Segment& segment = *context->chain[0].segment;
  const PageId wrong{.segment = segment.id, .layer = 7};

  EXPECT_EQ(store_->LoadPages(segment, std::vector<PageId>(2, wrong)), 2U);

  EXPECT_EQ(store_->ReadPage(segment, wrong).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace alaya
