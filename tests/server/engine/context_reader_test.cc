// Reading KV back: the order of chunks, and the end.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/server/engine/engine_fixture.h"

namespace alaya {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class ContextReaderTest : public EngineTest {
 protected:
  ContextReaderTest() : sequence_(GroupedModel(), 500, /*seed=*/21) {}

  const TestSequence sequence_;
};

TEST_F(ContextReaderTest, ReadingTakesLayersInTheOrderGiven) {
  Register(sequence_.model());
  Import(sequence_, 100, "c");
  std::vector<uint32_t> layers;
  const auto note = [&layers](const ReadChunk& chunk) { layers.push_back(ToInt(chunk.layer)); };

  EXPECT_TRUE(ReadAll("c", TokenRange{10, 20}, {1, 0}, note).ok());
  EXPECT_THAT(layers, ElementsAre(1, 0));
  layers.clear();
  EXPECT_TRUE(ReadAll("c", TokenRange{100, 200}, {}, note).ok());
  EXPECT_THAT(layers, IsEmpty());

  EXPECT_EQ(ReadAll("c", {}, {0, 2}, note).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadAll("c", TokenRange{2, 1}, {}, note).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadAll("unknown", {}, {}, note).code(), StatusCode::kNotFound);
  EXPECT_THAT(layers, IsEmpty());
}

TEST_F(ContextReaderTest, AnyRangeIsReadWholeFromDiskAndFromMemory) {
  Register(sequence_.model());
  const TestSequence sequence(GroupedModel(), 10000, /*seed=*/22);
  Import(sequence, 10000, "c");
  for (const bool from_disk : {false, true}) {
    if (from_disk) OpenEngine();  // nothing is in memory then
    for (const TokenRange range : {TokenRange{0, 10000}, {1, 9999}, {127, 129}, {2500, 2501}}) {
      uint64_t next = range.begin;
      const Status read = ReadAll("c", range, {1}, [&](const ReadChunk& chunk) {
        EXPECT_EQ(chunk.token_begin, next);
        next += chunk.tokens;
        const TokenRange tokens{chunk.token_begin, next};
        EXPECT_TRUE(std::ranges::equal(chunk.keys, sequence.key(kSecond, tokens).data));
        EXPECT_TRUE(std::ranges::equal(chunk.values, sequence.value(kSecond, tokens).data));
      });
      EXPECT_TRUE(read.ok()) << Message(read);
      EXPECT_EQ(next, range.end);
    }
  }
}

TEST_F(ContextReaderTest, ChunksOutliveTheReadingAndTheContext) {
  Register(sequence_.model());
  Import(sequence_, 300, "c");
  auto reading = engine().ReadContext(kTenant, "c", {}, {});
  ASSERT_TRUE(reading.ok());
  (*reading)->ReadAhead(1);

  ASSERT_TRUE(engine().DeleteContext(kTenant, "c").ok());
  const auto first = (*reading)->Next();
  const auto second = (*reading)->Next();
  reading->reset();

  ASSERT_TRUE(first.ok() && first->has_value() && second.ok() && second->has_value());
  EXPECT_TRUE(std::ranges::equal((*first)->keys, sequence_.key(kFirst, {0, 300}).data));
  EXPECT_TRUE(std::ranges::equal((*second)->values, sequence_.value(kSecond, {0, 300}).data));
}

TEST_F(ContextReaderTest, ADrainEndsAReading) {
  Register(sequence_.model());
  Import(sequence_, 300, "c");
  const auto reading = engine().ReadContext(kTenant, "c", {}, {});
  ASSERT_TRUE(reading.ok());
  EXPECT_TRUE((*reading)->Next().ok());

  engine().Drain();

  EXPECT_EQ((*reading)->Next().status().code(), StatusCode::kUnavailable);
}

}  // namespace
}  // namespace alaya
