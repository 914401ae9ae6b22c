#include "index/graph/graph_blocks.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "tests/index/damageable_index_blocks.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 64;

KeyGraph RandomGraph(size_t token_count, size_t first_token, size_t degree_max, uint32_t seed) {
  std::mt19937 random(seed);
  KeyGraph graph;
  graph.first_token = first_token;
  graph.neighbors.resize(token_count);
  const auto any_token = [&] {
    return static_cast<uint32_t>(first_token + random() % (token_count - first_token));
  };
  for (size_t t = first_token; t < token_count; ++t) {
    graph.neighbors[t].resize(random() % (degree_max + 1));
    for (uint32_t& neighbor : graph.neighbors[t]) neighbor = any_token();
  }
  for (size_t t = first_token; t < token_count; t += 300) {
    graph.entries.push_back(static_cast<uint32_t>(t));
  }
  return graph;
}

Status ReadAll(const DamageableIndexBlocks& blocks, KeyGraph* graph) {
  ALAYA_ASSIGN_OR_RETURN(const GraphHeader header, ReadGraphHeader(blocks));
  graph->first_token = header.first_token;
  graph->entries = header.entries;
  graph->neighbors.resize(header.token_count);
  for (uint32_t t = header.first_token; t < header.token_count; ++t) {
    ALAYA_ASSIGN_OR_RETURN(const PinnedBytes block, blocks.ReadBlock(header.block_of(t)));
    ALAYA_RETURN_IF_ERROR(ReadNeighbors(header, t, block.bytes, &graph->neighbors[t]));
  }
  return OkStatus();
}

struct GraphShape {
  const char* name;
  size_t token_count;
  size_t first_token;
  size_t degree_max;
};

class GraphBlocksRoundTripTest : public testing::TestWithParam<GraphShape> {};

TEST_P(GraphBlocksRoundTripTest, ReadsWhatWasWritten) {
  const GraphShape& shape = GetParam();
  const KeyGraph graph =
      RandomGraph(shape.token_count, shape.first_token, shape.degree_max, /*seed=*/1);
  DamageableIndexBlocks blocks;

  ASSERT_TRUE(WriteGraphBlocks(graph, kHeadDim, blocks.Sink()).ok());
  KeyGraph read;
  ASSERT_TRUE(ReadAll(blocks, &read).ok());

  EXPECT_EQ(read.first_token, graph.first_token);
  EXPECT_EQ(read.entries, graph.entries);
  EXPECT_EQ(read.neighbors, graph.neighbors);
}

INSTANTIATE_TEST_SUITE_P(Shapes, GraphBlocksRoundTripTest,
                         testing::Values(GraphShape{"OneToken", 1, 0, 0},
                                         GraphShape{"OneTokenAfterTheFirst", 11, 10, 1},
                                         GraphShape{"SixteenBits", 3000, 128, 40},
                                         GraphShape{"SeventeenBits", 70000, 128, 30},
                                         GraphShape{"HighestDegrees", 4000, 0, kGraphDegreeMax},
                                         GraphShape{"NoNeighbours", 5000, 5, 0}),
                         [](const auto& shape) { return shape.param.name; });

TEST(GraphBlocksTest, AGraphOfNoTokensIsItsHeader) {
  for (const size_t token_count : {size_t{0}, size_t{5}}) {
    KeyGraph graph;
    graph.first_token = token_count;
    graph.neighbors.resize(token_count);
    DamageableIndexBlocks blocks;

    ASSERT_TRUE(WriteGraphBlocks(graph, kHeadDim, blocks.Sink()).ok());
    const auto header = ReadGraphHeader(blocks);

    ASSERT_TRUE(header.ok()) << header.status();
    EXPECT_EQ(blocks.block_count(), 1);
    EXPECT_EQ(header->token_count, token_count);
  }
}

TEST(GraphBlocksTest, NeighboursTakeTheirBitsAndLittleMore) {
  const KeyGraph graph = RandomGraph(70000, 0, 48, /*seed=*/2);
  size_t neighbor_count = 0;
  for (const auto& neighbors : graph.neighbors) neighbor_count += neighbors.size();
  DamageableIndexBlocks blocks;

  ASSERT_TRUE(WriteGraphBlocks(graph, kHeadDim, blocks.Sink()).ok());

  EXPECT_LE(blocks.bytes(), neighbor_count * 17 / 8 + 70000 * 3 + 4096);
  // Frames of memory are as large as blocks can be: they should be full.
  EXPECT_GE(blocks.bytes(), (blocks.block_count() - 2) * kIndexBlockBytesMax * 9 / 10);
}

TEST(GraphBlocksTest, AnErrorOfTheSinkEndsTheWriting) {
  const KeyGraph graph = RandomGraph(3000, 0, 48, /*seed=*/3);
  size_t calls = 0;

  const Status status = WriteGraphBlocks(graph, kHeadDim, [&](std::span<const std::byte>) {
    return ++calls == 2 ? ResourceExhausted("disk full") : OkStatus();
  });

  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(calls, 2);
}

class GraphBlocksDamageTest : public testing::TestWithParam<Damage> {};

