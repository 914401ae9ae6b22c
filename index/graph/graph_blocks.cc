// Integers are little-endian.
//
// Block 0, 40 + 4 * entry_count bytes:
//
//   offset  field             type
//   0       magic             u32  "AFG1"
//   4       version           u16  1
//   6       id_bits           u16  bits of a token: max(16, those of token_count - 1)
//   8       token_count       u32
//   12      head_dim          u32
//   16      first_token       u32  tokens before it are no part of the graph
//   20      tokens_per_block  u32
//   24      entry_count       u32
//   28      reserved          u32  0
//   32      neighbor_count    u64  of all tokens
//   40      entries           u32  * entry_count, rising
//
// If first_token < token_count, blocks 1, 2, ... hold the neighbours of tokens_per_block
// tokens each (the last one of those that are left):
//
//   offset  field             type
//   0       ends              u16  * tokens of the block: where a token's neighbours end,
//                                  in units of 2 bytes after `ends`; they begin where
//                                  those of the token before end
//   ...     neighbours             id_bits each, lowest bit first, from the begin on;
//                                  then zeros up to a unit. A unit is not longer than
//                                  id_bits, so the length tells their number
//   ...     padding           u64  0: a reader may load 8 bytes at the last neighbour

#include "index/graph/graph_blocks.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

namespace alaya {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr uint32_t kMagic = 0x31474641;  // "AFG1"
constexpr uint16_t kVersion = 1;
constexpr uint32_t kIdBitsMin = 16;
constexpr uint32_t kTokenCountMax = uint32_t{1} << 31;
constexpr size_t kUnitBytes = 2;
constexpr size_t kPaddingBytes = 8;

struct StoredHeader {
  uint32_t magic = kMagic;
  uint16_t version = kVersion;
  uint16_t id_bits = 0;
  uint32_t token_count = 0;
  uint32_t head_dim = 0;
  uint32_t first_token = 0;
  uint32_t tokens_per_block = 0;
  uint32_t entry_count = 0;
  uint32_t reserved = 0;
  uint64_t neighbor_count = 0;
};
static_assert(sizeof(StoredHeader) == 40 &&
              sizeof(StoredHeader) + kGraphEntriesMax * sizeof(uint32_t) <= kIndexBlockBytesMax);
// A block of one token always fits.
static_assert(kGraphDegreeMax * sizeof(uint32_t) + 2 * kUnitBytes + kPaddingBytes <=
              kIndexBlockBytesMax);

uint32_t IdBits(uint32_t token_count) {
  return std::max<uint32_t>(kIdBitsMin, static_cast<uint32_t>(std::bit_width(token_count - 1)));
}

size_t Units(size_t neighbor_count, size_t id_bits) {
  return (neighbor_count * id_bits + 8 * kUnitBytes - 1) / (8 * kUnitBytes);
}

// Bytes of a block of `count` tokens.
size_t BlockBytes(const KeyGraph& graph, size_t id_bits, size_t first, size_t count) {
  size_t units = count;  // ends
  for (size_t t = first; t < first + count; ++t) units += Units(graph.neighbors[t].size(), id_bits);
  return units * kUnitBytes + kPaddingBytes;
}

// The most tokens, about, with which all blocks fit.
size_t TokensPerBlock(const KeyGraph& graph, size_t id_bits) {
  const size_t total = graph.neighbors.size();
  const auto fits = [&](size_t count) {
    for (size_t first = 0; first < total; first += count) {
      const size_t bytes = BlockBytes(graph, id_bits, first, std::min(count, total - first));
      if (bytes > kIndexBlockBytesMax) return false;
    }
    return true;
  };
  const size_t mean_bytes = BlockBytes(graph, id_bits, 0, total) / total;
  size_t count = std::clamp<size_t>(kIndexBlockBytesMax / mean_bytes, 1, total);
  while (!fits(count)) count -= std::max<size_t>(1, count / 32);
  return count;
}

template <typename T>
void Store(T value, std::byte* at) {
  std::memcpy(at, &value, sizeof(value));
}

template <typename T>
T Load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

std::vector<std::byte> EncodeBlock(const KeyGraph& graph, size_t id_bits, size_t first,
                                   size_t count) {
  std::vector<std::byte> block(BlockBytes(graph, id_bits, first, count));
  std::byte* const ids = block.data() + count * kUnitBytes;
  size_t end = 0;
  for (size_t i = 0; i < count; ++i) {
    const std::vector<uint32_t>& neighbors = graph.neighbors[first + i];
    size_t bit = end * kUnitBytes * 8;
    for (const uint32_t neighbor : neighbors) {
      std::byte* const at = ids + bit / 8;
      Store(Load<uint64_t>(at) | uint64_t{neighbor} << (bit % 8), at);
      bit += id_bits;
    }
    end += Units(neighbors.size(), id_bits);
    Store(static_cast<uint16_t>(end), block.data() + i * kUnitBytes);
  }
  return block;
}

Status Damaged(std::string_view what) {
  return DataLoss(std::string("graph blocks: ") + std::string(what));
}

// True if the fields fit each other and need no more than block_count blocks.
bool IsConsistent(const StoredHeader& header, size_t block_count) {
  if (header.token_count > kTokenCountMax || header.first_token > header.token_count ||
      header.reserved != 0) {
    return false;
  }
  if (header.first_token == header.token_count) {
    return block_count >= 1 && header.tokens_per_block == 0 && header.entry_count == 0 &&
           header.neighbor_count == 0 && header.id_bits == 0;
  }
  if (header.tokens_per_block == 0 || header.tokens_per_block > header.token_count ||
      header.tokens_per_block > kIndexBlockBytesMax / kUnitBytes) {
    return false;
  }
  const size_t blocks = (header.token_count - 1) / header.tokens_per_block + 1;
  return block_count >= 1 + blocks && header.id_bits == IdBits(header.token_count) &&
         header.entry_count >= 1 && header.entry_count <= kGraphEntriesMax;
}

}  // namespace

