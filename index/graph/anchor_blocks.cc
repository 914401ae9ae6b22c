// Integers and floats are little-endian. After the blocks of the graph:
//
// The anchors' header, 24 + 8 * anchor_count + 4 * score_block_count bytes:
//
//   offset  field              type
//   0       magic              u32  "AFA1"
//   4       version            u16  1
//   6       anchor_count       u16  at most 256
//   8       token_count        u32
//   12      head_dim           u32
//   16      score_block_count  u32
//   20      reserved           u32  0
//   24      lowest             f32  * anchor_count
//   ...     step               f32  * anchor_count
//   ...     first_token        u32  * score_block_count, rising
//
// Blocks of weights: head_dim f32 per anchor, as many anchors as fit 65,536 bytes.
//
// Blocks of scores, each of the tokens from its first_token on:
//
//   offset  field      type
//   0       row_count  u32
//   4       rows       {u16 offset, u16 end} * row_count: a token that some anchor lists, as
//                      its distance from first_token, and where its levels end; they begin
//                      where those of the row before do
//   ...     levels     {u8 anchor, u8 level}: its score is lowest + level * step

#include "index/graph/anchor_blocks.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include "storage/types/ids.h"

namespace alaya {
namespace {

static_assert(std::endian::native == std::endian::little);
static_assert(sizeof(AnchorRow) == 4 && sizeof(AnchorLevel) == 2);

constexpr uint32_t kMagic = 0x31414641;  // "AFA1"
constexpr uint16_t kVersion = 1;
constexpr uint32_t kHeadDimMax = 4096;
constexpr size_t kRowsBegin = sizeof(uint32_t);
// Ends of levels are 16 bits.
constexpr size_t kLevelsPerBlockMax = UINT16_MAX;

struct StoredHeader {
  uint32_t magic = kMagic;
  uint16_t version = kVersion;
  uint16_t anchor_count = 0;
  uint32_t token_count = 0;
  uint32_t head_dim = 0;
  uint32_t score_block_count = 0;
  uint32_t reserved = 0;
};
static_assert(sizeof(StoredHeader) == 24);
constexpr size_t kScoreBlocksMax =
    (kIndexBlockBytesMax - sizeof(StoredHeader) - 2 * sizeof(float) * kAnchorsMax) /
    sizeof(uint32_t);

Status Damaged(std::string_view what) {
  return DataLoss(std::string("anchor blocks: ") + std::string(what));
}

void Append(const void* data, size_t bytes, std::vector<std::byte>* block) {
  const auto* begin = static_cast<const std::byte*>(data);
  block->insert(block->end(), begin, begin + bytes);
}

template <typename T>
void Append(std::span<const T> values, std::vector<std::byte>* block) {
  Append(values.data(), values.size_bytes(), block);
}

// Which tokens share a block of scores.
std::vector<TokenRange> ScoreBlocks(const AnchorScores& scores) {
  std::vector<TokenRange> blocks;
  size_t bytes = kIndexBlockBytesMax;
  size_t level_count = 0;
  for (size_t t = 0; t + 1 < scores.begins.size(); ++t) {
    const size_t levels = scores.of(t).size();
    if (levels == 0) continue;
    const size_t row_bytes = sizeof(AnchorRow) + levels * sizeof(AnchorLevel);
    if (bytes + row_bytes > kIndexBlockBytesMax || level_count + levels > kLevelsPerBlockMax ||
        t - blocks.back().begin > UINT16_MAX) {
      blocks.push_back({t, t});
      bytes = kRowsBegin;
      level_count = 0;
    }
    bytes += row_bytes;
    level_count += levels;
    blocks.back().end = t + 1;
  }
  return blocks;
}

Status WriteHeader(const AnchorScores& scores, std::span<const TokenRange> blocks,
                   const IndexBlockSink& sink) {
  StoredHeader header;
  header.anchor_count = static_cast<uint16_t>(scores.anchor_count());
  header.token_count = static_cast<uint32_t>(scores.begins.size() - 1);
  header.head_dim = static_cast<uint32_t>(scores.head_dim);
  header.score_block_count = static_cast<uint32_t>(blocks.size());
  std::vector<std::byte> bytes;
  Append(&header, sizeof(header), &bytes);
  Append(std::span<const float>(scores.lowest), &bytes);
  Append(std::span<const float>(scores.step), &bytes);
  for (const TokenRange block : blocks) {
    const auto first = static_cast<uint32_t>(block.begin);
    Append(&first, sizeof(first), &bytes);
  }
  return sink(bytes);
}

Status WriteScores(const AnchorScores& scores, TokenRange tokens, const IndexBlockSink& sink) {
  std::vector<AnchorRow> rows;
  for (size_t t = tokens.begin; t < tokens.end; ++t) {
    if (scores.of(t).empty()) continue;
    rows.push_back({static_cast<uint16_t>(t - tokens.begin),
                    static_cast<uint16_t>(scores.begins[t + 1] - scores.begins[tokens.begin])});
  }
  std::vector<std::byte> bytes;
  const auto row_count = static_cast<uint32_t>(rows.size());
  Append(&row_count, sizeof(row_count), &bytes);
  Append(std::span<const AnchorRow>(rows), &bytes);
  const size_t begin = scores.begins[tokens.begin];
  Append(std::span(scores.levels).subspan(begin, scores.begins[tokens.end] - begin), &bytes);
  return sink(bytes);
}

bool AllFinite(std::span<const float> values) {
  return std::ranges::all_of(values, [](float x) { return std::isfinite(x); });
}

template <typename T>
std::vector<T> Take(size_t count, std::span<const std::byte>* bytes) {
  std::vector<T> values(count);
  // No memcpy: there may be none of them, and then no address to copy from.
  std::ranges::copy(bytes->first(count * sizeof(T)),
                    std::as_writable_bytes(std::span(values)).begin());
  *bytes = bytes->subspan(count * sizeof(T));
  return values;
}

}  // namespace

Status WriteAnchorBlocks(const AnchorScores& scores, const IndexBlockSink& sink) {
  const std::vector<TokenRange> blocks = ScoreBlocks(scores);
  if (blocks.size() > kScoreBlocksMax) {
    return InvalidArgument("anchors with " + std::to_string(blocks.size()) +
                           " blocks of scores: at most " + std::to_string(kScoreBlocksMax));
  }
  ALAYA_RETURN_IF_ERROR(WriteHeader(scores, blocks, sink));
  const size_t row_bytes = sizeof(float) * scores.head_dim;
  std::span<const std::byte> weights = std::as_bytes(std::span(scores.weights));
  while (!weights.empty()) {
    const size_t bytes = std::min(weights.size(), kIndexBlockBytesMax / row_bytes * row_bytes);
    ALAYA_RETURN_IF_ERROR(sink(weights.first(bytes)));
    weights = weights.subspan(bytes);
  }
  for (const TokenRange block : blocks) ALAYA_RETURN_IF_ERROR(WriteScores(scores, block, sink));
  return OkStatus();
}

StatusOr<AnchorHeader> ReadAnchorHeader(const IndexBlockReader& blocks, size_t first_block) {
  if (blocks.block_count() <= first_block) return Damaged("there are none");
  ALAYA_ASSIGN_OR_RETURN(const PinnedBytes block, blocks.ReadBlock(first_block));
  StoredHeader stored;
  if (block.bytes.size() < sizeof(stored)) return Damaged("short header");
  std::memcpy(&stored, block.bytes.data(), sizeof(stored));
  if (stored.magic != kMagic || stored.version != kVersion) return Damaged("unknown format");
  if (stored.reserved != 0 || stored.anchor_count > kAnchorsMax || stored.head_dim == 0 ||
      stored.head_dim > kHeadDimMax || stored.score_block_count > kScoreBlocksMax) {
    return Damaged("inconsistent header");
  }
  const size_t count = stored.anchor_count;
  if (block.bytes.size() !=
      sizeof(stored) + 2 * sizeof(float) * count + sizeof(uint32_t) * stored.score_block_count) {
    return Damaged("wrong header size");
  }
  AnchorHeader header;
  header.token_count = stored.token_count;
  header.head_dim = stored.head_dim;
  header.first_block = first_block;
  std::span<const std::byte> rest = block.bytes.subspan(sizeof(stored));
  header.lowest = Take<float>(count, &rest);
  header.step = Take<float>(count, &rest);
  header.first_token = Take<uint32_t>(stored.score_block_count, &rest);
  if (!AllFinite(header.lowest) || !AllFinite(header.step) ||
      std::ranges::any_of(header.step, [](float step) { return step < 0; })) {
    return Damaged("an anchor without levels");
  }
  for (size_t i = 0; i < header.first_token.size(); ++i) {
    if (header.first_token[i] >= header.token_count ||
        (i > 0 && header.first_token[i] <= header.first_token[i - 1])) {
      return Damaged("blocks out of order");
    }
  }
  if (blocks.block_count() != header.score_block(header.first_token.size())) {
    return Damaged("wrong number of blocks");
  }
  return header;
}

StatusOr<std::vector<float>> ReadAnchorWeights(const AnchorHeader& header,
                                               const IndexBlockReader& blocks) {
  const size_t row_bytes = sizeof(float) * header.head_dim;
  std::vector<float> weights(header.anchor_count() * header.head_dim);
  std::span<std::byte> rest = std::as_writable_bytes(std::span(weights));
  for (size_t i = 0; i < header.weight_block_count(); ++i) {
    ALAYA_ASSIGN_OR_RETURN(const PinnedBytes block, blocks.ReadBlock(header.first_block + 1 + i));
    const size_t bytes = std::min(rest.size(), header.weight_rows_per_block() * row_bytes);
    if (block.bytes.size() != bytes) return Damaged("wrong size of weights");
    std::ranges::copy(block.bytes, rest.begin());
    rest = rest.subspan(bytes);
  }
  if (!AllFinite(weights)) return Damaged("a weight that is no number");
  return weights;
}

StatusOr<AnchorBlock> ReadAnchorBlock(const AnchorHeader& header, size_t index,
                                      std::span<const std::byte> bytes) {
  uint32_t row_count = 0;
  if (bytes.size() < sizeof(row_count)) return Damaged("short block");
  std::memcpy(&row_count, bytes.data(), sizeof(row_count));
  bytes = bytes.subspan(sizeof(row_count));
  if (row_count > bytes.size() / sizeof(AnchorRow)) return Damaged("short block");
  const size_t rows_bytes = row_count * sizeof(AnchorRow);
  AnchorBlock block;
  block.first_token = header.first_token[index];
  // Blocks lie at 64 bytes, so rows and levels at their alignment.
  block.rows = {reinterpret_cast<const AnchorRow*>(bytes.data()), row_count};
  block.levels = {reinterpret_cast<const AnchorLevel*>(bytes.data() + rows_bytes),
                  (bytes.size() - rows_bytes) / sizeof(AnchorLevel)};
  const uint32_t tokens = header.token_count - block.first_token;
  bool is_valid = row_count == 0 || block.rows.back().end <= block.levels.size();
  for (size_t i = 0; i < block.rows.size(); ++i) {
    is_valid &= block.rows[i].offset < tokens;
    if (i == 0) continue;
    is_valid &= block.rows[i].offset > block.rows[i - 1].offset;
    is_valid &= block.rows[i].end >= block.rows[i - 1].end;
  }
  if (!is_valid) return Damaged("a token out of order");
  return block;
}

}  // namespace alaya