TEST_P(GraphBlocksDamageTest, GivesDataLoss) {
  DamageableIndexBlocks blocks;
  ASSERT_TRUE(
      WriteGraphBlocks(RandomGraph(3000, 128, 48, /*seed=*/4), kHeadDim, blocks.Sink()).ok());

  GetParam().apply(blocks);

  KeyGraph graph;
  EXPECT_EQ(ReadAll(blocks, &graph).code(), StatusCode::kDataLoss);
}

INSTANTIATE_TEST_SUITE_P(
    Fields, GraphBlocksDamageTest,
    testing::Values(
        Damage{"Magic", [](auto& b) { Write<uint8_t>(b, 0, 0, 0); }},
        Damage{"Version", [](auto& b) { Write<uint16_t>(b, 0, 4, 2); }},
        Damage{"IdBitsTooFew", [](auto& b) { Write<uint16_t>(b, 0, 6, 0); }},
        Damage{"IdBitsTooMany", [](auto& b) { Write<uint16_t>(b, 0, 6, 64); }},
        Damage{"TokenCountLarger", [](auto& b) { Write<uint32_t>(b, 0, 8, 1U << 30); }},
        Damage{"TokenCountBeyondLimits", [](auto& b) { Write<uint32_t>(b, 0, 8, ~0U); }},
        Damage{"TokenCountZero", [](auto& b) { Write<uint32_t>(b, 0, 8, 0); }},
        Damage{"FirstTokenBehindTheLast", [](auto& b) { Write<uint32_t>(b, 0, 16, 3001); }},
        Damage{"FirstTokenAtTheEnd", [](auto& b) { Write<uint32_t>(b, 0, 16, 3000); }},
        Damage{"NoTokensPerBlock", [](auto& b) { Write<uint32_t>(b, 0, 20, 0); }},
        Damage{"TooManyTokensPerBlock", [](auto& b) { Write<uint32_t>(b, 0, 20, ~0U); }},
        Damage{"NoEntries", [](auto& b) { Write<uint32_t>(b, 0, 24, 0); }},
        Damage{"TooManyEntries", [](auto& b) { Write<uint32_t>(b, 0, 24, ~0U); }},
        Damage{"Reserved", [](auto& b) { Write<uint32_t>(b, 0, 28, 1); }},
        Damage{"EntryBeforeTheFirstToken", [](auto& b) { Write<uint32_t>(b, 0, 40, 127); }},
        Damage{"EntryBehindTheLastToken", [](auto& b) { Write<uint32_t>(b, 0, 40, 3000); }},
        Damage{"EntriesOutOfOrder", [](auto& b) { Write<uint32_t>(b, 0, 44, 128); }},
        Damage{"ShortHeader", [](auto& b) { b.Shorten(0, 39); }},
        Damage{"EmptyHeader", [](auto& b) { b.Shorten(0, 0); }},
        Damage{"MissingEntry", [](auto& b) { b.Shorten(0, b.bytes(0).size() - 4); }},
        Damage{"MissingBlock", [](auto& b) { b.DropLast(); }},
        Damage{"EndsFall", [](auto& b) { Write<uint16_t>(b, 1, 2 * 200, 0); }},
        Damage{"EndBehindTheBlock", [](auto& b) { Write<uint16_t>(b, 1, 2 * 200, 0xFFFF); }},
        Damage{"NoRoomForEnds", [](auto& b) { b.Shorten(1, 100); }},
        Damage{"EmptyBlock", [](auto& b) { b.Shorten(1, 0); }},
        Damage{"NoPadding", [](auto& b) { b.Shorten(1, b.bytes(1).size() - 1); }},
        Damage{"NeighbourThatIsNoToken",
               [](auto& b) {
                 const std::span<std::byte> bytes = b.bytes(1);
                 std::fill(bytes.begin() + static_cast<ptrdiff_t>(bytes.size() / 2), bytes.end(),
                           std::byte{0xFF});
               }},
        Damage{"ReadFails", [](auto& b) { b.FailAt(1); }}),
    [](const auto& damage) { return damage.param.name; });

TEST(GraphBlocksTest, NoDamagedByteCrashesTheReader) {
  DamageableIndexBlocks blocks;
  ASSERT_TRUE(WriteGraphBlocks(RandomGraph(300, 8, 6, /*seed=*/5), kHeadDim, blocks.Sink()).ok());
  for (size_t block = 0; block < blocks.block_count(); ++block) {
    for (size_t i = 0; i < blocks.bytes(block).size(); ++i) {
      const std::byte before = blocks.bytes(block)[i];
      for (const unsigned value : {0x00U, 0x01U, 0x7FU, 0x80U, 0xFFU}) {
        blocks.bytes(block)[i] = std::byte{static_cast<uint8_t>(value)};
        KeyGraph graph;

        const Status status = ReadAll(blocks, &graph);

        // A token may have become another one; otherwise the damage is noticed.
        if (status.ok()) {
          for (const auto& neighbors : graph.neighbors) {
            for (const uint32_t neighbor : neighbors) ASSERT_LT(neighbor, graph.neighbors.size());
          }
        } else {
          ASSERT_EQ(status.code(), StatusCode::kDataLoss);
        }
      }
      blocks.bytes(block)[i] = before;
    }
  }
}

TEST(GraphBlocksTest, NoBlocksAreDataLoss) {
  EXPECT_EQ(ReadGraphHeader(DamageableIndexBlocks()).status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace alaya
