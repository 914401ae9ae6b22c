#include "index/graph/fine_index.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "index/attention/attention_merge.h"
#include "index/dipr/dipr_selection.h"
#include "index/exact_index.h"
#include "index/graph/anchor_scores.h"
#include "index/graph/build_progress.h"
#include "index/graph/forecast.h"
#include "index/graph/gathered_scores.h"
#include "index/graph/graph_walk.h"
#include "index/graph/pinned_blocks.h"
#include "index/prefetch.h"
#include "index/scratch_buffer.h"
#include "index/topk/top_k_selection.h"

namespace alaya {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Sums exp(scale * score) of scores that come one after the other.
class MassSum {
 public:
  explicit MassSum(double scale) : scale_(scale) {}

  void Add(float score) {
    const double logit = scale_ * double{score};
    if (logit > max_) {
      sum_ = sum_ * std::exp(max_ - logit) + 1;
      max_ = logit;
    } else {
      sum_ += std::exp(logit - max_);
    }
  }
  double log_sum_exp() const {
    return sum_ > 0 ? max_ + std::log(sum_) : -std::numeric_limits<double>::infinity();
  }

 private:
  double scale_;
  double max_ = -std::numeric_limits<double>::infinity();
  double sum_ = 0;
};

// The stored graph, and the scores of one query after the other on the stored keys.
class StoredAccess : public GraphAccess {
 public:
  StoredAccess(const GraphHeader& header, const IndexBlockReader& blocks, const KvReader& reader,
               size_t pin_count_max)
      : header_(header),
        blocks_(blocks),
        reader_(reader),
        graph_(blocks.block_count(), pin_count_max),
        keys_(reader.block_count(), pin_count_max) {}

  // `mass` may be null; both must outlive the query's walk.
  void BeginQuery(std::span<const float> query, MassSum* mass) {
    query_ = query;
    mass_ = mass;
  }

  StatusOr<std::span<const uint32_t>> Neighbors(uint32_t token) override {
    const size_t block = header_.block_of(token);
    const PinnedBytes* pinned = graph_.Find(block);
    if (pinned == nullptr) {
      ALAYA_ASSIGN_OR_RETURN(
          pinned, graph_.Pin(block, [&](size_t index) { return blocks_.ReadBlock(index); }));
    }
    ALAYA_RETURN_IF_ERROR(ReadNeighbors(header_, token, pinned->bytes, &neighbors_));
    return std::span<const uint32_t>(neighbors_);
  }

  Status Score(std::span<const uint32_t> tokens, std::span<float> scores) override {
    const std::span<const std::byte*> rows = rows_.Take(tokens.size());
    const size_t block_tokens = reader_.block_tokens();
    size_t scored = 0;
    const auto score_up_to = [&](size_t end) {
      GatheredScores(query_, dtype_, rows.subspan(scored, end - scored),
                     scores.subspan(scored, end - scored));
      scored = end;
    };
    for (size_t i = 0; i < tokens.size(); ++i) {
      const size_t block = tokens[i] / block_tokens;
      const PinnedRows* pinned = keys_.Find(block);
      if (pinned == nullptr) {
        // The rows so far may lie in a block that goes.
        score_up_to(i);
        ALAYA_ASSIGN_OR_RETURN(pinned, keys_.Pin(block, [&](size_t index) {
          return reader_.ReadBlock(KvKind::kKey, index);
        }));
      }
      dtype_ = pinned->rows.dtype;
      rows[i] = pinned->rows.row(tokens[i] % block_tokens);
      Prefetch(rows[i], pinned->rows.row_bytes());
    }
    score_up_to(tokens.size());
    if (mass_ != nullptr) {
      for (const float score : scores) mass_->Add(score);
    }
    return OkStatus();
  }

 private:
  const GraphHeader& header_;
  const IndexBlockReader& blocks_;
  const KvReader& reader_;
  std::span<const float> query_;
  MassSum* mass_ = nullptr;
  DType dtype_ = DType::kF32;
  PinnedBlocks<PinnedBytes> graph_;
  PinnedBlocks<PinnedRows> keys_;
  std::vector<uint32_t> neighbors_;
  ScratchBuffer<const std::byte*> rows_;
};

// Forecasts that are scored between two looks at whether the others can matter.
constexpr size_t kForecastBatch = 512;
// Forecasts are off by so many deviations at most, about.
constexpr double kForecastDeviations = 4;

// How far exact scores lie from their forecasts, from those that are known.
class ForecastError {
 public:
  void Add(double error) {
    ++count_;
    sum_ += error;
    square_sum_ += error * error;
  }
  // The score that a forecast may turn out to be.
  double Highest(double forecast) const {
    const double mean = sum_ / count_;
    const double variance = std::max(0.0, square_sum_ / count_ - mean * mean);
    return forecast + mean + kForecastDeviations * std::sqrt(variance);
  }

