// One layer's keys and values in memory, as a server's page cache holds them: pages of
// 16 KiB per kv head and kind; with decode steps that attend to them.

#ifndef ALAYA_TESTS_BENCHMARKS_BENCHMARK_LAYER_H_
#define ALAYA_TESTS_BENCHMARKS_BENCHMARK_LAYER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "index/kv_reader.h"
#include "storage/types/ids.h"
#include "storage/types/model.h"
#include "tests/benchmarks/arena.h"

namespace alaya {

class BenchmarkLayer {
 public:
  virtual ~BenchmarkLayer() = default;

  virtual std::string name() const = 0;
  const Model& model() const { return model_; }  // of one layer
  uint64_t token_count() const { return token_count_; }
  // Of keys and values.
  uint64_t kv_bytes() const { return token_count_ * model_.token_bytes(); }
  const KvReader& reader(size_t head) const { return *readers_[head]; }

  virtual float scale() const = 0;
  // The float queries of one decode step, [num_query_heads, head_dim], and what they see.
  virtual std::vector<float> Queries(size_t step) const = 0;
  virtual TokenRange visible(size_t step) const = 0;
  // Queries of earlier positions, [n * group_size, head_dim], at most `count` positions:
  // what an import samples.
  virtual std::vector<float> SampledQueries(size_t head, size_t count) const = 0;

  // Reads every byte of one head, and does nothing else with it.
  void Read(size_t head) const;

 protected:
  BenchmarkLayer(const Model& model, uint64_t token_count);

  // Rows of `tokens` of one head, encoded.
  void Fill(size_t head, KvKind kind, TokenRange tokens, std::span<const std::byte> rows);

 private:
  class HeadReader;

  // Page `block` of one head and kind, in the order in which an import writes pages.
  std::byte* PageData(size_t head, KvKind kind, size_t block) const;
  EncodedMatrixView Page(size_t head, KvKind kind, size_t block) const;

  Model model_;
  uint64_t token_count_;
  size_t page_tokens_;
  Arena arena_;
  std::vector<std::unique_ptr<KvReader>> readers_;
};

// Keys or values as floats, [token_count, head_dim].
std::vector<float> FloatRows(const KvReader& reader, KvKind kind);

// A layer of the synthetic workload; 0 and 1 are diffuse. Steps lie far apart, so that
// they differ; each sees everything.
std::unique_ptr<BenchmarkLayer> MakeWorkloadLayer(const Model& model, uint64_t token_count,
                                                  uint32_t layer, uint64_t seed);

// Attention captured from a trained model: an .npz with float16 arrays key and value
// [n, Hkv, d], query [m, Hq, d] and query_position [m], sample_query [k, Hq, d].
// Queries are scaled already. The process ends with a message if the file is not such.
std::unique_ptr<BenchmarkLayer> LoadCapturedLayer(const std::string& path);

}  // namespace alaya

#endif  // ALAYA_TESTS_BENCHMARKS_BENCHMARK_LAYER_H_
