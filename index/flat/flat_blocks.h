// The blocks of a flat index, as bytes and as views (storage/FORMAT.md, "Index blocks:
// flat").
//
// Block 0 says what the others are: FlatHeader. If queries are mapped, their map follows. Every
// other one holds the codes of the next tokens, in whole groups of 64, and a summary of each
// group's values; it is complete in itself.

#ifndef ALAYA_INDEX_FLAT_FLAT_BLOCKS_H_
#define ALAYA_INDEX_FLAT_FLAT_BLOCKS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "index/index_blocks.h"
#include "index/kernels/code_scores.h"
#include "index/kernels/key_codes.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

// Tokens of a code block: as many whole groups as fit; 0 if not even one does.
size_t FlatBlockTokens(size_t head_dim);

// What is known of a map that queries take to codes whose keys took its counterpart (KeyMap).
struct QueryMap {
  CoarseElements coarse;
  // What floats round, on both ways and in exact scores, relative to the lengths of mapped keys
  // and queries.
  float rounding = 0;
};

struct FlatHeader {
  size_t head_dim = 0;
  size_t token_count = 0;
  uint64_t rotation_seed = 0;
  std::vector<float> centre;          // [head_dim]
  std::optional<QueryMap> query_map;  // instead of the rotation

  // Tokens of every code block but the last: FlatBlockTokens(head_dim).
  size_t block_tokens = 0;

  // Blocks that the map takes, [head_dim, head_dim] floats in rows.
  size_t map_block_count() const;
  static constexpr size_t MapRowsPerBlock(size_t head_dim) {
    return kIndexBlockBytesMax / (head_dim * sizeof(float));
  }
  // Code blocks, which follow these.
  size_t block_count() const { return (token_count + block_tokens - 1) / block_tokens; }
  // Tokens of code block `block`.
  size_t block_token_count(size_t block) const;
};

// One code block; a view, T is std::byte or const std::byte.
template <typename T>
struct FlatBlockOf {
  using Number = typename KeyCodesOf<T>::Number;
  using Float = std::conditional_t<std::is_const_v<T>, const float, float>;

  size_t token_count = 0;  // may end inside the last group
  KeyCodesOf<T> codes;
  Number* value_means = nullptr;      // [group_count, head_dim] bf16
  Float* value_deviations = nullptr;  // [group_count] root mean square of |value - mean|
};
using FlatBlock = FlatBlockOf<const std::byte>;
using MutableFlatBlock = FlatBlockOf<std::byte>;

std::vector<std::byte> EncodeFlatHeader(const FlatHeader& header);
// Errors: DataLoss if the bytes are no header.
StatusOr<FlatHeader> DecodeFlatHeader(std::span<const std::byte> bytes);

// Rows of a query map, from the first one of block `block`, 4-byte aligned.
//
// Errors: DataLoss if it is no such block.
StatusOr<MatrixView<const float>> DecodeMapBlock(const FlatHeader& header, size_t block,
                                                 std::span<const std::byte> bytes);

// Bytes of a code block with so many tokens; at most kIndexBlockBytesMax for
// FlatBlockTokens(head_dim).
size_t FlatBlockBytes(size_t head_dim, size_t token_count);

// Makes zeroed `bytes` an empty code block: everything but codes and summaries.
//
// Requires: bytes.size() == FlatBlockBytes(head_dim, token_count).
void StartFlatBlock(size_t head_dim, size_t block, size_t token_count, std::span<std::byte> bytes);
MutableFlatBlock MutableFlatBlockOf(size_t head_dim, size_t token_count,
                                    std::span<std::byte> bytes);

// Code block `block` of an index, 64-byte aligned.
//
// Errors: DataLoss if it is not that block, or has numbers that no builder writes: scores
// of its codes might be NaN.
StatusOr<FlatBlock> DecodeFlatBlock(const FlatHeader& header, size_t block,
                                    std::span<const std::byte> bytes);
// The same for bytes that were decoded before. Reads none of them: a scan has better to do
// than to wait for each block's first bytes.
FlatBlock ViewFlatBlock(const FlatHeader& header, size_t block, std::span<const std::byte> bytes);

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_FLAT_BLOCKS_H_
