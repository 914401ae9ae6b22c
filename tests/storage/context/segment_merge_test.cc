// Short segments become one: every byte stays, everything that shared them shares the new
// one, who reads the old ones reads on.

#include "storage/context/segment_merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "store_fixture.h"

namespace alaya {
namespace {

using testing::HasSubstr;

bool Never() { return false; }

class SegmentMergeTest : public StoreTest {
 protected:
  // Stores the parent's tokens and some of its own; returns the new chain.
  std::vector<SegmentLink> Grow(const std::string& id, const std::vector<SegmentLink>& prefix,
                                uint32_t seed, size_t tokens) {
    const auto committed = Import(*store_, {.id = id,
                                            .prefix = prefix,
                                            .tokens = SomeTokens(tokens, seed),
                                            .seed = seed,
                                            .queries = 5});
    EXPECT_TRUE(committed.ok()) << committed.status().ToString();
    return committed->context->chain;
  }
  // Contexts "1" to "4" of one sequence, each longer than the one before.
  void GrowFour() {
    std::vector<SegmentLink> chain;
    for (const FilledPart& part : kParts) {
      chain = Grow(std::to_string(part.seed), chain, part.seed, part.count);
    }
  }
  std::vector<SegmentLink> ChainOf(const std::string& id) {
    return store_->FindContext("default", id).value()->chain;
  }
  std::shared_ptr<const Segment> Merge() {
    auto merged = store_->MergeSegments(Never);
    EXPECT_TRUE(merged.ok()) << merged.status().ToString();
    return merged.ok() ? *merged : nullptr;
  }
  // Waits until dead segments are dropped.
  void Settle() { ASSERT_OK(store_->Compact().status()); }
  void ExpectFourWhole() {
    std::vector<FilledPart> parts;
    for (const FilledPart& part : kParts) {
      parts.push_back(part);
      ASSERT_OK(VerifyChain(*store_, ChainOf(std::to_string(part.seed)), parts));
    }
  }

