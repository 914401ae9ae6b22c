#include "storage/context/token_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "storage/context/catalog_records.h"
#include "tests/support/temp_directory.h"

namespace alaya {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class TokenReaderTest : public testing::Test {
 protected:
  static constexpr uint64_t kTokens = 2 * kTokensPerRecord + 5000;

  void SetUp() override {
    auto database = Database::Open(directory_ / "db", {});
    ASSERT_TRUE(database.ok()) << database.status().ToString();
    database_ = *std::move(database);
    MakeReader();
    segment_.id = SegmentId{7};
    segment_.tenant = "tenant";
    segment_.token_count = kTokens;
    std::iota(tokens_.begin(), tokens_.end(), 100);
    for (uint32_t chunk = 0; chunk < 3; ++chunk) Write(chunk, Chunk(chunk));
  }
  void MakeReader() {
    auto cache = PageCache::Create(uint64_t{16} << 20);
    ASSERT_TRUE(cache.ok());
    cache_ = *std::move(cache);
    reader_ = std::make_unique<TokenReader>(
        database_.get(), cache_.get(),
        [this](std::string_view what) { damages_.emplace_back(what); });
  }
  std::span<const TokenId> Chunk(uint32_t chunk) const {
    const size_t begin = chunk * kTokensPerRecord;
    return std::span(tokens_).subspan(begin, std::min(kTokensPerRecord, kTokens - begin));
  }
  void Write(uint32_t chunk, std::span<const TokenId> tokens) {
    Record record = EncodeRecord(segment_.id, chunk, tokens);
    WriteBytes(std::move(record.key), std::move(record.value));
  }
  void WriteBytes(std::string key, std::string value) {
    CatalogBatch batch;
    batch.Put(std::move(key), std::move(value));
    ASSERT_TRUE(database_->WriteCatalog(batch).ok());
  }
  void ExpectDataLoss(uint64_t offset, const char* what) {
    const auto stretch = reader_->Read(segment_, offset, 1);
    EXPECT_EQ(stretch.status().code(), StatusCode::kDataLoss);
    EXPECT_THAT(std::string(Message(stretch.status())), HasSubstr(what));
    EXPECT_THAT(damages_, ElementsAre(HasSubstr("of segment 7")));
    EXPECT_EQ(reader_->checksum_failures(), 1U);
  }

  TempDirectory directory_;
  Segment segment_;
  std::vector<TokenId> tokens_ = std::vector<TokenId>(kTokens);
  std::unique_ptr<Database> database_;
  std::unique_ptr<PageCache> cache_;
  std::vector<std::string> damages_;
  std::unique_ptr<TokenReader> reader_;
};

TEST_F(TokenReaderTest, TokensAreReadFromAnyOffset) {
  for (const uint64_t offset : {uint64_t{0}, uint64_t{1}, uint64_t{4095}, uint64_t{4096},
                                kTokensPerRecord - 1, uint64_t{kTokensPerRecord}, kTokens - 1}) {
    const auto stretch = reader_->Read(segment_, offset, kTokens);
    ASSERT_TRUE(stretch.ok()) << stretch.status().ToString();
    const std::span<const TokenId> found = stretch->tokens();
    ASSERT_FALSE(found.empty());
    EXPECT_TRUE(std::ranges::equal(found, std::span(tokens_).subspan(offset, found.size())));
  }
  const std::vector<SegmentLink> chain = {
      {std::shared_ptr<const Segment>(std::shared_ptr<void>(), &segment_), kTokens}};
  EXPECT_EQ(ReadChainTokens(chain, {0, kTokens}, reader_->source()).value(), tokens_);
}

TEST_F(TokenReaderTest, WhatWasReadStaysInMemoryAndNoMore) {
  ASSERT_TRUE(reader_->Read(segment_, 10, 9000).ok());
  const auto of_tokens = [this] {
    return cache_->stats().classes[static_cast<size_t>(PageClass::kToken)];
  };
  EXPECT_EQ(of_tokens().page_count, 3U) << "4096 tokens a page: 10 to 9010 lie in three";
  const uint64_t misses = of_tokens().misses;

  EXPECT_TRUE(reader_->Read(segment_, 4096, 1).ok());
  EXPECT_TRUE(reader_->Read(segment_, 9000, 1).ok());

  EXPECT_EQ(of_tokens().misses, misses);
  cache_->Erase(segment_.id);
  EXPECT_EQ(of_tokens().page_count, 0U);
}

TEST_F(TokenReaderTest, KeptTokensAreNotReadFromDisk) {
  CatalogBatch batch;
  for (uint32_t chunk = 0; chunk < 3; ++chunk) batch.Erase(TokensKey(segment_.id, chunk));
  ASSERT_TRUE(database_->WriteCatalog(batch).ok());

  reader_->Keep(segment_, tokens_);

  for (uint64_t offset = 0; offset < kTokens; offset += 1000) {
    const auto stretch = reader_->Read(segment_, offset, 1);
    ASSERT_TRUE(stretch.ok()) << stretch.status().ToString();
    EXPECT_EQ(stretch->tokens().front(), tokens_[offset]);
  }
}

TEST_F(TokenReaderTest, MissingTokensAreDataLoss) {
  CatalogBatch batch;
  batch.Erase(TokensKey(segment_.id, 1));
  ASSERT_TRUE(database_->WriteCatalog(batch).ok());

  EXPECT_TRUE(reader_->Read(segment_, 0, kTokensPerRecord).ok());
  ExpectDataLoss(kTokensPerRecord, "missing");
}

TEST_F(TokenReaderTest, TooFewTokensAreDataLoss) {
  Write(2, Chunk(2).first(4999));

  ExpectDataLoss(2 * kTokensPerRecord, "4999 instead of 5000");
}

TEST_F(TokenReaderTest, ChangedTokensAreDataLoss) {
  Record record = EncodeRecord(segment_.id, 0, Chunk(0));
  record.value[1000] ^= 1;
  WriteBytes(record.key, record.value);

  ExpectDataLoss(0, "checksum");
}

TEST_F(TokenReaderTest, TokensOfAnotherPlaceAreDataLoss) {
  const Record first = EncodeRecord(segment_.id, 0, Chunk(0));
  WriteBytes(TokensKey(segment_.id, 1), first.value);

  ExpectDataLoss(kTokensPerRecord, "checksum");
}

}  // namespace
}  // namespace alaya
