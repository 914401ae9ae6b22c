#include "storage/page/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

namespace alaya {
namespace {

using testing::HasSubstr;

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

PageInfo SomePage() {
  return {.id = {.segment = SegmentId{42},
                 .layer = 3,
                 .page_index = 7,
                 .kind = PageKind::kValue,
                 .head = 5},
          .model = ModelId{2},
          .tenant_hash = TenantHash("default"),
          .dtype = DType::kBF16,
          .row_count = 8,
          .head_dim = 16};
}

std::string SomePayload(const PageInfo& info) {
  std::string payload(info.payload_bytes(), '\0');
  for (size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<char>(i * 31);
  return payload;
}

std::string Stored(const PageInfo& info) {
  std::string stored;
  const std::string payload = SomePayload(info);
  EncodePage(info, Bytes(payload), &stored);
  return stored;
}

TEST(PageTest, APageReadsBack) {
  const PageInfo info = SomePage();
  const std::string stored = Stored(info);
  EXPECT_EQ(stored.size(), kPageHeaderBytes + info.payload_bytes());

  const auto payload = DecodePage(info, Bytes(stored));

  ASSERT_TRUE(payload.ok()) << payload.status().ToString();
  const std::string expected = SomePayload(info);
  EXPECT_TRUE(std::ranges::equal(*payload, Bytes(expected)));
}

TEST(PageTest, EveryFlippedBitIsDataLoss) {
  const PageInfo info = SomePage();
  const std::string stored = Stored(info);

  for (size_t bit = 0; bit < stored.size() * 8; ++bit) {
    std::string damaged = stored;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(DecodePage(info, Bytes(damaged)).status().code(), StatusCode::kDataLoss) << bit;
  }
}

TEST(PageTest, EveryOtherLengthIsDataLoss) {
  const PageInfo info = SomePage();
  const std::string stored = Stored(info) + std::string(8, 'x');

  for (size_t size = 0; size <= stored.size(); ++size) {
    if (size == stored.size() - 8) continue;
    EXPECT_FALSE(DecodePage(info, Bytes(stored).first(size)).ok()) << size;
  }
}

TEST(PageTest, AnotherPageIsDataLossThatNamesThePageAndTheDifference) {
  const PageInfo info = SomePage();
  const std::string stored = Stored(info);
  const auto message = [&](auto change) {
    PageInfo other = info;
    change(other);
    return std::string(Message(DecodePage(other, Bytes(stored)).status()));
  };

  EXPECT_THAT(message([](PageInfo& p) { p.id.segment = SegmentId{43}; }),
              HasSubstr("segment 43: segment is 42, expected 43"));
  EXPECT_THAT(message([](PageInfo& p) { p.id.layer = 1; }), HasSubstr("layer is 3, expected 1"));
  EXPECT_THAT(message([](PageInfo& p) { p.id.head = 1; }), HasSubstr("head is 5, expected 1"));
  EXPECT_THAT(message([](PageInfo& p) { p.id.page_index = 1; }), HasSubstr("page index is 7"));
  EXPECT_THAT(message([](PageInfo& p) { p.id.kind = PageKind::kKey; }), HasSubstr("kind is 1"));
  EXPECT_THAT(message([](PageInfo& p) { p.model = ModelId{3}; }), HasSubstr("model is 2"));
  EXPECT_THAT(message([](PageInfo& p) { p.tenant_hash = 1; }), HasSubstr("tenant is"));
  EXPECT_THAT(message([](PageInfo& p) { p.dtype = DType::kF16; }), HasSubstr("dtype is 3"));
  EXPECT_THAT(message([](PageInfo& p) { p.row_count = 9; }), HasSubstr("bytes, expected"));
  EXPECT_THAT(message([](PageInfo& p) {
                p.row_count = 16;
                p.head_dim = 8;
              }),
              HasSubstr("row count is 8, expected 16"));
}

TEST(PageTest, PagesThatAreNextOnDiskHaveKeysThatFollow) {
  std::vector<PageId> ids;
  for (const PageKind kind : {PageKind::kKey, PageKind::kValue, IndexPageKind(2)}) {
    for (uint32_t layer = 0; layer < 2; ++layer) {
      for (uint32_t page = 0; page < 3; ++page) {
        for (uint32_t head = 0; head < 3; ++head)
          ids.push_back({SegmentId{1}, layer, page, kind, head});
      }
    }
  }
  std::ranges::sort(ids, {}, EncodePageKey);

  for (size_t i = 0; i < ids.size(); ++i) {
    for (size_t j = 0; j < ids.size(); ++j) {
      const bool is_index = IsIndex(ids[i].kind);
      const bool same_run = ids[i].layer == ids[j].layer && is_index == IsIndex(ids[j].kind) &&
                            (!is_index || ids[i].head == ids[j].head);
      // Where the heads end is not known to it.
      const bool may_be_last_head = ids[i].kind == PageKind::kValue && ids[j].head == 0 &&
                                    ids[j].page_index == ids[i].page_index + 1;
      const bool expected =
          same_run &&
          (j == i + 1 || (!is_index && may_be_last_head && ids[j].kind == PageKind::kKey));
      EXPECT_EQ(IsNextOnDisk(ids[i], ids[j]), expected) << ToString(ids[i]) << ToString(ids[j]);
    }
  }
}

TEST(PageTest, AFullPageFillsAFrameAndNoMore) {
  for (const uint32_t head_dim : {8U, 64U, 96U, 128U, 256U, 1024U}) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      const Model model{"m", 1, 1, 1, head_dim, dtype};
      const size_t tokens = PageTokens(model);
      EXPECT_EQ(tokens % 8, 0U);
      EXPECT_LE(tokens * model.row_bytes(),
                std::max(kKvPagePayloadBytesMax, 8 * model.row_bytes()));
      EXPECT_LE(tokens * model.row_bytes(), kPagePayloadBytesMax);
      EXPECT_GT((tokens + 8) * model.row_bytes(), kKvPagePayloadBytesMax);
    }
  }
}

TEST(PageKeyTest, KeysReadBackAndSortInWritingOrder) {
  std::vector<PageId> ids;
  for (const uint64_t segment : {uint64_t{1}, uint64_t{255}, uint64_t{256}}) {
    for (const bool queries : {false, true}) {
      for (const uint32_t layer : {0U, 300U}) {
        for (const uint32_t page : {0U, 1U, 70'000U}) {
          for (const uint32_t head : {0U, 9U}) {
            for (const PageKind kind : {PageKind::kKey, PageKind::kValue, PageKind::kQuery}) {
              if (queries != (kind == PageKind::kQuery)) continue;
              ids.push_back({SegmentId{segment}, layer, page, kind, head});
            }
          }
        }
      }
    }
  }

  for (size_t i = 0; i < ids.size(); ++i) {
    const std::string key = EncodePageKey(ids[i]);
    EXPECT_EQ(DecodePageKey(Bytes(key)).value(), ids[i]);
    EXPECT_GE(key, SegmentKeyBegin(ids[i].segment));
    EXPECT_LT(key, SegmentKeyEnd(ids[i].segment));
    if (i > 0) {
      EXPECT_LT(EncodePageKey(ids[i - 1]), key);
    }
  }
}

TEST(PageKeyTest, OtherBytesAreNoKey) {
  std::string key = EncodePageKey(SomePage().id);
  EXPECT_FALSE(DecodePageKey(Bytes(key).first(21)).ok());
  EXPECT_FALSE(DecodePageKey({}).ok());
  key[21] = 3;
  EXPECT_FALSE(DecodePageKey(Bytes(key)).ok());
  key[21] = 2;  // queries in the class of values
  EXPECT_FALSE(DecodePageKey(Bytes(key)).ok());
}

IndexPageInfo SomeIndexPage() {
  return {.id = {.segment = SegmentId{43},
                 .layer = 3,
                 .page_index = 7,
                 .kind = IndexPageKind(2),
                 .head = 5},
          .model = ModelId{2},
          .tenant_hash = TenantHash("default"),
          .indexed_segment = SegmentId{0x1234567890}};
}

std::string StoredIndexPage(const std::string& block) {
  std::string stored;
  EncodeIndexPage(SomeIndexPage(), Bytes(block), &stored);
  return stored;
}

TEST(IndexPageTest, BlocksOfEveryLengthReadBack) {
  for (const size_t size : {size_t{1}, size_t{63}, size_t{1000}, kPagePayloadBytesMax}) {
    const std::string block(size, 'b');
    const std::string stored = StoredIndexPage(block);
    EXPECT_EQ(stored.size(), kPageHeaderBytes + size);

    const auto payload = DecodeIndexPage(SomeIndexPage(), Bytes(stored));

    ASSERT_TRUE(payload.ok()) << payload.status().ToString();
    EXPECT_TRUE(std::ranges::equal(*payload, Bytes(block)));
  }
}

TEST(IndexPageTest, EveryFlippedBitAndEveryOtherLengthIsDataLoss) {
  const std::string stored = StoredIndexPage("a block of an index");

  for (size_t bit = 0; bit < stored.size() * 8; ++bit) {
    std::string damaged = stored;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(DecodeIndexPage(SomeIndexPage(), Bytes(damaged)).status().code(),
              StatusCode::kDataLoss)
        << bit;
  }
  const std::string longer = stored + std::string(8, 'x');
  for (size_t size = 0; size <= longer.size(); ++size) {
    if (size == stored.size()) continue;
    EXPECT_FALSE(DecodeIndexPage(SomeIndexPage(), Bytes(longer).first(size)).ok()) << size;
  }
  const std::string too_long = StoredIndexPage(std::string(kPagePayloadBytesMax, 'b')) + "b";
  EXPECT_FALSE(DecodeIndexPage(SomeIndexPage(), Bytes(too_long)).ok());
}

TEST(IndexPageTest, ABlockOfAnotherSegmentIsDataLossThatSaysSo) {
  IndexPageInfo other = SomeIndexPage();
  other.indexed_segment = SegmentId{44};

  const Status status = DecodeIndexPage(other, Bytes(StoredIndexPage("block"))).status();

  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(status.ToString(), HasSubstr("page 7 of index kind 2 of head 5, layer 3, segment 43: "
                                           "indexed segment is 78187493520, expected 44"));
}

TEST(IndexPageTest, KeysReadBackAndSortByLayerHeadAndBlock) {
  const auto key = [](uint32_t layer, uint32_t head, uint32_t block) {
    PageId id = SomeIndexPage().id;
    id.layer = layer;
    id.head = head;
    id.page_index = block;
    return EncodePageKey(id);
  };

  const std::string key_bytes = EncodePageKey(SomeIndexPage().id);
  EXPECT_EQ(DecodePageKey(Bytes(key_bytes)).value(), SomeIndexPage().id);
  EXPECT_LT(key(0, 0, 9), key(0, 1, 0));
  EXPECT_LT(key(0, 1, 0), key(0, 1, 1));
  EXPECT_LT(key(0, 9, 9), key(1, 0, 0));
  for (const uint8_t kind : {uint8_t{0}, uint8_t{kIndexKindMax + 1}}) {
    PageId id = SomeIndexPage().id;
    id.kind = IndexPageKind(kind);
    const std::string bad = EncodePageKey(id);
    EXPECT_FALSE(DecodePageKey(Bytes(bad)).ok()) << int{kind};
  }
}

}  // namespace
}  // namespace alaya
