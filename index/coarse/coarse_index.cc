#include "index/coarse/coarse_index.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <variant>
#include <vector>

#include "index/attention/attention_merge.h"
#include "index/dipr/dipr_selection.h"
#include "index/kernels/key_scores.h"
#include "index/kernels/softmax.h"
#include "index/scratch_buffer.h"
#include "index/topk/top_k_selection.h"

namespace alaya {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Scratch {
  ScratchBuffer<float> bounds;
  ScratchBuffer<float> scores;
  ScratchBuffer<float> weights;
};

// One query's search.
class StretchSearch {
 public:
  StretchSearch(const SearchRequest& request, size_t query_index, const StretchHeader& header,
                const KvReader& reader, Scratch& scratch)
      : request_(request),
        query_(request.queries.rows_range(query_index, 1)),
        visible_(Intersect(request.visible[query_index], {0, header.token_count})),
        best_known_(request.best_scores.empty() ? -kInfinity : request.best_scores[query_index]),
        header_(header),
        reader_(reader),
        scratch_(scratch) {
    UpdateBar();
  }

  // bounds_of(query, first stretch, bounds) sets bounds.
  template <class BoundsOf>
  Status Run(const BoundsOf& bounds_of, const CoarseSearchOptions& options) {
    if (visible_.empty()) return OkStatus();
    const uint64_t first = visible_.begin / header_.stretch_tokens;
    const uint64_t end = (visible_.end - 1) / header_.stretch_tokens + 1;
    const std::span<float> bounds = scratch_.bounds.Take(end - first);
    ALAYA_RETURN_IF_ERROR(bounds_of(query_.row(0), first, bounds));
    std::vector<uint32_t> order(bounds.size());
    std::iota(order.begin(), order.end(), 0U);
    std::ranges::stable_sort(order, std::greater(), [&](uint32_t i) { return bounds[i]; });
    const uint64_t allowed = TokensAllowed(options);
    for (const uint32_t i : order) {
      // The others promise no more than this one.
      if (tokens_scored_ >= allowed || bounds[i] < bar_) break;
      ALAYA_RETURN_IF_ERROR(ScoreStretch(first + i));
    }
    return OkStatus();
  }

  QueryCandidates Finish() {
    Prune();
    std::ranges::sort(found_.tokens, {}, &ScoredToken::token);
    found_.log_sum_exp = log_sum_exp_;
    return std::move(found_);
  }
  uint64_t tokens_scored() const { return tokens_scored_; }

 private:
  uint64_t TokensAllowed(const CoarseSearchOptions& options) const {
    const auto* top_k = std::get_if<TopKTarget>(&request_.target);
    if (top_k == nullptr && request_.sound) return visible_.size();
    const double share = std::ceil(options.share_scored_max * static_cast<double>(visible_.size()));
    const uint64_t needed =
        top_k == nullptr ? 0 : uint64_t{4} * std::min<uint64_t>(top_k->k, visible_.size());
    return std::max({static_cast<uint64_t>(share), uint64_t{options.tokens_scored_min}, needed});
  }

  Status ScoreStretch(uint64_t stretch) {
    const TokenRange tokens = Intersect(
        visible_,
        {stretch * header_.stretch_tokens, (stretch + 1) * uint64_t{header_.stretch_tokens}});
    const uint64_t block_tokens = reader_.block_tokens();
    for (uint64_t begin = tokens.begin; begin < tokens.end;) {
      const uint64_t block = begin / block_tokens;
      const uint64_t end = std::min(tokens.end, (block + 1) * block_tokens);
      const std::span<float> scores = scratch_.scores.Take(end - begin);
      {
        ALAYA_ASSIGN_OR_RETURN(const PinnedRows keys, reader_.ReadBlock(KvKind::kKey, block));
        KeyScores(query_, keys.rows.rows_range(begin - block * block_tokens, end - begin),
                  {scores.data(), 1, scores.size()});
      }
      Take(scores, begin);
      begin = end;
    }
    return OkStatus();
  }

