// Synthetic attention that behaves like a trained model's: seeded, endless, the same
// on every machine.
//
// Uniform random vectors are not attention. Here queries are out of distribution for
// keys, heads differ by three orders of magnitude in how many tokens matter, and there
// are sinks, recency, planted needles and decode steps that wander:
//
//   key   = mean + RoPE(topic centroid + noise + recency), a few channels of the mean
//           5 to 20 times larger; tokens of a topic are near each other in the text
//   query = -mean direction + RoPE(own home + walk + recency), scaled so that the
//           logits of the bulk have the head's standard deviation
//
// The mean stands outside the rotation (trained models keep theirs in channels that
// RoPE hardly turns), so it shifts all logits alike. The bonus for recent tokens comes
// from RoPE itself, through a band of its frequencies. Every number is a function of
// (seed, layer, head, position), so any part can be made alone and in any order, also
// at positions after token_count: those are the tokens that decoding appends.
//
// Sources: AlayaDB, RetrievalAttention, MagicPIG, RetroInfer and ShadowKV for what
// attention looks like; attention_workload_acceptance_test.cc for what is held.

#ifndef ALAYA_TESTS_SUPPORT_ATTENTION_WORKLOAD_H_
#define ALAYA_TESTS_SUPPORT_ATTENTION_WORKLOAD_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "storage/types/ids.h"
#include "storage/types/model.h"
#include "tests/support/random_numbers.h"

namespace alaya {

// Llama-3-8B with this many layers.
Model StandardModel(uint32_t num_layers);

struct WorkloadOptions {
  Model model;
  uint64_t token_count = 0;  // of the stored context; needles and their lift depend on it
  uint64_t seed = 1;
  // Layers from 0 whose heads are diffuse.
  uint32_t diffuse_layer_count = 2;
  // Standard deviation of the bulk's logits in nats, for all heads; unset: each head's own.
  std::optional<double> logit_deviation = {};
  // How far the sink tops the bulk, nats, for all heads; unset: each head's own.
  std::optional<double> sink_lift = {};
  // Planted per head: 1 to this many. 0: no needles.
  uint32_t needle_count_max = 32;
  // Every so many positions the queries ask for the needles.
  uint32_t needle_interval = 8;
  double rope_base = 500'000;
};

// Of how many positions an engine sends the queries along with a context.
constexpr size_t SampledPositionCount(uint64_t token_count) {
  return std::min<size_t>(4096, token_count / 10);
}

// What makes one kv head different from the others.
struct HeadProfile {
  double logit_deviation = 0;     // of the bulk, nats
  double sink_lift = 0;           // of token 0 over the bulk's expected maximum, nats
  double recency_lift = 0;        // of the newest token over the bulk's mean, nats
  double recency_tokens = 0;      // the bonus has decayed about here
  std::vector<uint64_t> needles;  // positions, rising
};

// Keys and values of some tokens of one layer, as an engine sends them.
struct LayerTokens {
  std::vector<std::byte> keys;    // [T, num_kv_heads, head_dim] in the model's dtype
  std::vector<std::byte> values;  // the same
};

// Threads: all methods may be called at the same time.
class AttentionWorkload {
 public:
  static constexpr uint64_t kSinkCount = 4;

  explicit AttentionWorkload(WorkloadOptions options);

  const WorkloadOptions& options() const { return options_; }
  const Model& model() const { return options_.model; }
  const HeadProfile& profile(uint32_t layer, uint32_t kv_head) const;
  // Do the queries at this position ask for needles?
  bool AsksForNeedles(uint64_t position) const;

  // So many positions all over the stored context.
  std::vector<uint64_t> SampledPositions(size_t count) const;

  // Vocabulary entries of positions [range.begin, range.end).
  std::vector<TokenId> Tokens(TokenRange range) const;

  // One kv head, [range.size(), head_dim], not rounded to the model's dtype.
  std::vector<float> HeadKeys(uint32_t layer, uint32_t kv_head, TokenRange range) const;
  std::vector<float> HeadValues(uint32_t layer, uint32_t kv_head, TokenRange range) const;

  // All kv heads of a layer, rounded to the model's dtype. Uses all cores.
  LayerTokens Layer(uint32_t layer, TokenRange range) const;

  // The query heads of one position, [num_query_heads, head_dim]; to be scaled by
  // 1 / sqrt(head_dim). A query at position p is for tokens 0..p.
  std::vector<float> Queries(uint32_t layer, uint64_t position) const;

 private:
  // The fixed vectors of one kv head.
  struct Head {
    HeadProfile profile;
    RandomStream random{0};
    std::vector<float> mean;  // [head_dim] of the keys, outside the rotation
    std::vector<size_t> outlier_channels;
    std::vector<float> mean_direction;    // unit
    std::vector<float> needle_direction;  // unit, outside the rotation
    double sink_length = 0;               // along -mean_direction
    double needle_length = 0;             // without its lift
    size_t recency_pair_begin = 0;
    size_t recency_pair_end = 0;
  };

  Head MakeHead(uint32_t layer, uint32_t kv_head) const;
  const Head& head(uint32_t layer, uint32_t kv_head) const;
  void WriteKeys(const Head& head, TokenRange range, std::span<float> out) const;
  void WriteValues(const Head& head, TokenRange range, std::span<float> out) const;
  void WriteQuery(const Head& head, uint32_t query_head, uint64_t position,
                  std::span<float> out) const;
  void AddRecency(const Head& head, double amplitude, std::span<float> content) const;
  void Rotate(uint64_t position, std::span<float> vector) const;
  double BulkMaximum() const;

  const WorkloadOptions options_;
  const RandomStream random_;
  std::vector<double> frequencies_;   // [head_dim / 2] RoPE, radians per token
  std::vector<float> query_weights_;  // [head_dim] spectrum of the queries' content
  std::vector<Head> heads_;           // [num_layers * num_kv_heads]
};

}  // namespace alaya

#endif  // ALAYA_TESTS_SUPPORT_ATTENTION_WORKLOAD_H_
