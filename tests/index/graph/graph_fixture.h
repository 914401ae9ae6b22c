// Keys and sampled queries for the tests of the graph's stages.

#ifndef ALAYA_TESTS_INDEX_GRAPH_GRAPH_FIXTURE_H_
#define ALAYA_TESTS_INDEX_GRAPH_GRAPH_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "index/graph/graph_build.h"
#include "storage/types/views.h"
#include "tests/index/array_kv_reader.h"
#include "tests/index/random_tensors.h"

namespace alaya {

// Random keys, [token_count, head_dim], far from the origin as trained keys are.
inline std::vector<float> RandomKeys(size_t token_count, size_t head_dim, uint32_t seed) {
  std::vector<float> keys = RandomFloats(token_count * head_dim, 1.0F, seed);
  for (size_t i = 0; i < keys.size(); i += head_dim) keys[i] += 8;
  return keys;
}

// Keys in blocks of 16; the values are the keys again, nobody reads them.
inline ArrayKvReader ReaderOf(const std::vector<float>& keys, size_t head_dim,
                              DType dtype = DType::kBF16) {
  return {keys, keys, head_dim, dtype, /*block_tokens=*/16};
}

inline MatrixView<const float> Rows(const std::vector<float>& values, size_t cols) {
  return {values.data(), values.size() / cols, cols};
}

// Runs one task after the other.
inline void RunInOrder(size_t count, const std::function<void(size_t)>& function) {
  for (size_t i = 0; i < count; ++i) function(i);
}

inline GraphBuildOptions SmallGraphOptions() {
  GraphBuildOptions options;
  options.first_token = 8;
  options.query_neighbors = 16;
  options.sponsored_rank = 8;
  options.sponsor_count = 8;
  options.degree_max = 16;
  options.link_count = 4;
  options.link_window = 16;
  options.anchor_count = 32;
  options.anchor_tokens = 64;
  options.entry_tokens = 100;
  options.parallel_for = RunInOrder;
  return options;
}

// Tokens that can be reached from the entries.
inline std::set<uint32_t> Reachable(const KeyGraph& graph) {
  std::set<uint32_t> reached(graph.entries.begin(), graph.entries.end());
  std::vector<uint32_t> open = graph.entries;
  while (!open.empty()) {
    const uint32_t token = open.back();
    open.pop_back();
    for (const uint32_t neighbor : graph.neighbors[token]) {
      if (reached.insert(neighbor).second) open.push_back(neighbor);
    }
  }
  return reached;
}

}  // namespace alaya

#endif  // ALAYA_TESTS_INDEX_GRAPH_GRAPH_FIXTURE_H_
