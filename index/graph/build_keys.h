// The keys of one kv head in memory, as building needs them: any key, any time.

#ifndef ALAYA_INDEX_GRAPH_BUILD_KEYS_H_
#define ALAYA_INDEX_GRAPH_BUILD_KEYS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "index/kv_reader.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

class BuildKeys {
 public:
  // Copies all keys. Errors: what `reader` returns.
  static StatusOr<BuildKeys> Read(const KvReader& reader);

  size_t token_count() const { return half_norms_.size(); }
  size_t head_dim() const { return head_dim_; }
  DType dtype() const { return dtype_; }
  // Of all keys.
  std::span<const float> mean() const { return mean_; }
  void Decode(uint32_t token, std::span<float> key) const;

  // closeness[i]: how near tokens[i] lies to `key`, [head_dim]: <key, k_i> - |k_i|^2 / 2.
  // Order by it is order by rising Euclidean distance.
  void Closeness(std::span<const float> key, std::span<const uint32_t> tokens,
                 std::span<float> closeness) const;
  // |k|^2 / 2: closeness to itself.
  float half_norm(uint32_t token) const { return half_norms_[token]; }

 private:
  EncodedMatrixView rows() const { return {bytes_.data(), token_count(), head_dim_, dtype_}; }

  size_t head_dim_ = 0;
  DType dtype_ = DType::kF32;
  std::vector<std::byte> bytes_;
  std::vector<float> half_norms_;
  std::vector<float> mean_;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_BUILD_KEYS_H_
