// Reading KV back: the order of chunks, and the end.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
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

TEST_F(ContextReaderTest, ReadingStopsWhenTheSinkHasEnough) {
  Register(sequence_.model());
  Import(sequence_, 100, "c");
  int chunk_count = 0;

  const Status status = engine().ReadContext(kTenant, "c", {}, {}, [&](const ReadChunk&) {
    ++chunk_count;
    return false;
  });

  EXPECT_TRUE(status.ok());
  EXPECT_EQ(chunk_count, 1);
}

TEST_F(ContextReaderTest, ReadingTakesLayersInTheOrderGiven) {
  Register(sequence_.model());
  Import(sequence_, 100, "c");
  std::vector<uint32_t> layers;
  const auto sink = [&layers](const ReadChunk& chunk) {
    layers.push_back(ToInt(chunk.layer));
    return true;
  };

  const std::vector<uint32_t> backwards{1, 0};
  EXPECT_TRUE(engine().ReadContext(kTenant, "c", TokenRange{10, 20}, backwards, sink).ok());
  EXPECT_THAT(layers, ElementsAre(1, 0));
  layers.clear();
  EXPECT_TRUE(engine().ReadContext(kTenant, "c", TokenRange{100, 200}, {}, sink).ok());
  EXPECT_THAT(layers, IsEmpty());

  const std::vector<uint32_t> unknown{0, 2};
  EXPECT_EQ(engine().ReadContext(kTenant, "c", {}, unknown, sink).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(engine().ReadContext(kTenant, "c", TokenRange{2, 1}, {}, sink).code(),
            StatusCode::kInvalidArgument);
  EXPECT_THAT(layers, IsEmpty());
}

}  // namespace
}  // namespace alaya
