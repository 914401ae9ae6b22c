// A graph as index blocks: written once, read a token at a time.

#ifndef ALAYA_INDEX_GRAPH_GRAPH_BLOCKS_H_
#define ALAYA_INDEX_GRAPH_GRAPH_BLOCKS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "index/graph/graph_build.h"
#include "index/index_blocks.h"
#include "storage/types/status.h"

namespace alaya {

// Requires: graph as BuildKeyGraph returns it. Errors: what `sink` returns.
Status WriteGraphBlocks(const KeyGraph& graph, size_t head_dim, const IndexBlockSink& sink);

// What the first block says.
struct GraphHeader {
  uint32_t token_count = 0;
  uint32_t head_dim = 0;
  uint32_t first_token = 0;
  uint32_t tokens_per_block = 0;
  uint32_t id_bits = 0;
  uint64_t neighbor_count = 0;    // of all tokens
  std::vector<uint32_t> entries;  // rising

  // The block with a token's neighbours, and its place there.
  size_t block_of(uint32_t token) const { return 1 + token / tokens_per_block; }
  // Blocks of the graph; others may follow.
  size_t block_count() const { return tokens_per_block == 0 ? 1 : block_of(token_count - 1) + 1; }
};

// Errors: DataLoss unless the header is consistent with itself and there are as many
// blocks, or more.
StatusOr<GraphHeader> ReadGraphHeader(const IndexBlockReader& blocks);

// Replaces *neighbors by those of `token`, from the bytes of its block.
//
// Requires: token < header.token_count.
// Errors: DataLoss if the bytes hold anything but tokens of the graph there.
Status ReadNeighbors(const GraphHeader& header, uint32_t token, std::span<const std::byte> block,
                     std::vector<uint32_t>* neighbors);

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_GRAPH_BLOCKS_H_