  void Take(std::span<const float> scores, uint64_t first_token) {
    tokens_scored_ += scores.size();
    const float max = MaxScore(scores);
    if (request_.want_mass) {
      const double sum =
          SoftmaxWeights(scores, request_.scale, max, scratch_.weights.Take(scores.size()));
      log_sum_exp_ =
          MergeLogSumExp(log_sum_exp_, double{request_.scale} * double{max} + std::log(sum));
    }
    if (max > found_.best_score) {
      found_.best_score = max;
      UpdateBar();
    }
    for (size_t i = 0; i < scores.size(); ++i) {
      if (scores[i] < bar_) continue;
      found_.tokens.push_back({static_cast<uint32_t>(first_token + i), scores[i]});
    }
    if (const auto* top_k = std::get_if<TopKTarget>(&request_.target);
        top_k != nullptr && found_.tokens.size() / 2 >= top_k->k) {
      Prune();
    }
  }

  void UpdateBar() {
    if (const auto* dipr = std::get_if<DiprTarget>(&request_.target)) {
      bar_ = DiprBar(std::max(best_known_, found_.best_score), dipr->beta(double{request_.scale}));
    }
  }

  // Leaves what the target takes of the tokens found.
  void Prune() {
    std::vector<ScoredToken>& tokens = found_.tokens;
    if (const auto* top_k = std::get_if<TopKTarget>(&request_.target)) {
      // Not higher: a token that comes later may stand before this one in the text.
      if (DropAllButTopK(top_k->k, &tokens)) bar_ = tokens.back().score;
    } else {
      std::erase_if(tokens, [&](const ScoredToken& token) { return token.score < bar_; });
    }
  }

  const SearchRequest& request_;
  const MatrixView<const float> query_;  // [1, head_dim]
  const TokenRange visible_;
  const float best_known_;
  const StretchHeader& header_;
  const KvReader& reader_;
  Scratch& scratch_;
  float bar_ = -kInfinity;
  uint64_t tokens_scored_ = 0;
  double log_sum_exp_ = -std::numeric_limits<double>::infinity();
  QueryCandidates found_;
};

}  // namespace

StatusOr<std::unique_ptr<CoarseIndex>> CoarseIndex::Open(const IndexBlockReader* blocks,
                                                         const KvReader* reader,
                                                         const CoarseSearchOptions& options) {
  ALAYA_ASSIGN_OR_RETURN(StretchHeader header, ReadStretchHeader(*blocks));
  if (header.token_count != reader->token_count() || header.head_dim != reader->head_dim()) {
    return DataLoss("coarse blocks of " + std::to_string(header.token_count) + " tokens of " +
                    std::to_string(header.head_dim) + " elements: the keys are " +
                    std::to_string(reader->token_count()) + " of " +
                    std::to_string(reader->head_dim()));
  }
  return std::unique_ptr<CoarseIndex>(new CoarseIndex(blocks, reader, options, std::move(header)));
}

std::unique_ptr<CoarseIndex> CoarseIndex::WithBounds(StretchHeader header, const KvReader* reader,
                                                     MatrixView<const float> queries,
                                                     MatrixView<const float> bounds,
                                                     const CoarseSearchOptions& options) {
  std::unique_ptr<CoarseIndex> index(new CoarseIndex(nullptr, reader, options, std::move(header)));
  index->queries_ = queries;
  index->bounds_ = bounds;
  return index;
}

Status CoarseIndex::UpperBounds(std::span<const float> query, size_t first_stretch,
                                std::span<float> bounds) const {
  if (blocks_ != nullptr) {
    return StretchQuery(&header_, query).UpperBounds(*blocks_, first_stretch, bounds);
  }
  const auto place = static_cast<size_t>(query.data() - queries_.data()) / queries_.stride();
  std::ranges::copy(bounds_.row(place).subspan(first_stretch, bounds.size()), bounds.begin());
  return OkStatus();
}

bool CoarseIndex::Answers(const Target& target) {
  return std::holds_alternative<DiprTarget>(target) || std::holds_alternative<TopKTarget>(target);
}

StatusOr<SearchResult> CoarseIndex::Search(const SearchRequest& request) const {
  if (!Answers(request.target)) {
    return InvalidArgument("a coarse index answers DIPR and top-k targets only");
  }
  assert(request.visible.size() == request.queries.rows());
  thread_local Scratch scratch;
  SearchResult result;
  for (size_t i = 0; i < request.queries.rows(); ++i) {
    StretchSearch search(request, i, header_, *reader_, scratch);
    ALAYA_RETURN_IF_ERROR(
        search.Run([this](std::span<const float> query, size_t first,
                          std::span<float> bounds) { return UpperBounds(query, first, bounds); },
                   options_));
    result.tokens_scored += search.tokens_scored();
    result.queries.push_back(search.Finish());
  }
  return result;
}

}  // namespace alaya
