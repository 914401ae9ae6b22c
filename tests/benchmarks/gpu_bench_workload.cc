// The standard workload for gpu_bench, through plain C functions.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/support/attention_workload.h"

namespace alaya {

extern "C" {

// Of Llama-3-8B's shape. Its layers 0 and 1 are diffuse.
void* alaya_workload(uint64_t token_count, uint64_t seed) {
  WorkloadOptions options;
  options.model = StandardModel(/*num_layers=*/4);
  options.token_count = token_count;
  options.seed = seed;
  return new AttentionWorkload(options);
}

void alaya_workload_destroy(void* workload) { delete static_cast<AttentionWorkload*>(workload); }

// Writes keys and values, [token_count, num_kv_heads, head_dim] bf16 each.
void alaya_workload_layer(void* workload, uint32_t layer, std::byte* keys, std::byte* values) {
  const auto& made = *static_cast<AttentionWorkload*>(workload);
  const LayerTokens tokens = made.Layer(layer, {0, made.options().token_count});
  std::memcpy(keys, tokens.keys.data(), tokens.keys.size());
  std::memcpy(values, tokens.values.data(), tokens.values.size());
}

// Writes the queries of a position, [num_query_heads, head_dim].
void alaya_workload_queries(void* workload, uint32_t layer, uint64_t position, float* queries) {
  const std::vector<float> made =
      static_cast<AttentionWorkload*>(workload)->Queries(layer, position);
  std::memcpy(queries, made.data(), made.size() * sizeof(float));
}

}  // extern "C"

}  // namespace alaya
