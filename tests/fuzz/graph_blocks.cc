// Opens and searches arbitrary bytes as the blocks of a fine and of a coarse index.
//
// Input: u8 kind, then blocks, each a u16 length and its bytes; what is left is the last
// one. Whatever the bytes are, a search ends with an answer over tokens that exist or
// with DataLoss.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "index/coarse/coarse_index.h"
#include "index/graph/fine_index.h"
#include "tests/fuzz/require.h"

namespace alaya {
namespace {

constexpr size_t kTokens = 300;
constexpr size_t kHeadDim = 16;

class ByteBlocks : public IndexBlockReader {
 public:
  explicit ByteBlocks(std::vector<std::vector<std::byte>> blocks) : blocks_(std::move(blocks)) {}

  size_t block_count() const override { return blocks_.size(); }
  StatusOr<PinnedBytes> ReadBlock(size_t block_index) const override {
    return PinnedBytes{blocks_[block_index], BlockPin()};
  }

 private:
  std::vector<std::vector<std::byte>> blocks_;  // aligned, as the memory tier's are
};

class SmallKeys : public KvReader {
 public:
  SmallKeys() : keys_(kTokens * kHeadDim) {
    for (size_t i = 0; i < keys_.size(); ++i) {
      keys_[i] = static_cast<float>(i * 2654435761U % 1000) / 500 - 1;
    }
  }
  size_t token_count() const override { return kTokens; }
  size_t block_tokens() const override { return 64; }
  size_t head_dim() const override { return kHeadDim; }
  StatusOr<PinnedRows> ReadBlock(KvKind /*kind*/, size_t block_index) const override {
    const EncodedMatrixView all = {reinterpret_cast<const std::byte*>(keys_.data()), kTokens,
                                   kHeadDim, DType::kF32};
    const size_t begin = block_index * block_tokens();
    return PinnedRows{all.rows_range(begin, std::min(block_tokens(), kTokens - begin)), BlockPin()};
  }

 private:
  std::vector<float> keys_;
};

void Search(const TokenIndex& index) {
  const std::vector<float> query(kHeadDim, 0.5F);
  for (const Target& target : {Target(DiprTarget{}), Target(TopKTarget{5})}) {
    for (const TokenRange visible : {TokenRange{0, kTokens}, TokenRange{10, 70}}) {
      SearchRequest request;
      request.queries = {query.data(), 1, kHeadDim};
      request.visible = {&visible, 1};
      request.target = target;
      request.scale = 0.25F;
      const auto found = index.Search(request);
      if (!found.ok()) {
        Require(found.status().code() == StatusCode::kDataLoss);
        continue;
      }
      for (const ScoredToken& token : found->queries[0].tokens) {
        Require(visible.contains(token.token));
      }
    }
  }
}

void FuzzOne(std::string_view input) {
  if (input.empty()) return;
  const bool is_fine = input.front() % 2 == 0;
  input.remove_prefix(1);
  std::vector<std::vector<std::byte>> copies;
  uint16_t length = 0;
  while (input.size() >= sizeof(length)) {
    std::memcpy(&length, input.data(), sizeof(length));
    input.remove_prefix(sizeof(length));
    const std::string_view bytes = input.substr(0, length);
    const auto begin = reinterpret_cast<const std::byte*>(bytes.data());
    copies.emplace_back(begin, begin + bytes.size());
    input.remove_prefix(bytes.size());
  }
  const ByteBlocks blocks(std::move(copies));
  const SmallKeys keys;
  if (is_fine) {
    FineSearchOptions options;
    options.scan_tokens = 0;
    const auto index = FineIndex::Open(&blocks, &keys, options);
    if (index.ok()) Search(**index);
  } else {
    const auto index = CoarseIndex::Open(&blocks, &keys);
    if (index.ok()) Search(**index);
  }
}

}  // namespace
}  // namespace alaya

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  alaya::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
