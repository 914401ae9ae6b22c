#include "index/flat/flat_blocks.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "index/flat/flat_builder.h"
#include "index/flat/flat_index.h"
#include "tests/index/array_kv_reader.h"
#include "tests/index/damageable_index_blocks.h"

namespace alaya {
namespace {

FlatHeader Header(size_t head_dim, size_t token_count) {
  return {head_dim,
          token_count,
          /*rotation_seed=*/7,
          std::vector<float>(head_dim, 0.5F),
          std::nullopt,
          FlatBlockTokens(head_dim)};
}

TEST(FlatHeaderTest, ReadsBackWhatWasWritten) {
  const FlatHeader header = Header(96, 123456);

  const auto read = DecodeFlatHeader(EncodeFlatHeader(header));

  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->head_dim, 96U);
  EXPECT_EQ(read->token_count, 123456U);
  EXPECT_EQ(read->rotation_seed, 7U);
  EXPECT_EQ(read->centre, header.centre);
}

TEST(FlatHeaderTest, BlocksAreWholeGroupsAndFit) {
  for (size_t head_dim = 8; head_dim <= 1800; head_dim += 8) {
    const size_t tokens = FlatBlockTokens(head_dim);
    ASSERT_GT(tokens, 0U) << head_dim;
    EXPECT_EQ(tokens % kCodeGroupTokens, 0U);
    EXPECT_LE(FlatBlockBytes(head_dim, tokens), kIndexBlockBytesMax);
    EXPECT_GT(FlatBlockBytes(head_dim, tokens + kCodeGroupTokens), kIndexBlockBytesMax);
  }
  EXPECT_EQ(FlatBlockTokens(4096), 0U);
}

TEST(FlatHeaderTest, RefusesEveryDamage) {
  const std::vector<std::byte> good = EncodeFlatHeader(Header(64, 1000));
  const auto refused = [&](size_t place, std::vector<uint8_t> bytes) {
    std::vector<std::byte> bad = good;
    std::memcpy(&bad[place], bytes.data(), bytes.size());
    return DecodeFlatHeader(bad).status().code() == StatusCode::kDataLoss;
  };
  EXPECT_TRUE(refused(0, {'X'}));           // magic
  EXPECT_TRUE(refused(4, {72}));            // not this many numbers
  EXPECT_TRUE(refused(4, {0}));             // no elements
  EXPECT_TRUE(refused(4, {0, 0, 0, 255}));  // too many
  EXPECT_TRUE(refused(12, {1}));            // 2^32 tokens
  EXPECT_TRUE(refused(24, {1}));            // reserved
  EXPECT_TRUE(refused(63, {1}));
  EXPECT_TRUE(refused(64, {0, 0, 0x80, 0x7F}));           // infinite centre
  EXPECT_TRUE(refused(64 + 63 * 4, {0, 0, 0xC0, 0xFF}));  // NaN
  for (const size_t size : std::vector<size_t>{0, 1, 63, 64, good.size() - 1}) {
    EXPECT_EQ(DecodeFlatHeader(std::span(good).first(size)).status().code(), StatusCode::kDataLoss);
  }
}

TEST(FlatHeaderTest, ReadsBackAMap) {
  FlatHeader header = Header(96, 123456);
  header.query_map = {{48, 0.25F, 0.5F}, 1e-5F};

  const auto read = DecodeFlatHeader(EncodeFlatHeader(header));

  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_TRUE(read->query_map);
  EXPECT_EQ(read->query_map->coarse.count, 48U);
  EXPECT_EQ(read->query_map->coarse.rest_size, 0.25F);
  EXPECT_EQ(read->query_map->coarse.rest_share, 0.5F);
  EXPECT_EQ(read->query_map->rounding, 1e-5F);
  EXPECT_EQ(read->map_block_count(), 1U);  // 170 rows fit
  EXPECT_EQ(Header(96, 123456).map_block_count(), 0U);
  header.head_dim = 256;
  EXPECT_EQ(header.map_block_count(), 4U);
}

TEST(FlatHeaderTest, RefusesMapsThatNoBuilderMakes) {
  const QueryMap good = {{48, 0.25F, 0.5F}, 1e-5F};
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<QueryMap> bad(9, good);
  bad[0].coarse.count = 100;
  bad[1].coarse.count = 46;
  bad[2].coarse.rest_size = 0;
  bad[3].coarse.rest_size = nan;
  bad[4].coarse.rest_share = -0.5F;
  bad[5].coarse.rest_share = 1.5F;
  bad[6].rounding = nan;
  bad[7] = {{96, 0.25F, 0.5F}, 1e-5F};
  bad[8] = {{0, 0, 0}, 1e-5F};
  for (size_t i = 0; i < bad.size(); ++i) {
    FlatHeader header = Header(96, 123456);
    header.query_map = bad[i];
    EXPECT_EQ(DecodeFlatHeader(EncodeFlatHeader(header)).status().code(), StatusCode::kDataLoss)
        << i;
  }
}

// An index over 2000 tokens: three code blocks.
class FlatBlockTest : public testing::Test {
 protected:
  FlatBlockTest()
      : reader_(RandomFloats(2000 * 128, 1.0F, 1), RandomFloats(2000 * 128, 1.0F, 2), 128,
                DType::kBF16, 256) {
    EXPECT_TRUE(BuildFlatIndex(reader_, {}, blocks_.Sink()).ok());
    header_ = *DecodeFlatHeader(blocks_.ReadBlock(0)->bytes);
  }

