#include "index/key_pass.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "tests/index/array_kv_reader.h"

namespace alaya {
namespace {

constexpr size_t kTokens = 100;
constexpr size_t kBlockTokens = 8;
constexpr size_t kHeadDim = 8;

class KeyPassTest : public testing::Test {
 protected:
  KeyPassTest()
      : reader_(RandomFloats(kTokens * kHeadDim, 1.0F, /*seed=*/1),
                RandomFloats(kTokens * kHeadDim, 1.0F, /*seed=*/2), kHeadDim, DType::kF32,
                kBlockTokens) {}

  // What the pass names; each block's keys are checked.
  std::vector<TokenRange> Tokens(const std::vector<TokenRange>& visible,
                                 PassKinds kinds = PassKinds::kKeys) {
    std::vector<TokenRange> tokens;
    KeyPass pass(&reader_, visible, kinds);
    for (;;) {
      const StatusOr<KeyBlock> block = pass.Next();
      EXPECT_TRUE(block.ok());
      if (!block.ok() || block->empty()) return tokens;
      EXPECT_EQ(block->Rows(block->keys).rows, block->tokens.size());
      std::vector<float> key(kHeadDim);
      std::memcpy(key.data(), block->Rows(block->keys).row(0), kHeadDim * sizeof(float));
      EXPECT_EQ(key, std::vector<float>(reader_.key(block->tokens.begin),
                                        reader_.key(block->tokens.begin) + kHeadDim));
      tokens.push_back(block->tokens);
    }
  }

  ArrayKvReader reader_;
};

TEST_F(KeyPassTest, CutsBlocksToWhatSomeQuerySees) {
  EXPECT_EQ(Tokens({{10, 12}, {11, 30}}), (std::vector<TokenRange>{{10, 16}, {16, 24}, {24, 30}}));
}

TEST_F(KeyPassTest, LeavesOutBlocksThatNobodySees) {
  EXPECT_EQ(Tokens({{0, 3}, {5, 5}, {90, 1000}}),
            (std::vector<TokenRange>{{0, 3}, {90, 96}, {96, 100}}));
  EXPECT_EQ(reader_.read().size(), 3U);
}

TEST_F(KeyPassTest, IsOverAtOnceIfNobodySeesAnything) {
  EXPECT_TRUE(Tokens({}).empty());
  EXPECT_TRUE(Tokens({{7, 7}, {100, 200}}).empty());
  EXPECT_TRUE(reader_.read().empty());
}

TEST_F(KeyPassTest, AnnouncesWhatItMayReadTheWayThatIsRight) {
  for (const bool in_memory : {true, false}) {
    ArrayKvReader reader(std::vector<float>(kTokens * kHeadDim),
                         std::vector<float>(kTokens * kHeadDim), kHeadDim, DType::kF32,
                         kBlockTokens);
    reader.set_in_memory(in_memory);
    const std::vector<TokenRange> visible = {{0, kTokens}};
    ASSERT_TRUE(KeyPass(&reader, visible, PassKinds::kKeysAndValues).Next().ok());
    EXPECT_EQ((in_memory ? reader.fetched() : reader.announced()).size(), 2 * 13U);
    EXPECT_TRUE((in_memory ? reader.announced() : reader.fetched()).empty());
  }
}

TEST_F(KeyPassTest, KeepsABlockPinnedAsLongAsItsCallerDoes) {
  const std::vector<TokenRange> visible = {{0, kTokens}};
  KeyPass pass(&reader_, visible, PassKinds::kKeys);
  {
    const StatusOr<KeyBlock> first = pass.Next();
    const StatusOr<KeyBlock> second = pass.Next();
    EXPECT_EQ(reader_.pin_count(), 2);
  }
  EXPECT_EQ(reader_.pin_count(), 0);
}

TEST_F(KeyPassTest, SaysWhichReadFailed) {
  reader_.FailAt(KvKind::kKey, 1);
  const std::vector<TokenRange> visible = {{0, kTokens}};
  KeyPass pass(&reader_, visible, PassKinds::kKeys);
  EXPECT_TRUE(pass.Next().ok());
  EXPECT_EQ(pass.Next().status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace alaya