  // More than a page, less, a whole one, one token.
  const std::vector<FilledPart> kParts = {{1, 300}, {2, 50}, {3, 128}, {4, 1}};
};

TEST_F(SegmentMergeTest, ContextsOfOneSequenceShareTheJoinedSegment) {
  GrowFour();
  ASSERT_EQ(store_->stats().segments, 4U);

  // 300 tokens are more than the rest: they stay.
  EXPECT_EQ(Merge(), nullptr);
  const auto chain = Grow("5", ChainOf("4"), 5, 150);
  const auto merged = Merge();

  ASSERT_NE(merged, nullptr);
  EXPECT_EQ(merged->token_begin, 0U);
  EXPECT_EQ(merged->token_count, 300U + 50 + 128 + 1 + 150);
  EXPECT_EQ(merged->query_counts, std::vector<uint32_t>({25, 25}));
  EXPECT_EQ(store_->stats().segments, 1U);
  EXPECT_EQ(store_->stats().joined_segments, 5U);
  EXPECT_EQ(store_->stats().stored_tokens, merged->token_count);
  ExpectFourWhole();
  const auto tokens = ChainTokens(*store_, ChainOf("5"));
  EXPECT_EQ(tokens, ChainTokens(*store_, chain));
  const auto match =
      store_->MatchPrefix("default", merged->model->id, std::span(tokens).first(400), TimeAt(0));
  ASSERT_OK(match.status());
  EXPECT_EQ(match->matched_tokens, 400U);
  EXPECT_EQ(Merge(), nullptr);

  Reopen();

  EXPECT_EQ(store_->stats().segments, 1U);
  ExpectFourWhole();
  EXPECT_EQ(Merge(), nullptr);
}

TEST_F(SegmentMergeTest, QueriesFollowEachOther) {
  GrowFour();
  Grow("5", ChainOf("4"), 5, 300);
  const auto merged = Merge();
  ASSERT_NE(merged, nullptr);

  const size_t row_bytes = model_.row_bytes();
  for (uint32_t head = 0; head < model_.num_query_heads; ++head) {
    const PageId id{merged->id, /*layer=*/1, 0, PageKind::kQuery, head};
    const auto page = store_->ReadPage(*merged, id);
    ASSERT_OK(page.status());
    for (uint32_t seed = 1; seed <= 5; ++seed) {
      const auto rows = Rows(model_, seed, 1, PageKind::kQuery, 0, 5);
      for (size_t row = 0; row < 5; ++row) {
        const auto found = page->payload().subspan(((seed - 1) * 5 + row) * row_bytes, row_bytes);
        const auto expected =
            std::span(rows).subspan((row * model_.num_query_heads + head) * row_bytes, row_bytes);
        EXPECT_TRUE(std::ranges::equal(found, expected)) << "head " << head << ", row " << row;
      }
    }
  }
}

TEST_F(SegmentMergeTest, NothingIsJoinedAcrossABranch) {
  GrowFour();
  Grow("branch", ChainPrefix(ChainOf("2"), 340), 9, 60);
  Grow("5", ChainOf("4"), 5, 300);
  // "branch" leaves in the middle of the second segment: the run begins behind that.
  EXPECT_EQ(Merge(), nullptr);

  auto chain = Grow("6", ChainOf("5"), 6, 100);
  EXPECT_EQ(Merge(), nullptr);
  chain = Grow("7", chain, 7, 250);
  const auto merged = Merge();

  ASSERT_NE(merged, nullptr);
  EXPECT_EQ(merged->token_begin, 350U);
  ASSERT_OK(VerifyChain(*store_, ChainOf("branch"), {{1, 300}, {2, 40}, {9, 60}}));
  ASSERT_OK(VerifyChain(*store_, ChainOf("7"),
                        {{1, 300}, {2, 50}, {3, 128}, {4, 1}, {5, 300}, {6, 100}, {7, 250}}));
  ExpectFourWhole();
}

TEST_F(SegmentMergeTest, WhoReadsTheOldSegmentsReadsOn) {
  GrowFour();
  const auto old_chain = Grow("5", ChainOf("4"), 5, 300);
  ASSERT_NE(Merge(), nullptr);
  const uint64_t with_old = store_->stats().disk_bytes;

  std::vector<FilledPart> parts = kParts;
  parts.push_back({5, 300});
  ASSERT_OK(VerifyChain(*store_, old_chain, parts));
  Settle();
  EXPECT_GE(store_->stats().disk_bytes, with_old);
}

TEST_F(SegmentMergeTest, OldSegmentsGoWithTheirLastReader) {
  GrowFour();
  uint64_t with_both = 0;
  {
    const auto old_chain = Grow("5", ChainOf("4"), 5, 300);
    ASSERT_NE(Merge(), nullptr);
    with_both = store_->stats().disk_bytes;
  }
  Settle();

  EXPECT_LT(store_->stats().disk_bytes, with_both * 6 / 10);
  ExpectFourWhole();
}

TEST_F(SegmentMergeTest, AContextBegunOnOldSegmentsEndsOnTheJoinedOne) {
  GrowFour();
  const auto old_chain = Grow("5", ChainOf("4"), 5, 300);
  const ContextSpec spec{
      .id = "late", .prefix = ChainPrefix(old_chain, 400), .tokens = SomeTokens(70, 8), .seed = 8};
  auto writer = store_->BeginContext(Draft(*store_, spec));
  ASSERT_OK(writer.status());
  ASSERT_OK(Fill(**writer, model_, spec));

  const auto merged = Merge();
  const auto committed = (*writer)->Commit();
  writer->reset();

  ASSERT_OK(committed.status());
  ASSERT_EQ(committed->context->chain.size(), 2U);
  EXPECT_EQ(committed->context->chain[0].segment, merged);
  EXPECT_EQ(store_->stats().segments, 2U);
  ASSERT_OK(VerifyChain(*store_, ChainOf("late"), {{1, 300}, {2, 50}, {3, 50}, {8, 70}}));
  Reopen();
  ASSERT_OK(VerifyChain(*store_, ChainOf("late"), {{1, 300}, {2, 50}, {3, 50}, {8, 70}}));
}

TEST_F(SegmentMergeTest, ASegmentDeletedUnderTheMergeStaysDeleted) {
  GrowFour();
  Grow("5", ChainOf("4"), 5, 300);
  size_t pages = 0;
  const auto merged = store_->MergeSegments([&] {
    // In the middle of writing.
    if (++pages == 5) {
      EXPECT_TRUE(store_->DeleteContext("default", "5").ok());
    }
    return false;
  });

  EXPECT_EQ(merged.status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_->stats().segments, 4U);
  ExpectFourWhole();
  EXPECT_EQ(Merge(), nullptr);
  Settle();
  Reopen();
  EXPECT_FALSE(store_->FindContext("default", "5").ok());
  ExpectFourWhole();
}

TEST_F(SegmentMergeTest, AStoppedMergeChangesNothingAndIsTriedAgain) {
  GrowFour();
  Grow("5", ChainOf("4"), 5, 300);
  size_t pages = 0;
  const auto stopped = store_->MergeSegments([&] { return ++pages > 3; });
  EXPECT_EQ(stopped.status().code(), StatusCode::kCancelled);
  EXPECT_EQ(store_->stats().segments, 5U);
  for (const auto& entry : std::filesystem::directory_iterator(directory_ / "data")) {
    EXPECT_THAT(entry.path().filename().string(), testing::Not(HasSubstr("import-")));
  }

  EXPECT_NE(Merge(), nullptr);
  ExpectFourWhole();
}

TEST_F(SegmentMergeTest, ReadersAndWritersGoOnWhileSegmentsAreJoined) {
  GrowFour();
  std::atomic<bool> done{false};
  std::thread reader([&] {
    while (!done) {
      ASSERT_OK(VerifyChain(*store_, ChainOf("4"), kParts));
    }
  });
  std::vector<FilledPart> parts = kParts;
  std::vector<SegmentLink> chain = ChainOf("4");
  for (uint32_t seed = 5; seed < 25; ++seed) {
    chain = Grow(std::to_string(seed), chain, seed, 40);
    parts.push_back({seed, 40});
    while (Merge() != nullptr) {
    }
  }
  done = true;
  reader.join();

  EXPECT_LE(store_->stats().segments, 8U);
  EXPECT_GT(store_->stats().joined_segments, 8U);
  ASSERT_OK(VerifyChain(*store_, ChainOf("24"), parts));
  for (uint32_t seed = 1; seed < 25; ++seed) {
    ASSERT_OK(store_->DeleteContext("default", std::to_string(seed)).status());
  }
  chain.clear();
  Settle();
  EXPECT_EQ(store_->stats().segments, 0U);
  EXPECT_LT(store_->stats().disk_bytes, uint64_t{1} << 20);
}

}  // namespace
}  // namespace alaya
