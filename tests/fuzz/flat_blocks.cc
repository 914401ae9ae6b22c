// Damaged blocks of a flat index.
//
// A good index over fixed keys, of which the input overwrites bytes or which it shortens:
// byte 0 the block, bytes 1-2 where, byte 3 how (1: cut there) and in which of two indexes (2: of
// a long text with a map of queries), then the new bytes.
// Opening and searching it gives an answer or DataLoss, and never reads outside.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "hwy/aligned_allocator.h"
#include "index/flat/flat_builder.h"
#include "index/flat/flat_index.h"
#include "tests/fuzz/require.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 16;
constexpr size_t kTokenCount = 300;

class FixedReader : public KvReader {
 public:
  explicit FixedReader(size_t token_count)
      : token_count_(token_count), numbers_(token_count * kHeadDim) {
    for (size_t i = 0; i < numbers_.size(); ++i) {
      numbers_[i] = static_cast<float>(i * 2654435761U % 1000) / 500 - 1;
    }
  }
  size_t token_count() const override { return token_count_; }
  size_t block_tokens() const override { return token_count_; }
  size_t head_dim() const override { return kHeadDim; }
  StatusOr<PinnedRows> ReadBlock(KvKind, size_t) const override {
    PinnedRows pinned;
    pinned.rows = {reinterpret_cast<const std::byte*>(numbers_.data()), token_count_, kHeadDim,
                   DType::kF32};
    return pinned;
  }

 private:
  size_t token_count_;
  std::vector<float> numbers_;
};

// An index and what it is of.
struct GoodIndex {
  explicit GoodIndex(size_t token_count) : reader(token_count) {
    // Of the first elements alone, so that there is a map.
    std::vector<float> queries(20 * kHeadDim);
    for (size_t i = 0; i < queries.size(); i += 5) queries[i] = i % kHeadDim < 4 ? 1 : 0;
    Require(BuildFlatIndex(reader, {queries.data(), 20, kHeadDim},
                           [&](std::span<const std::byte> bytes) {
                             blocks.emplace_back(bytes.begin(), bytes.end());
                             return OkStatus();
                           })
                .ok());
    const bool has_map = DecodeFlatHeader(blocks[0])->query_map.has_value();
    Require(has_map == (token_count >= kMapTokensMin));
  }
  FixedReader reader;
  std::vector<std::vector<std::byte>> blocks;
};

// Every read is a copy of exactly the block's bytes, so that reading past them shows.
class DamagedBlocks : public IndexBlockReader {
 public:
  explicit DamagedBlocks(std::vector<std::vector<std::byte>> blocks) : blocks_(std::move(blocks)) {}

  size_t block_count() const override { return blocks_.size(); }
  StatusOr<PinnedBytes> ReadBlock(size_t block_index) const override {
    const std::vector<std::byte>& block = blocks_[block_index];
    void* copy = std::aligned_alloc(64, (block.size() + 63) / 64 * 64);
    std::copy(block.begin(), block.end(), static_cast<std::byte*>(copy));
    PinnedBytes pinned;
    pinned.bytes = {static_cast<const std::byte*>(copy), block.size()};
    pinned.pin = BlockPin(copy, [](void* memory) { std::free(memory); });
    return pinned;
  }

 private:
  std::vector<std::vector<std::byte>> blocks_;
};

void FuzzOne(std::span<const uint8_t> input) {
  static const GoodIndex short_one(kTokenCount);
  static const GoodIndex long_one(kMapTokensMin);
  if (input.size() < 4) return;
  const GoodIndex& good = (input[3] & 2) == 0 ? short_one : long_one;
  std::vector<std::vector<std::byte>> blocks = good.blocks;
  std::vector<std::byte>& block = blocks[input[0] % blocks.size()];
  const size_t place = (input[1] | size_t{input[2]} << 8) % block.size();
  if (input[3] % 2 == 1) {
    block.resize(std::max<size_t>(place, 1));
  } else {
    for (size_t i = 4; i < input.size() && place + i - 4 < block.size(); ++i) {
      block[place + i - 4] = std::byte{input[i]};
    }
  }
  const DamagedBlocks damaged(std::move(blocks));
  const auto index = FlatIndex::Open(&damaged, &good.reader);
  if (!index.ok()) {
    Require(index.status().code() == StatusCode::kDataLoss);
    return;
  }
  std::vector<float> query(2 * kHeadDim, 1.0F);
  query[3] = -7;
  const std::vector<TokenRange> visible(2, TokenRange{1, good.reader.token_count()});
  for (const bool sound : {true, false}) {
    for (const bool estimate_rest : {true, false}) {
      SearchRequest request;
      request.queries = {query.data(), 2, kHeadDim};
      request.visible = visible;
      request.target = DiprTarget{};
      request.scale = 0.25F;
      request.want_mass = estimate_rest;
      request.sound = sound;
      request.estimate_rest = estimate_rest;
      const auto found = (*index)->Search(request);
      Require(found.ok() || found.status().code() == StatusCode::kDataLoss);
    }
  }
}

}  // namespace
}  // namespace alaya

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  alaya::FuzzOne({data, size});
  return 0;
}
