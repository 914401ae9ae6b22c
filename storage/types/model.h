// The registered shape of an LLM's KV cache.

#ifndef ALAYA_STORAGE_TYPES_MODEL_H_
#define ALAYA_STORAGE_TYPES_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "storage/types/dtype.h"

namespace alaya {

struct Model {
  std::string name;
  uint32_t num_layers = 0;
  uint32_t num_query_heads = 0;  // a multiple of num_kv_heads
  uint32_t num_kv_heads = 0;
  uint32_t head_dim = 0;  // a multiple of 8
  DType dtype = DType::kBF16;

  // Query heads that share one kv head (GQA).
  uint32_t group_size() const { return num_query_heads / num_kv_heads; }
  // Bytes of one token's key (or value) in one kv head.
  size_t row_bytes() const { return head_dim * ElementBytes(dtype); }
  // Bytes of one token's keys and values in all layers.
  size_t token_bytes() const { return size_t{2} * num_layers * num_kv_heads * row_bytes(); }

  friend bool operator==(const Model&, const Model&) = default;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_TYPES_MODEL_H_
