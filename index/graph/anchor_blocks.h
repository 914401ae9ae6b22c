// Anchors' scores as index blocks, after those of the graph.

#ifndef ALAYA_INDEX_GRAPH_ANCHOR_BLOCKS_H_
#define ALAYA_INDEX_GRAPH_ANCHOR_BLOCKS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "index/graph/anchor_scores.h"
#include "index/index_blocks.h"
#include "storage/types/status.h"

namespace alaya {

// Requires: scores as BuildAnchorScores returns them. Errors: what `sink` returns.
Status WriteAnchorBlocks(const AnchorScores& scores, const IndexBlockSink& sink);

// What the anchors' first block says.
struct AnchorHeader {
  uint32_t token_count = 0;
  uint32_t head_dim = 0;
  size_t first_block = 0;             // of the anchors' blocks: the header itself
  std::vector<float> lowest;          // [anchor_count], finite
  std::vector<float> step;            // [anchor_count], finite, not negative
  std::vector<uint32_t> first_token;  // [score block count], rising

  size_t anchor_count() const { return lowest.size(); }
  size_t weight_rows_per_block() const { return kIndexBlockBytesMax / (sizeof(float) * head_dim); }
  size_t weight_block_count() const {
    return (anchor_count() + weight_rows_per_block() - 1) / weight_rows_per_block();
  }
  size_t score_block(size_t index) const { return first_block + 1 + weight_block_count() + index; }
};

// The blocks from first_block on, which must be all that are left.
//
// Errors: DataLoss unless the header is consistent with itself and the number of
// blocks; what `blocks` returns.
StatusOr<AnchorHeader> ReadAnchorHeader(const IndexBlockReader& blocks, size_t first_block);

// [anchor_count, head_dim], as AnchorScores::weights.
//
// Errors: DataLoss for blocks of the wrong size; what `blocks` returns.
StatusOr<std::vector<float>> ReadAnchorWeights(const AnchorHeader& header,
                                               const IndexBlockReader& blocks);

// A token that some anchor lists, in a block.
struct AnchorRow {
  uint16_t offset = 0;  // token less the block's first one
  uint16_t end = 0;     // where its levels end; they begin where those of the row before do
};

// The listed tokens of one block, by rising token; views of its bytes.
struct AnchorBlock {
  uint32_t first_token = 0;
  std::span<const AnchorRow> rows;
  std::span<const AnchorLevel> levels;
};

// `index` counts the blocks of scores, from 0 to header.first_token.size() - 1; their
// bytes are those of the index's block header.score_block(index).
//
// Guarantees: tokens are below token_count and rising, ends are in `levels` and not falling.
// Errors: DataLoss for other bytes.
StatusOr<AnchorBlock> ReadAnchorBlock(const AnchorHeader& header, size_t index,
                                      std::span<const std::byte> bytes);

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_ANCHOR_BLOCKS_H_
