#include "server/engine/index_kinds.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "index/exact_index.h"
#include "index/memory_index_blocks.h"
#include "tests/index/array_kv_reader.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 64;
constexpr size_t kTokens = 700;

TEST(IndexKindsTest, TheTableHasEveryKindButExactOnceUnderItsName) {
  const IndexKindTable table = StandardIndexKinds();

  EXPECT_EQ(table.size(), 3U);
  EXPECT_EQ(FindIndexKind(table, IndexKind::kExact), nullptr);
  for (const IndexKind kind : kBuiltIndexKinds) {
    const IndexKindRow* row = FindIndexKind(table, kind);
    ASSERT_NE(row, nullptr) << IndexKindName(kind);
    EXPECT_EQ(row->kind, kind);
    EXPECT_EQ(row->name, IndexKindName(kind));
  }
  EXPECT_EQ(IndexKindName(IndexKind::kExact), "exact");
}

TEST(IndexKindsTest, ASetHoldsWhatWasAddedAndNotRemoved) {
  IndexKindSet kinds = {IndexKind::kFlat, IndexKind::kFine};
  kinds.Remove(IndexKind::kFlat);
  kinds.Remove(IndexKind::kCoarse);

  EXPECT_EQ(kinds, IndexKindSet({IndexKind::kFine}));
  kinds.Remove(IndexKind::kFine);
  EXPECT_TRUE(kinds.empty());
}

// One kind of the standard table over the keys of one head.
class StandardIndexKindTest : public testing::TestWithParam<IndexKind> {
 protected:
  StandardIndexKindTest()
      : reader_(RandomFloats(kTokens * kHeadDim, 1.0F, /*seed=*/1),
                RandomFloats(kTokens * kHeadDim, 1.0F, /*seed=*/2), kHeadDim, DType::kBF16,
                /*block_tokens=*/128),
        queries_(RandomFloats(200 * kHeadDim, 1.0F, /*seed=*/3)) {
    input_.kv = &reader_;
    if (row_.wants_queries) input_.queries = {queries_.data(), 200, kHeadDim};
  }

  const IndexKindTable table_ = StandardIndexKinds();
  const IndexKindRow& row_ = *FindIndexKind(table_, GetParam());
  ArrayKvReader reader_;
  const std::vector<float> queries_;
  IndexBuildInput input_;
  MemoryIndexBlocks blocks_;
};

TEST_P(StandardIndexKindTest, OpensWhatItBuiltAndFindsTheBestToken) {
  ASSERT_TRUE(row_.build(input_, blocks_.Sink()).ok());
  const auto index = row_.open(&blocks_, &reader_);
  ASSERT_TRUE(index.ok()) << Message(index.status());
  EXPECT_EQ((*index)->kind(), GetParam());
  const std::vector<float> query = RandomFloats(kHeadDim, 1.0F, /*seed=*/4);
  const std::vector<TokenRange> visible = {{0, kTokens}};
  SearchRequest request;
  request.queries = {query.data(), 1, kHeadDim};
  request.visible = visible;
  request.target = TopKTarget{1};

  const auto found = (*index)->Search(request);
  const auto expected = ExactIndex(&reader_).Search(request);

  ASSERT_TRUE(found.ok() && expected.ok());
  EXPECT_EQ(found->queries[0].tokens, expected->queries[0].tokens);
}

TEST_P(StandardIndexKindTest, DoesNotOpenWhatAnotherKindBuilt) {
  for (const IndexKindRow& other : table_) {
    if (other.kind == GetParam()) continue;
    MemoryIndexBlocks blocks;
    ASSERT_TRUE(other.build(input_, blocks.Sink()).ok());

    EXPECT_EQ(row_.open(&blocks, &reader_).status().code(), StatusCode::kDataLoss) << other.name;
  }
}

TEST_P(StandardIndexKindTest, AnErrorOfTheSinkEndsTheBuild) {
  const auto full = [](std::span<const std::byte>) { return ResourceExhausted("disk full"); };

  EXPECT_EQ(row_.build(input_, full).code(), StatusCode::kResourceExhausted);
}

INSTANTIATE_TEST_SUITE_P(Kinds, StandardIndexKindTest, testing::ValuesIn(kBuiltIndexKinds),
                         [](const auto& kind) { return std::string(IndexKindName(kind.param)); });

}  // namespace
}  // namespace alaya