  // Does a search of everything report the damage?
  StatusCode Search() const {
    const auto index = FlatIndex::Open(&blocks_, &reader_);
    if (!index.ok()) return index.status().code();
    const std::vector<float> query(128, 1.0F);
    const TokenRange visible = {0, 2000};
    SearchRequest request;
    request.queries = {query.data(), 1, 128};
    request.visible = {&visible, 1};
    request.target = DiprTarget{};
    return (*index)->Search(request).status().code();
  }
  template <typename T>
  void Overwrite(size_t block, const void* place, T value) {
    const auto* bytes = static_cast<const std::byte*>(place);
    std::byte* begin = blocks_.bytes(block).data();
    std::memcpy(begin + (bytes - begin), &value, sizeof(value));
  }

  ArrayKvReader reader_;
  DamageableIndexBlocks blocks_;
  FlatHeader header_;
};

TEST_F(FlatBlockTest, AGoodIndexIsSearched) {
  EXPECT_EQ(blocks_.block_count(), 4U);
  EXPECT_EQ(header_.block_tokens, 832U);
  EXPECT_EQ(Search(), StatusCode::kOk);
}

TEST_F(FlatBlockTest, ABlockInAnothersPlaceIsDataLoss) {
  std::vector<std::byte> copy(blocks_.bytes(1).begin(), blocks_.bytes(1).end());
  std::ranges::copy(blocks_.bytes(2), blocks_.bytes(1).begin());
  EXPECT_EQ(Search(), StatusCode::kDataLoss);
}

TEST_F(FlatBlockTest, ADamagedPreludeIsDataLoss) {
  for (const size_t place : std::vector<size_t>{0, 4, 8, 12, 63}) {
    blocks_.bytes(2)[place] ^= std::byte{0x40};
    EXPECT_EQ(Search(), StatusCode::kDataLoss) << place;
    blocks_.bytes(2)[place] ^= std::byte{0x40};
  }
}

TEST_F(FlatBlockTest, AShortBlockIsDataLoss) {
  const size_t size = blocks_.bytes(3).size();
  for (const size_t shorter : std::vector<size_t>{1, 63, 64, size - 64, size - 1}) {
    blocks_.Shorten(3, shorter);
    EXPECT_EQ(Search(), StatusCode::kDataLoss) << shorter;
  }
}

TEST_F(FlatBlockTest, AMissingBlockIsDataLoss) {
  blocks_.DropLast();
  EXPECT_EQ(Search(), StatusCode::kDataLoss);
}

TEST_F(FlatBlockTest, AnIndexOfOtherKeysIsDataLoss) {
  const ArrayKvReader other(RandomFloats(100 * 128, 1.0F, 1), RandomFloats(100 * 128, 1.0F, 2), 128,
                            DType::kBF16, 256);
  const ArrayKvReader narrow(RandomFloats(2000 * 64, 1.0F, 1), RandomFloats(2000 * 64, 1.0F, 2), 64,
                             DType::kBF16, 256);
  EXPECT_EQ(FlatIndex::Open(&blocks_, &other).status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(FlatIndex::Open(&blocks_, &narrow).status().code(), StatusCode::kDataLoss);
}

TEST_F(FlatBlockTest, NumbersThatNoBuilderWritesAreDataLoss) {
  constexpr uint16_t kNaN = 0x7FC0;
  constexpr uint16_t kMinusOne = 0xBF80;
  constexpr uint16_t kInfinity = 0x7F80;
  const auto block = DecodeFlatBlock(header_, 0, blocks_.bytes(1));
  ASSERT_TRUE(block.ok());
  const std::vector<std::byte> good(blocks_.bytes(1).begin(), blocks_.bytes(1).end());
  const auto refused = [&](const void* place, auto value) {
    Overwrite(1, place, value);
    const bool is_refused = Search() == StatusCode::kDataLoss;
    std::ranges::copy(good, blocks_.bytes(1).begin());
    return is_refused;
  };
  const size_t last = block->codes.token_count() - 1;
  for (const uint16_t number : {kNaN, kMinusOne, kInfinity}) {
    EXPECT_TRUE(refused(&block->codes.fine_scale[0], number));
    EXPECT_TRUE(refused(&block->codes.coarse_scale[last], number));
  }
  for (const uint16_t number : {kNaN, kMinusOne}) {
    EXPECT_TRUE(refused(&block->codes.fine_error[last], number));
    EXPECT_TRUE(refused(&block->codes.coarse_error[0], number));
  }
  EXPECT_FALSE(refused(&block->codes.fine_error[3], kInfinity));
  EXPECT_TRUE(refused(&block->value_means[5], kNaN));
  EXPECT_TRUE(refused(&block->value_deviations[2], -1.0F));
  EXPECT_TRUE(refused(&block->value_deviations[2], std::numeric_limits<float>::infinity()));
}

}  // namespace
}  // namespace alaya
