// Indexes of other libraries behind our interface: each returns its k best tokens,
// which are then scored exactly and attended like ours.

#ifndef ALAYA_TESTS_BENCHMARKS_RIVALS_H_
#define ALAYA_TESTS_BENCHMARKS_RIVALS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "index/kv_reader.h"
#include "index/token_index.h"

namespace alaya {

// Answers TopKTarget only. Built by one thread; any number of threads search.
class RivalIndex : public TokenIndex {
 public:
  explicit RivalIndex(const KvReader* reader) : reader_(reader) {}

  IndexKind kind() const override { return IndexKind::kFine; }
  StatusOr<SearchResult> Search(const SearchRequest& request) const override;
  virtual uint64_t bytes() const = 0;
  // Sets how hard the searches to come look for that many tokens. Not while one runs.
  virtual void Tune(size_t /*k*/) {}

 protected:
  // The tokens of the k highest inner products, as far as the index finds them.
  virtual std::vector<uint32_t> FindBest(const float* query, size_t k) const = 0;

 private:
  const KvReader* reader_;
};

struct Rival {
  std::string name;
  std::function<std::unique_ptr<RivalIndex>(const KvReader& reader)> build;
};

// hnswlib (M 16, ef_construction 200) and faiss (flat, HNSW, IVF-PQ fast scan), as far
// as the build has them.
std::vector<Rival> Rivals();

}  // namespace alaya

#endif  // ALAYA_TESTS_BENCHMARKS_RIVALS_H_
