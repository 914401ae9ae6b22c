#include "index/flat/open_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "hwy/aligned_allocator.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 128;

// Empty blocks, one after the other; the one with number `missing` cannot be read.
class EmptyBlocks : public FlatSource {
 public:
  explicit EmptyBlocks(size_t token_count) {
    header_.head_dim = kHeadDim;
    header_.token_count = token_count;
    header_.block_tokens = FlatBlockTokens(kHeadDim);
  }
  const FlatHeader& header() const override { return header_; }
  Status MapQueries(MatrixView<const float>, MatrixView<float>) const override {
    return Internal("nobody searches");
  }
  StatusOr<PinnedFlatBlock> Block(size_t block) const override {
    if (block == missing) return DataLoss("a block is missing");
    reads.push_back(block);
    const size_t tokens = header_.block_token_count(block);
    const size_t bytes = FlatBlockBytes(kHeadDim, tokens);
    const std::shared_ptr<std::byte[]> memory = hwy::AllocateAligned<std::byte>(bytes);
    std::fill_n(memory.get(), bytes, std::byte{0});
    StartFlatBlock(kHeadDim, block, tokens, {memory.get(), bytes});
    memory_.push_back(memory);
    return PinnedFlatBlock{*DecodeFlatBlock(header_, block, {memory.get(), bytes}), BlockPin()};
  }

  size_t missing = 1000;
  mutable std::vector<size_t> reads;

 private:
  FlatHeader header_;
  mutable std::vector<std::shared_ptr<std::byte[]>> memory_;
};

TEST(OpenBlocksTest, GivesTheGroupsOfEachBlockInOrder) {
  const EmptyBlocks source(6 * FlatBlockTokens(kHeadDim) + 100);
  const auto block_groups = static_cast<uint32_t>(source.header().block_tokens / kCodeGroupTokens);
  const std::vector<uint32_t> groups = {
      0, 5, block_groups - 1, 2 * block_groups, 5 * block_groups + 2, 6 * block_groups + 1};
  OpenBlocks blocks(&source, groups);

  std::vector<uint32_t> seen;
  uint64_t place = 0;
  while (*blocks.Next()) {
    const OpenBlock& open = blocks.current();
    ASSERT_FALSE(open.groups.empty());
    EXPECT_EQ(open.pinned.block.codes.group_count,
              (source.header().block_token_count(open.block) + 63) / 64);
    EXPECT_EQ(open.places.begin, place);
    place = open.places.end;
    EXPECT_EQ(open.places.size(), open.groups.size() * kCodeGroupTokens);
    for (const uint32_t group : open.groups) {
      seen.push_back(static_cast<uint32_t>(open.block) * block_groups + group);
    }
    // As many groups as a scan asks for, or all that are left.
    size_t upcoming = 0;
    for (const ListedCodes& listed : blocks.upcoming()) upcoming += listed.groups.size();
    EXPECT_GE(upcoming, std::min<size_t>(4, groups.size() - seen.size()));
  }
  EXPECT_EQ(seen, groups);
  EXPECT_EQ(source.reads, (std::vector<size_t>{0, 2, 5, 6}));
}

TEST(OpenBlocksTest, NoGroupsAreNoBlocks) {
  const EmptyBlocks source(100);
  OpenBlocks blocks(&source, {});
  EXPECT_FALSE(*blocks.Next());
  EXPECT_FALSE(*blocks.Next());
}

TEST(OpenBlocksTest, ErrorsOfTheSourcePassThrough) {
  EmptyBlocks source(3 * FlatBlockTokens(kHeadDim));
  source.missing = 1;
  const auto block_groups = static_cast<uint32_t>(source.header().block_tokens / kCodeGroupTokens);
  const std::vector<uint32_t> groups = {0, 1, 2, 3, 4, block_groups};
  OpenBlocks blocks(&source, groups);
  EXPECT_EQ(blocks.Next().status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace alaya