 private:
  double count_ = 0;
  double sum_ = 0;
  double square_sum_ = 0;
};

// Replaces forecasts by exact scores, the best ones first, and drops the others once none
// of them can be within beta of the best score. A negative beta: all are scored.
Status ScoreForecasts(double beta, float best_score, StoredAccess& access,
                      std::vector<ScoredToken>* forecasts) {
  thread_local std::vector<uint32_t> tokens;
  thread_local std::vector<float> scores;
  ForecastError error;
  for (size_t done = 0; done < forecasts->size(); done += tokens.size()) {
    const size_t count = std::min(kForecastBatch, forecasts->size() - done);
    const std::span<ScoredToken> rest = std::span(*forecasts).subspan(done);
    const std::span<ScoredToken> batch = rest.first(count);
    if (count < rest.size()) {
      std::ranges::nth_element(
          rest, rest.begin() + static_cast<ptrdiff_t>(count),
          [](const ScoredToken& a, const ScoredToken& b) { return RanksBefore(a, b); });
    }
    if (done > 0 && beta >= 0) {
      const float highest = std::ranges::max_element(batch, {}, &ScoredToken::score)->score;
      if (error.Highest(double{highest}) < double{best_score} - beta) {
        forecasts->resize(done);
        return OkStatus();
      }
    }
    tokens.resize(count);
    scores.resize(count);
    std::ranges::transform(batch, tokens.begin(), &ScoredToken::token);
    ALAYA_RETURN_IF_ERROR(access.Score(tokens, scores));
    for (size_t i = 0; i < count; ++i) {
      error.Add(double{scores[i]} - double{batch[i].score});
      batch[i].score = scores[i];
      best_score = std::max(best_score, scores[i]);
    }
  }
  return OkStatus();
}

// Leaves the target's tokens, by rising token.
void KeepTarget(const Target& target, float scale, float best, std::vector<ScoredToken>* tokens) {
  if (const auto* dipr = std::get_if<DiprTarget>(&target)) {
    const float bar = DiprBar(best, dipr->beta(double{scale}));
    std::erase_if(*tokens, [&](const ScoredToken& token) { return token.score < bar; });
  } else if (const auto* top_k = std::get_if<TopKTarget>(&target)) {
    DropAllButTopK(top_k->k, tokens);
  }
  std::ranges::sort(*tokens, {}, &ScoredToken::token);
}

// Adds what one query finds in the graph to what it has found already. `walk_options` says
// what does not depend on the query.
Status SearchGraph(const SearchRequest& request, size_t query_index, GraphWalkOptions walk_options,
                   StoredAccess& access, std::vector<ScoredToken>* forecasts,
                   SearchResult* result) {
  QueryCandidates& found = result->queries[query_index];
  const float best_known =
      request.best_scores.empty() ? -kInfinity : request.best_scores[query_index];
  walk_options.best_score = std::max(best_known, found.best_score);
  if (const auto* dipr = std::get_if<DiprTarget>(&request.target)) {
    walk_options.beta = dipr->beta(double{request.scale});
  } else if (const auto* top_k = std::get_if<TopKTarget>(&request.target)) {
    walk_options.beam_width = std::max(walk_options.beam_width, top_k->k);
  }
  MassSum mass(double{request.scale});
  access.BeginQuery(request.queries.row(query_index), request.want_mass ? &mass : nullptr);
  ALAYA_RETURN_IF_ERROR(
      ScoreForecasts(walk_options.beta, walk_options.best_score, access, forecasts));
  walk_options.scored = *forecasts;
  ALAYA_ASSIGN_OR_RETURN(const GraphWalk walk, WalkGraph(walk_options, access));
  result->tokens_scored += forecasts->size() + walk.tokens_scored;
  found.best_score = std::max(found.best_score, walk.best_score);
  found.tokens.insert(found.tokens.end(), walk.found.begin(), walk.found.end());
  KeepTarget(request.target, request.scale, std::max(best_known, found.best_score), &found.tokens);
  if (request.want_mass) {
    found.log_sum_exp = MergeLogSumExp(found.log_sum_exp, mass.log_sum_exp());
  }
  return OkStatus();
}

}  // namespace

