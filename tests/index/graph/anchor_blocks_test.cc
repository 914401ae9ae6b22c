#include "index/graph/anchor_blocks.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "tests/index/damageable_index_blocks.h"
#include "tests/index/graph/anchor_fixture.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 128;
// Before the anchors' blocks lie those of a graph.
constexpr size_t kFirstBlock = 2;

void Fill(const AnchorScores& scores, DamageableIndexBlocks* blocks) {
  for (size_t i = 0; i < kFirstBlock; ++i) {
    ASSERT_TRUE(blocks->Sink()(std::vector<std::byte>(10)).ok());
  }
  ASSERT_TRUE(WriteAnchorBlocks(scores, blocks->Sink()).ok());
}

Status ReadAll(const DamageableIndexBlocks& blocks, AnchorScores* scores) {
  ALAYA_ASSIGN_OR_RETURN(const AnchorHeader header, ReadAnchorHeader(blocks, kFirstBlock));
  scores->head_dim = header.head_dim;
  scores->lowest = header.lowest;
  scores->step = header.step;
  ALAYA_ASSIGN_OR_RETURN(scores->weights, ReadAnchorWeights(header, blocks));
  scores->begins.assign(1, 0);
  for (size_t b = 0; b < header.first_token.size(); ++b) {
    ALAYA_ASSIGN_OR_RETURN(const PinnedBytes pinned, blocks.ReadBlock(header.score_block(b)));
    ALAYA_ASSIGN_OR_RETURN(const AnchorBlock block, ReadAnchorBlock(header, b, pinned.bytes));
    size_t next = 0;
    for (const AnchorRow& row : block.rows) {
      scores->begins.resize(block.first_token + row.offset + 1,
                            static_cast<uint32_t>(scores->levels.size()));
      for (; next < row.end; ++next) scores->levels.push_back(block.levels[next]);
      scores->begins.push_back(static_cast<uint32_t>(scores->levels.size()));
    }
  }
  scores->begins.resize(header.token_count + 1, static_cast<uint32_t>(scores->levels.size()));
  return OkStatus();
}

struct Shape {
  const char* name;
  size_t token_count;
  size_t anchor_count;
  size_t listed_interval;
};

class AnchorBlocksRoundTripTest : public testing::TestWithParam<Shape> {};

TEST_P(AnchorBlocksRoundTripTest, ReadsWhatWasWritten) {
  const Shape& shape = GetParam();
  const AnchorScores scores = RandomAnchorScores(shape.token_count, shape.anchor_count, kHeadDim,
                                                 shape.listed_interval, /*seed=*/1);
  DamageableIndexBlocks blocks;
  Fill(scores, &blocks);

  AnchorScores read;
  const Status status = ReadAll(blocks, &read);

  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(read.head_dim, scores.head_dim);
  EXPECT_EQ(read.weights, scores.weights);
  EXPECT_EQ(read.lowest, scores.lowest);
  EXPECT_EQ(read.step, scores.step);
  EXPECT_EQ(read.begins, scores.begins);
  EXPECT_EQ(read.levels, scores.levels);
}

INSTANTIATE_TEST_SUITE_P(Shapes, AnchorBlocksRoundTripTest,
                         testing::Values(Shape{"NoTokens", 0, 0, 1}, Shape{"NoAnchors", 100, 0, 1},
                                         Shape{"OneAnchor", 100, 1, 1},
                                         Shape{"TokensThatNobodyLists", 100, 5, 1'000'000},
                                         Shape{"AFewListed", 2000, 30, 7},
                                         Shape{"SeveralBlocksOfEach", 30'000, 256, 2},
                                         Shape{"OffsetsBeyondSixteenBits", 200'000, 3, 60'000}),
                         [](const auto& c) { return c.param.name; });

class AnchorBlocksDamageTest : public testing::TestWithParam<Damage> {};

TEST_P(AnchorBlocksDamageTest, IsDataLoss) {
  DamageableIndexBlocks blocks;
  Fill(RandomAnchorScores(500, 20, kHeadDim, 2, /*seed=*/2), &blocks);
  AnchorScores read;
  ASSERT_TRUE(ReadAll(blocks, &read).ok());

  GetParam().apply(blocks);

  EXPECT_EQ(ReadAll(blocks, &read).code(), StatusCode::kDataLoss);
}

constexpr size_t kHeader = kFirstBlock;
constexpr size_t kWeights = kFirstBlock + 1;
constexpr size_t kScores = kFirstBlock + 2;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

INSTANTIATE_TEST_SUITE_P(
    Damages, AnchorBlocksDamageTest,
    testing::Values(
        Damage{"NoBlocks",
               [](auto& b) {
                 while (b.block_count() > kHeader) b.DropLast();
               }},
        Damage{"OneBlockFewer", [](auto& b) { b.DropLast(); }},
        Damage{"OneBlockMore",
               [](auto& b) { ASSERT_TRUE(b.Sink()(std::vector<std::byte>(8)).ok()); }},
        Damage{"ShortHeader", [](auto& b) { b.Shorten(kHeader, 20); }},
        Damage{"HeaderOfAnotherSize",
               [](auto& b) { b.Shorten(kHeader, b.bytes(kHeader).size() - 1); }},
        Damage{"OtherMagic", [](auto& b) { Write(b, kHeader, 0, uint32_t{1}); }},
        Damage{"OtherVersion", [](auto& b) { Write(b, kHeader, 4, uint16_t{9}); }},
        Damage{"TooManyAnchors", [](auto& b) { Write(b, kHeader, 6, uint16_t{257}); }},
        Damage{"NoHeadDim", [](auto& b) { Write(b, kHeader, 12, uint32_t{0}); }},
        Damage{"HugeHeadDim", [](auto& b) { Write(b, kHeader, 12, ~uint32_t{0}); }},
        Damage{"HugeBlockCount", [](auto& b) { Write(b, kHeader, 16, ~uint32_t{0}); }},
        Damage{"LowestIsNoNumber", [](auto& b) { Write(b, kHeader, 24, kNan); }},
        Damage{"NegativeStep", [](auto& b) { Write(b, kHeader, 24 + 20 * 4, -1.0F); }},
        Damage{"BlockAfterAllTokens",
               [](auto& b) { Write(b, kHeader, 24 + 20 * 8, uint32_t{500}); }},
        Damage{"ShortWeights", [](auto& b) { b.Shorten(kWeights, b.bytes(kWeights).size() - 4); }},
        Damage{"WeightIsNoNumber", [](auto& b) { Write(b, kWeights, 40, kNan); }},
        Damage{"ShortScores", [](auto& b) { b.Shorten(kScores, 3); }},
        Damage{"HugeRowCount", [](auto& b) { Write(b, kScores, 0, ~uint32_t{0}); }},
        Damage{"LevelsMissing", [](auto& b) { b.Shorten(kScores, b.bytes(kScores).size() - 2); }},
        Damage{"TokensFall", [](auto& b) { Write(b, kScores, 4, uint16_t{400}); }},
        Damage{"TokenBeyondTheLast",
               [](auto& b) {
                 uint32_t rows = 0;
                 std::memcpy(&rows, b.bytes(kScores).data(), sizeof(rows));
                 Write(b, kScores, 4 * rows, uint16_t{60'000});
               }},
        Damage{"EndsFall", [](auto& b) { Write(b, kScores, 6, ~uint16_t{0}); }}),
    [](const auto& c) { return c.param.name; });

}  // namespace
}  // namespace alaya
