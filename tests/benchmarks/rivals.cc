#include "tests/benchmarks/rivals.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <variant>

#include "index/kernels/key_scores.h"
#include "storage/types/check.h"
#include "tests/benchmarks/benchmark_layer.h"

#if ALAYA_HAS_HNSWLIB
#include "hnswlib/hnswlib.h"
#endif
#if ALAYA_HAS_FAISS
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <omp.h>
#endif

namespace alaya {

StatusOr<SearchResult> RivalIndex::Search(const SearchRequest& request) const {
  const auto* target = std::get_if<TopKTarget>(&request.target);
  ALAYA_CHECK(target != nullptr);
  SearchResult result;
  for (size_t i = 0; i < request.queries.rows(); ++i) {
    QueryCandidates& found = result.queries.emplace_back();
    std::vector<uint32_t> tokens = FindBest(request.queries.row(i).data(), target->k);
    std::ranges::sort(tokens);
    for (const uint32_t token : tokens) {
      if (!request.visible[i].contains(token)) continue;
      ALAYA_ASSIGN_OR_RETURN(const PinnedRows rows,
                             reader_->ReadBlock(KvKind::kKey, token / reader_->block_tokens()));
      float score = 0;
      KeyScores(request.queries.rows_range(i, 1),
                rows.rows.rows_range(token % reader_->block_tokens(), 1), {&score, 1, 1});
      found.tokens.push_back({token, score});
      found.best_score = std::max(found.best_score, score);
      ++result.tokens_scored;
    }
  }
  return result;
}

namespace {

#if ALAYA_HAS_HNSWLIB
class HnswlibIndex : public RivalIndex {
 public:
  explicit HnswlibIndex(const KvReader& reader)
      : RivalIndex(&reader),
        space_(reader.head_dim()),
        graph_(&space_, reader.token_count(), /*M=*/16, /*ef_construction=*/200) {
    const std::vector<float> keys = FloatRows(reader, KvKind::kKey);
    for (size_t i = 0; i < reader.token_count(); ++i) {
      graph_.addPoint(&keys[i * reader.head_dim()], i);
    }
  }

  uint64_t bytes() const override { return graph_.max_elements_ * graph_.size_data_per_element_; }
  // The width of the search is at least k; it is a property of the whole graph there.
  void Tune(size_t k) override { graph_.setEf(std::max<size_t>(k, 64)); }

 protected:
  std::vector<uint32_t> FindBest(const float* query, size_t k) const override {
    auto found = graph_.searchKnn(query, k);
    std::vector<uint32_t> tokens;
    for (; !found.empty(); found.pop()) {
      tokens.push_back(static_cast<uint32_t>(found.top().second));
    }
    return tokens;
  }

 private:
  hnswlib::InnerProductSpace space_;
  hnswlib::HierarchicalNSW<float> graph_;
};
#endif

#if ALAYA_HAS_FAISS
// What the three faiss indexes have in common.
class FaissIndex : public RivalIndex {
 public:
  FaissIndex(const KvReader& reader, std::unique_ptr<faiss::Index> index, uint64_t bytes_per_token)
      : RivalIndex(&reader),
        index_(std::move(index)),
        bytes_(bytes_per_token * reader.token_count()) {
    omp_set_num_threads(1);  // the caller's threads are all that there are
    const std::vector<float> keys = FloatRows(reader, KvKind::kKey);
    const auto count = static_cast<faiss::Index::idx_t>(reader.token_count());
    index_->train(count, keys.data());
    index_->add(count, keys.data());
  }

  uint64_t bytes() const override { return bytes_; }
  void Tune(size_t k) override {
    if (auto* graph = dynamic_cast<faiss::IndexHNSW*>(index_.get())) {
      graph->hnsw.efSearch = static_cast<int>(std::max<size_t>(k, 64));
    }
  }

 protected:
  std::vector<uint32_t> FindBest(const float* query, size_t k) const override {
    omp_set_num_threads(1);
    const size_t count = std::min<size_t>(k, static_cast<size_t>(index_->ntotal));
    std::vector<float> scores(count);
    std::vector<faiss::Index::idx_t> labels(count);
    index_->search(1, query, static_cast<faiss::Index::idx_t>(count), scores.data(), labels.data());
    std::vector<uint32_t> tokens;
    for (const faiss::Index::idx_t label : labels) {
      if (label >= 0) tokens.push_back(static_cast<uint32_t>(label));
    }
    return tokens;
  }

 private:
  std::unique_ptr<faiss::Index> index_;
  uint64_t bytes_;
};

std::unique_ptr<faiss::Index> MakeFaissHnsw(size_t dim) {
  auto index = std::make_unique<faiss::IndexHNSWFlat>(static_cast<int>(dim), 16,
                                                      faiss::METRIC_INNER_PRODUCT);
  index->hnsw.efConstruction = 200;
  return index;
}

std::unique_ptr<faiss::Index> MakeFaissIvfPq(size_t dim, size_t token_count) {
  const auto list_count = static_cast<size_t>(4 * std::sqrt(static_cast<double>(token_count)));
  auto quantizer = std::make_unique<faiss::IndexFlatIP>(static_cast<faiss::Index::idx_t>(dim));
  auto index = std::make_unique<faiss::IndexIVFPQFastScan>(quantizer.release(), dim, list_count,
                                                           dim / 2, 4, faiss::METRIC_INNER_PRODUCT);
  index->own_fields = true;
  // All lists: queries are far from all keys, so their best ones lie in many lists. With a
  // quarter of them the error stayed above 5 % however many tokens were taken.
  index->nprobe = list_count;
  return index;
}
#endif

}  // namespace

std::vector<Rival> Rivals() {
  std::vector<Rival> rivals;
#if ALAYA_HAS_HNSWLIB
  rivals.push_back({"hnswlib", [](const KvReader& reader) -> std::unique_ptr<RivalIndex> {
                      return std::make_unique<HnswlibIndex>(reader);
                    }});
#endif
#if ALAYA_HAS_FAISS
  rivals.push_back({"faiss flat", [](const KvReader& reader) -> std::unique_ptr<RivalIndex> {
                      const size_t dim = reader.head_dim();
                      return std::make_unique<FaissIndex>(
                          reader, std::make_unique<faiss::IndexFlatIP>(dim), 4 * dim);
                    }});
  rivals.push_back({"faiss HNSW", [](const KvReader& reader) -> std::unique_ptr<RivalIndex> {
                      const size_t dim = reader.head_dim();
                      return std::make_unique<FaissIndex>(reader, MakeFaissHnsw(dim),
                                                          4 * dim + 4 * 34);
                    }});
  rivals.push_back({"faiss IVF-PQ", [](const KvReader& reader) -> std::unique_ptr<RivalIndex> {
                      const size_t dim = reader.head_dim();
                      return std::make_unique<FaissIndex>(
                          reader, MakeFaissIvfPq(dim, reader.token_count()), dim / 4 + 8);
                    }});
#endif
  return rivals;
}

}  // namespace alaya
