// One layer of the synthetic workload in memory, as a server's page cache holds it:
// pages of 64 KiB per kv head and kind; with its decode steps and their exact answers.

#ifndef ALAYA_TESTS_BENCHMARKS_WORKLOAD_LAYER_H_
#define ALAYA_TESTS_BENCHMARKS_WORKLOAD_LAYER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "index/kv_reader.h"
#include "index/target.h"
#include "storage/types/model.h"
#include "tests/benchmarks/arena.h"
#include "tests/support/attention_workload.h"

namespace alaya {

class WorkloadLayer {
 public:
  struct Options {
    Model model;  // of one layer is enough
    uint64_t token_count = 0;
    // Number of the layer within the workload: 0 and 1 are diffuse.
    uint32_t layer = 2;
    uint64_t seed = 1;
  };
  explicit WorkloadLayer(const Options& options);

  const Model& model() const { return workload_.model(); }
  uint64_t token_count() const { return options_.token_count; }
  // Of keys and values.
  uint64_t kv_bytes() const { return token_count() * model().token_bytes() / model().num_layers; }
  const KvReader& reader(size_t head) const { return *readers_[head]; }

  // The float queries of one decode step, [num_query_heads, head_dim], rounded to the
  // model's dtype. Steps lie far apart, so that they differ.
  std::vector<float> Queries(size_t step) const;
  // Queries of earlier positions, [count * group_size, head_dim]: what an import samples.
  std::vector<float> SampledQueries(size_t head, size_t count) const;

  // Reads every byte of one head, and does nothing else with it.
  void Read(size_t head) const;

 private:
  class HeadReader;

  // Page `block` of one head and kind, in the order in which an import writes pages.
  std::byte* PageData(size_t head, KvKind kind, size_t block) const;
  EncodedMatrixView Page(size_t head, KvKind kind, size_t block) const;

  Options options_;
  AttentionWorkload workload_;
  size_t page_tokens_;
  Arena arena_;
  std::vector<std::unique_ptr<KvReader>> readers_;
};

// Keys or values as floats, [token_count, head_dim].
std::vector<float> FloatRows(const KvReader& reader, KvKind kind);

}  // namespace alaya

#endif  // ALAYA_TESTS_BENCHMARKS_WORKLOAD_LAYER_H_
