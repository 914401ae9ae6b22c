// Our index kinds as benchmarks build them: in memory, for one kv head of a layer.

#ifndef ALAYA_TESTS_BENCHMARKS_OUR_INDEXES_H_
#define ALAYA_TESTS_BENCHMARKS_OUR_INDEXES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "index/token_index.h"
#include "tests/benchmarks/benchmark_layer.h"

namespace alaya {

// An index with the blocks that it reads.
class BenchmarkIndex : public TokenIndex {
 public:
  virtual uint64_t bytes() const = 0;
};

struct OurIndexKind {
  std::string name;
  bool estimates = false;  // offers sound answers and an estimate of the rest
  std::function<std::shared_ptr<BenchmarkIndex>(const BenchmarkLayer& layer, size_t head)> build;
};

std::vector<OurIndexKind> OurIndexKinds();
// Flat of an import that has no sampled queries.
OurIndexKind FlatWithoutQueries();

// Makes the layer's sampled queries, which builds use, so that no build takes the time for it.
void SampleQueries(const BenchmarkLayer& layer);

}  // namespace alaya

#endif  // ALAYA_TESTS_BENCHMARKS_OUR_INDEXES_H_
