#include "storage/context/catalog_records.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace alaya {
namespace {

WallTime At(int64_t milliseconds) { return WallTime(std::chrono::milliseconds(milliseconds)); }

ContextRecord SomeContext() {
  ContextRecord context;
  context.tenant = "tenant";
  context.id = "id";
  context.model = ModelId{3};
  context.chain = {{SegmentId{7}, 100}, {SegmentId{9}, 1}};
  context.labels = {{"a", "b"}, {"", "empty key"}};
  context.create_time = At(-5);
  context.expire_time = At(1'700'000'000'000);
  context.pinned = true;
  return context;
}

// All records, each with a decoder that forgets the value.
struct Sample {
  Record record;
  Status (*decode)(std::string_view key, std::string_view value);
};

std::vector<Sample> Samples() {
  RegisteredModel model;
  model.id = ModelId{3};
  model.model = {"llama", 32, 32, 8, 128, DType::kBF16};
  SegmentRecord segment{SegmentId{7}, ModelId{3}, "tenant", 5, 100, {1, 2, 3}, 12345, {2, 4}};
  const IndexRecord index{SegmentId{7}, 2, SegmentId{8}, 3, {4, 5, 6}, 678};
  const std::vector<TokenId> tokens = {1, 2, 3, 4};
  return {
      {EncodeRecord(model), [](auto k, auto v) { return DecodeModelRecord(k, v).status(); }},
      {EncodeRecord(SomeContext()),
       [](auto k, auto v) { return DecodeContextRecord(k, v).status(); }},
      {EncodeRecord(segment), [](auto k, auto v) { return DecodeSegmentRecord(k, v).status(); }},
      {EncodeRecord(index), [](auto k, auto v) { return DecodeIndexRecord(k, v).status(); }},
      {EncodeRecord(SegmentId{7}, 2, tokens),
       [](auto k, auto v) { return DecodeTokensRecord(k, v).status(); }},
      {EncodeRecord(IdLimitRecord{1024}),
       [](auto k, auto v) { return DecodeIdLimitRecord(k, v).status(); }},
  };
}

TEST(CatalogRecordsTest, RecordsReadBack) {
  const Record stored = EncodeRecord(SomeContext());
  const ContextRecord context = DecodeContextRecord(stored.key, stored.value).value();
  const ContextRecord expected = SomeContext();
  EXPECT_EQ(context.tenant, expected.tenant);
  EXPECT_EQ(context.id, expected.id);
  EXPECT_EQ(context.model, expected.model);
  EXPECT_EQ(context.chain, expected.chain);
  EXPECT_EQ(context.labels, expected.labels);
  EXPECT_EQ(context.create_time, expected.create_time);
  EXPECT_EQ(context.expire_time, expected.expire_time);
  EXPECT_TRUE(context.pinned);

  const Record stored_index =
      EncodeRecord(IndexRecord{SegmentId{7}, 2, SegmentId{8}, 3, {4, 5, 6}, 678});
  const IndexRecord index = DecodeIndexRecord(stored_index.key, stored_index.value).value();
  EXPECT_EQ(index.segment, SegmentId{7});
  EXPECT_EQ(index.kind, 2);
  EXPECT_EQ(index.id, SegmentId{8});
  EXPECT_EQ(index.version, 3U);
  EXPECT_EQ(index.block_counts, (std::vector<uint32_t>{4, 5, 6}));
  EXPECT_EQ(index.stored_bytes, 678U);

  const std::vector<TokenId> tokens = {1, 2, 3, 4};
  const Record stored_tokens = EncodeRecord(SegmentId{7}, 2, tokens);
  EXPECT_EQ(DecodeTokensRecord(stored_tokens.key, stored_tokens.value)->tokens, tokens);
  EXPECT_EQ(DecodeTokensRecord(stored_tokens.key, stored_tokens.value)->chunk_index, 2U);
  for (const Sample& sample : Samples()) {
    EXPECT_TRUE(sample.decode(sample.record.key, sample.record.value).ok());
    EXPECT_TRUE(DecodeRecordKind(sample.record.key).ok());
  }
}

TEST(CatalogRecordsTest, EveryFlippedBitOfKeyOrValueIsDataLoss) {
  for (const Sample& sample : Samples()) {
    for (const bool in_key : {true, false}) {
      const size_t size = in_key ? sample.record.key.size() : sample.record.value.size();
      for (size_t bit = 0; bit < size * 8; ++bit) {
        Record damaged = sample.record;
        char& byte = in_key ? damaged.key[bit / 8] : damaged.value[bit / 8];
        byte = static_cast<char>(byte ^ (1 << (bit % 8)));
        EXPECT_EQ(sample.decode(damaged.key, damaged.value).code(), StatusCode::kDataLoss)
            << sample.record.key.front() << " bit " << bit;
      }
    }
  }
}

TEST(CatalogRecordsTest, EveryCutIsDataLoss) {
  for (const Sample& sample : Samples()) {
    for (size_t size = 0; size < sample.record.value.size(); ++size) {
      EXPECT_FALSE(sample.decode(sample.record.key, sample.record.value.substr(0, size)).ok());
    }
  }
}

TEST(CatalogRecordsTest, ACutBodyUnderAGoodChecksumIsDataLossToo) {
  for (const Sample& sample : Samples()) {
    const std::string body = sample.record.value.substr(0, sample.record.value.size() - 8);
    for (size_t size = 0; size <= body.size(); ++size) {
      const std::string sealed = SealRecord(sample.record.key, body.substr(0, size));
      EXPECT_EQ(sample.decode(sample.record.key, sealed).ok(), size == body.size());
    }
    EXPECT_FALSE(sample.decode(sample.record.key, SealRecord(sample.record.key, body + "x")).ok());
  }
}

TEST(CatalogRecordsTest, AnIndexOfAKindOutOfRangeIsDataLoss) {
  for (const uint8_t kind : {uint8_t{0}, uint8_t{kIndexKindMax + 1}}) {
    const Record record = EncodeRecord(IndexRecord{SegmentId{7}, kind, SegmentId{8}, 3, {}, 0});
    EXPECT_EQ(DecodeIndexRecord(record.key, record.value).status().code(), StatusCode::kDataLoss);
  }
}

TEST(CatalogRecordsTest, AnUnknownKindIsDataLoss) {
  EXPECT_EQ(DecodeRecordKind("").status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(DecodeRecordKind("z1").status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace alaya
