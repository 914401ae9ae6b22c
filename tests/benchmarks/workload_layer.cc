#include <algorithm>
#include <cmath>
#include <mutex>
#include <utility>

#include "index/kernels/encoding.h"
#include "tests/benchmarks/benchmark_layer.h"
#include "tests/support/attention_workload.h"
#include "tests/support/parallel_for.h"

namespace alaya {
namespace {

constexpr uint64_t kStepDistance = 101;
constexpr uint64_t kMakeTokens = 4096;  // made at a time

WorkloadOptions OptionsOf(const Model& model, uint64_t token_count, uint32_t layer, uint64_t seed) {
  WorkloadOptions options;
  options.model = model;
  options.model.num_layers = layer + 1;
  options.token_count = token_count;
  options.seed = seed;
  return options;
}

class WorkloadLayer : public BenchmarkLayer {
 public:
  WorkloadLayer(const Model& shape, uint64_t token_count, uint32_t layer, uint64_t seed)
      : BenchmarkLayer(shape, token_count),
        layer_(layer),
        workload_(OptionsOf(shape, token_count, layer, seed)) {
    const uint64_t parts = (token_count + kMakeTokens - 1) / kMakeTokens;
    ParallelFor(parts * model().num_kv_heads, [&](size_t task) {
      const auto head = static_cast<uint32_t>(task % model().num_kv_heads);
      const uint64_t begin = task / model().num_kv_heads * kMakeTokens;
      const TokenRange range{begin, std::min(begin + kMakeTokens, this->token_count())};
      std::vector<std::byte> encoded(range.size() * model().row_bytes());
      EncodeElements(workload_.HeadKeys(layer_, head, range), model().dtype, encoded);
      Fill(head, KvKind::kKey, range, encoded);
      EncodeElements(workload_.HeadValues(layer_, head, range), model().dtype, encoded);
      Fill(head, KvKind::kValue, range, encoded);
    });
  }

  std::string name() const override { return "layer " + std::to_string(layer_); }
  float scale() const override { return 1 / std::sqrt(static_cast<float>(model().head_dim)); }
  TokenRange visible(size_t /*step*/) const override { return {0, token_count()}; }

  std::vector<float> Queries(size_t step) const override {
    std::vector<float> queries =
        workload_.Queries(layer_, token_count() - 1 + step * kStepDistance);
    std::vector<std::byte> encoded(queries.size() * ElementBytes(model().dtype));
    EncodeElements(queries, model().dtype, encoded);
    DecodeElements(model().dtype, encoded, queries);
    return queries;
  }

  std::vector<float> SampledQueries(size_t head, size_t count) const override {
    const size_t group_elements = size_t{model().group_size()} * model().head_dim;
    const std::lock_guard lock(mutex_);
    if (samples_.size() != count) {
      samples_.resize(count);
      const std::vector<uint64_t> positions = workload_.SampledPositions(count);
      ParallelFor(count, [&](size_t i) { samples_[i] = workload_.Queries(layer_, positions[i]); });
    }
    std::vector<float> queries(count * group_elements);
    for (size_t i = 0; i < count; ++i) {
      std::copy_n(&samples_[i][head * group_elements], group_elements,
                  &queries[i * group_elements]);
    }
    return queries;
  }

 private:
  uint32_t layer_;
  AttentionWorkload workload_;
  mutable std::mutex mutex_;
  mutable std::vector<std::vector<float>> samples_;  // of all heads, as they were asked for last
};

}  // namespace

std::unique_ptr<BenchmarkLayer> MakeWorkloadLayer(const Model& model, uint64_t token_count,
                                                  uint32_t layer, uint64_t seed) {
  return std::make_unique<WorkloadLayer>(model, token_count, layer, seed);
}

}  // namespace alaya