Status WriteGraphBlocks(const KeyGraph& graph, size_t head_dim, const IndexBlockSink& sink) {
  const size_t token_count = graph.neighbors.size();
  if (token_count > kTokenCountMax) {
    return InvalidArgument("graph of " + std::to_string(token_count) + " tokens: at most " +
                           std::to_string(kTokenCountMax));
  }
  StoredHeader header;
  header.token_count = static_cast<uint32_t>(token_count);
  header.head_dim = static_cast<uint32_t>(head_dim);
  header.first_token = static_cast<uint32_t>(graph.first_token);
  header.entry_count = static_cast<uint32_t>(graph.entries.size());
  for (const std::vector<uint32_t>& neighbors : graph.neighbors) {
    header.neighbor_count += neighbors.size();
  }
  size_t tokens_per_block = 0;
  if (graph.first_token < token_count) {
    header.id_bits = static_cast<uint16_t>(IdBits(header.token_count));
    tokens_per_block = TokensPerBlock(graph, header.id_bits);
    header.tokens_per_block = static_cast<uint32_t>(tokens_per_block);
  }
  const std::span<const std::byte> entries = std::as_bytes(std::span(graph.entries));
  std::vector<std::byte> first_block(sizeof(header) + entries.size());
  Store(header, first_block.data());
  std::ranges::copy(entries, first_block.begin() + sizeof(header));
  ALAYA_RETURN_IF_ERROR(sink(first_block));
  for (size_t first = 0; tokens_per_block > 0 && first < token_count; first += tokens_per_block) {
    const size_t count = std::min(tokens_per_block, token_count - first);
    ALAYA_RETURN_IF_ERROR(sink(EncodeBlock(graph, header.id_bits, first, count)));
  }
  return OkStatus();
}

StatusOr<GraphHeader> ReadGraphHeader(const IndexBlockReader& blocks) {
  if (blocks.block_count() == 0) return Damaged("there are none");
  ALAYA_ASSIGN_OR_RETURN(const PinnedBytes block, blocks.ReadBlock(0));
  if (block.bytes.size() < sizeof(StoredHeader)) return Damaged("short header");
  const auto stored = Load<StoredHeader>(block.bytes.data());
  if (stored.magic != kMagic || stored.version != kVersion) return Damaged("unknown format");
  if (!IsConsistent(stored, blocks.block_count())) return Damaged("inconsistent header");
  GraphHeader header = {stored.token_count,
                        stored.head_dim,
                        stored.first_token,
                        stored.tokens_per_block,
                        stored.id_bits,
                        stored.neighbor_count,
                        {}};
  if (block.bytes.size() != sizeof(stored) + size_t{stored.entry_count} * sizeof(uint32_t)) {
    return Damaged("wrong number of entries");
  }
  header.entries.resize(stored.entry_count);
  const std::span<const std::byte> entries = block.bytes.subspan(sizeof(stored));
  std::ranges::copy(entries, std::as_writable_bytes(std::span(header.entries)).begin());
  for (size_t i = 0; i < header.entries.size(); ++i) {
    const uint32_t entry = header.entries[i];
    if (entry < header.first_token || entry >= header.token_count ||
        (i > 0 && entry <= header.entries[i - 1])) {
      return Damaged("an entry that is no token of the graph");
    }
  }
  return header;
}

Status ReadNeighbors(const GraphHeader& header, uint32_t token, std::span<const std::byte> block,
                     std::vector<uint32_t>* neighbors) {
  const size_t row = token % header.tokens_per_block;
  const size_t rows = std::min<size_t>(header.tokens_per_block, header.token_count - (token - row));
  if (block.size() < rows * kUnitBytes + kPaddingBytes) return Damaged("short block");
  const size_t begin = row == 0 ? 0 : Load<uint16_t>(block.data() + (row - 1) * kUnitBytes);
  const size_t end = Load<uint16_t>(block.data() + row * kUnitBytes);
  if (begin > end || (rows + end) * kUnitBytes + kPaddingBytes > block.size()) {
    return Damaged("neighbours outside of their block");
  }
  const size_t count = (end - begin) * kUnitBytes * 8 / header.id_bits;
  const std::byte* const ids = block.data() + rows * kUnitBytes;
  const uint64_t mask = (uint64_t{1} << header.id_bits) - 1;
  size_t bit = begin * kUnitBytes * 8;
  neighbors->resize(count);
  bool all_valid = true;
  for (uint32_t& neighbor : *neighbors) {
    neighbor = static_cast<uint32_t>(Load<uint64_t>(ids + bit / 8) >> (bit % 8) & mask);
    all_valid &= neighbor >= header.first_token && neighbor < header.token_count;
    bit += header.id_bits;
  }
  return all_valid ? OkStatus() : Damaged("a neighbour that is no token of the graph");
}

}  // namespace alaya