Status BuildFineIndex(const KvReader& reader, MatrixView<const float> queries,
                      const GraphBuildOptions& options, const IndexBlockSink& sink) {
  ALAYA_ASSIGN_OR_RETURN(const KeyGraph graph, BuildKeyGraph(reader, queries, options));
  ALAYA_RETURN_IF_ERROR(WriteGraphBlocks(graph, reader.head_dim(), sink));
  return WriteAnchorBlocks(graph.anchors, sink);
}

StatusOr<std::unique_ptr<FineIndex>> FineIndex::Open(const IndexBlockReader* blocks,
                                                     const KvReader* reader,
                                                     const FineSearchOptions& options) {
  ALAYA_ASSIGN_OR_RETURN(GraphHeader header, ReadGraphHeader(*blocks));
  if (header.token_count != reader->token_count() || header.head_dim != reader->head_dim()) {
    return DataLoss("graph blocks of " + std::to_string(header.token_count) + " tokens of " +
                    std::to_string(header.head_dim) + " elements: the keys are " +
                    std::to_string(reader->token_count()) + " of " +
                    std::to_string(reader->head_dim()));
  }
  ALAYA_ASSIGN_OR_RETURN(AnchorHeader anchors, ReadAnchorHeader(*blocks, header.block_count()));
  if (anchors.token_count != header.token_count || anchors.head_dim != header.head_dim) {
    return DataLoss("anchors of " + std::to_string(anchors.token_count) + " tokens of " +
                    std::to_string(anchors.head_dim) + " elements: the graph has " +
                    std::to_string(header.token_count) + " of " + std::to_string(header.head_dim));
  }
  ALAYA_ASSIGN_OR_RETURN(std::vector<float> weights, ReadAnchorWeights(anchors, *blocks));
  return std::unique_ptr<FineIndex>(new FineIndex(blocks, reader, options, std::move(header),
                                                  std::move(anchors), std::move(weights)));
}

bool FineIndex::Answers(const Target& target) {
  return std::holds_alternative<DiprTarget>(target) || std::holds_alternative<TopKTarget>(target);
}

size_t FineIndex::ForecastCount(const Target& target, TokenRange visible) const {
  if (visible.empty()) return 0;
  const double share = options_.forecast_share * static_cast<double>(visible.size());
  const size_t count = std::max(static_cast<size_t>(share), options_.forecast_tokens_min);
  const auto* top_k = std::get_if<TopKTarget>(&target);
  return top_k == nullptr ? count : std::max(count, 2 * std::min<size_t>(top_k->k, visible.size()));
}

StatusOr<SearchResult> FineIndex::Search(const SearchRequest& request) const {
  if (!Answers(request.target)) {
    return InvalidArgument("a fine index answers DIPR and top-k targets only");
  }
  const size_t count = request.queries.rows();
  assert(request.visible.size() == count);
  // What is scanned: tokens before the graph, and all that is seen if that is little.
  const TokenRange before = {0, header_.first_token};
  const TokenRange indexed = {header_.first_token, header_.token_count};
  std::vector<TokenRange> scanned(count);
  std::vector<TokenRange> walked(count);
  std::vector<size_t> forecast_counts(count);
  for (size_t i = 0; i < count; ++i) {
    walked[i] = Intersect(request.visible[i], indexed);
    scanned[i] = Intersect(request.visible[i], before);
    if (walked[i].size() < options_.scan_tokens) {
      scanned[i] = Intersect(request.visible[i], {0, header_.token_count});
      walked[i] = {};
    }
    forecast_counts[i] = ForecastCount(request.target, walked[i]);
  }
  SearchRequest scan = request;
  scan.visible = scanned;
  ALAYA_ASSIGN_OR_RETURN(SearchResult result, ExactIndex(reader_).Search(scan));
  ALAYA_ASSIGN_OR_RETURN(
      std::vector<std::vector<ScoredToken>> forecasts,
      ForecastBest(anchors_, anchor_weights_, *blocks_, request.queries, walked, forecast_counts));
  StoredAccess access(header_, *blocks_, *reader_, options_.pin_count_max);
  for (size_t i = 0; i < count; ++i) {
    if (walked[i].empty()) continue;
    GraphWalkOptions walk_options;
    walk_options.node_count = header_.token_count;
    walk_options.visible = walked[i];
    walk_options.entries = header_.entries;
    walk_options.beam_width = std::max<size_t>(options_.beam_width, 1);
    ALAYA_RETURN_IF_ERROR(SearchGraph(request, i, walk_options, access, &forecasts[i], &result));
  }
  return result;
}

}  // namespace alaya
