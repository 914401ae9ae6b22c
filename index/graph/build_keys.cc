#include "index/graph/build_keys.h"

#include <algorithm>
#include <limits>

#include "index/graph/gathered_scores.h"
#include "index/kernels/encoding.h"
#include "index/prefetch.h"
#include "index/scratch_buffer.h"

namespace alaya {

StatusOr<BuildKeys> BuildKeys::Read(const KvReader& reader) {
  BuildKeys keys;
  keys.head_dim_ = reader.head_dim();
  std::vector<double> sums(keys.head_dim_);
  std::vector<float> key(keys.head_dim_);
  for (size_t b = 0; b < reader.block_count(); ++b) {
    ALAYA_ASSIGN_OR_RETURN(const PinnedRows block, reader.ReadBlock(KvKind::kKey, b));
    const std::span<const std::byte> bytes = block.rows.bytes();
    keys.dtype_ = block.rows.dtype;
    if (b == 0) keys.bytes_.reserve(reader.token_count() * block.rows.row_bytes());
    keys.bytes_.insert(keys.bytes_.end(), bytes.begin(), bytes.end());
    for (size_t i = 0; i < block.rows.rows; ++i) {
      DecodeElements(keys.dtype_, {block.rows.row(i), block.rows.row_bytes()}, key);
      float norm = 0;
      for (size_t e = 0; e < key.size(); ++e) {
        sums[e] += double{key[e]};
        norm += key[e] * key[e];
      }
      // Beyond float's range all are equally far.
      keys.half_norms_.push_back(std::min(norm, std::numeric_limits<float>::max()) / 2);
    }
  }
  const auto count = static_cast<double>(std::max<size_t>(keys.token_count(), 1));
  for (const double sum : sums) keys.mean_.push_back(static_cast<float>(sum / count));
  return keys;
}

void BuildKeys::Decode(uint32_t token, std::span<float> key) const {
  DecodeElements(dtype_, {rows().row(token), rows().row_bytes()}, key);
}

void BuildKeys::Closeness(std::span<const float> key, std::span<const uint32_t> tokens,
                          std::span<float> closeness) const {
  thread_local ScratchBuffer<const std::byte*> buffer;
  const std::span<const std::byte*> addresses = buffer.Take(tokens.size());
  const size_t row_bytes = rows().row_bytes();
  for (size_t i = 0; i < tokens.size(); ++i) {
    addresses[i] = rows().row(tokens[i]);
    Prefetch(addresses[i], row_bytes);
  }
  GatheredScores(key, dtype_, addresses, closeness);
  for (size_t i = 0; i < tokens.size(); ++i) closeness[i] -= half_norms_[tokens[i]];
}

}  // namespace alaya
