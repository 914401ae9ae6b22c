#include "index/flat/flat_search.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <variant>
#include <vector>

#include "index/attention/attention_merge.h"
#include "index/dipr/dipr_selection.h"
#include "index/exact_index.h"
#include "index/flat/bounds.h"
#include "index/flat/coded_queries.h"
#include "index/flat/marked_keys.h"
#include "index/flat/open_blocks.h"
#include "index/flat/query_state.h"
#include "index/flat/rest_attention.h"
#include "index/kernels/bf16.h"
#include "index/kernels/code_scores.h"
#include "index/kernels/key_scores.h"
#include "index/kernels/softmax.h"
#include "index/scratch_buffer.h"
#include "index/topk/top_k_selection.h"

namespace alaya {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// A coarse scan is worth its exact scores while it keeps at most one token in this many,
// counted for all queries; else the next blocks are scanned finely.
constexpr size_t kCoarseShare = 12;
constexpr size_t kFineBlocks = 16;

// Where the rest is estimated, a coarse scan comes first from so many tokens on (fewer are soon
// scored finely). Whether it leaves much is seen after one in so many blocks, and at the end.
constexpr size_t kCoarseRestTokens = size_t{32} * 1024;
constexpr size_t kSampleShare = 16;
constexpr size_t kSampleBlocksMin = 4;

// For a share of the mass, tokens whose codes have more than so many times the usual error are
// scored exactly.
constexpr double kUsualErrors = 2;

struct Scratch {
  ScratchBuffer<float> scores;       // of one block
  ScratchBuffer<float> kept_scores;  // of all tokens
  ScratchBuffer<float> kept_upper;
  ScratchBuffer<uint32_t> kept_tokens;
  ScratchBuffer<float> key_scores;
  TokenMarks marks;
};

class FlatSearch {
 public:
  FlatSearch(const FlatSource& source, const KvReader& keys, const SearchRequest& request,
             Scratch& scratch)
      : source_(source),
        header_(source.header()),
        keys_(keys),
        request_(request),
        scratch_(scratch),
        dipr_(std::get_if<DiprTarget>(&request.target)),
        top_k_(std::get_if<TopKTarget>(&request.target)),
        is_mass_(std::holds_alternative<MassTarget>(request.target)),
        estimates_rest_(request.estimate_rest && dipr_ != nullptr),
        takes_heavy_(estimates_rest_ || is_mass_),
        weighs_rest_(request.want_mass || takes_heavy_),
        count_(request.queries.rows()) {}

  // False if a number is so large that bounds would overflow.
  StatusOr<bool> Prepare() {
    ALAYA_ASSIGN_OR_RETURN(std::optional<CodedQueries> coded,
                           CodeQueriesOf(source_, request_.queries));
    if (!coded) return false;
    queries_ = std::move(coded->codes);
    const bool is_sound = dipr_ == nullptr || request_.sound;
    scores_at_once_ = dipr_ != nullptr && !takes_heavy_ && keys_.IsInMemory();
    // Keys that are not in memory are scanned finely, which leaves a tenth of them to read.
    may_scan_coarsely_ = scores_at_once_ && !is_sound && !weighs_rest_;
    states_.resize(count_);
    for (size_t q = 0; q < count_; ++q) {
      QueryState& state = states_[q];
      state.visible = Intersect(request_.visible[q], {0, keys_.token_count()});
      const Bounds bounds(&queries_[q], header_.head_dim, coded->frames[q]);
      state.fine_bound = is_sound ? bounds.Sound() : bounds.Statistical(kStatisticalDeviations);
      state.coarse_bound = bounds.Coarse(kStatisticalDeviations);
      if (!request_.best_scores.empty()) state.best_known = request_.best_scores[q];
      UpdateBar(state);
    }
    weighs_coarsely_ =
        estimates_rest_ && !is_sound && std::ranges::any_of(states_, [&](const QueryState& state) {
          return Covered(state).size() >= kCoarseRestTokens;
        });
    return true;
  }

  StatusOr<SearchResult> Run() {
    if (is_mass_) {
      kept_scores_ = {scratch_.kept_scores.Take(count_ * ScoreStride()).data(), count_,
                      ScoreStride()};
    }
    if (weighs_rest_) StartRest();
    // Of DIPR, what filters find is marked at once.
    if (dipr_ != nullptr) scratch_.marks.Reset(keys_.token_count());
    if (scores_at_once_) StartScoring();
    if (weighs_coarsely_) ALAYA_RETURN_IF_ERROR(WeighCoarsely());
    if (opens_groups_) ALAYA_RETURN_IF_ERROR(ScanOpen());
    for (size_t b = 0; b < header_.block_count() && !opens_groups_; ++b) {
      ALAYA_RETURN_IF_ERROR(ScanCodes(b));
      if (scorer_) ALAYA_RETURN_IF_ERROR(scorer_->ScoreBefore(BlockRange(b).end));
    }
    if (is_mass_) ALAYA_RETURN_IF_ERROR(CorrectScores());
    ALAYA_RETURN_IF_ERROR(ScanUncovered());
    ALAYA_RETURN_IF_ERROR(RaiseBars());
    if (rest_) ChooseHeavy();
    ALAYA_RETURN_IF_ERROR(ScoreCandidates());
    if (rest_) FinishRest();
    if (estimates_rest_) ALAYA_RETURN_IF_ERROR(rest_->Attend(&result_));
    return std::move(result_);
  }

 private:
  // Scores of whole groups are written.
  size_t ScoreStride() const { return CodeGroupCount(header_.token_count) * kCodeGroupTokens; }

  bool IsSeen(TokenRange tokens) const {
    return std::ranges::any_of(states_, [&](const QueryState& state) {
      return !Intersect(state.visible, tokens).empty();
    });
  }

  TokenRange BlockRange(size_t b) const {
    const uint64_t begin = b * header_.block_tokens;
    return {begin, begin + header_.block_token_count(b)};
  }

  void UpdateBar(QueryState& state) const {
    // Which tokens make the mass is known when all have scores.
    if (is_mass_) state.bar = kInfinity;
    if (dipr_ == nullptr) return;
    state.bar = DiprBar(state.best(), dipr_->beta(double{request_.scale}));
  }

  Status ScanCodes(size_t b) {
    const TokenRange tokens = BlockRange(b);
    if (!IsSeen(tokens)) return OkStatus();
    PinnedFlatBlock pinned = std::move(next_block_);
    next_block_ = {};
    if (pinned.block.codes.high == nullptr) {
      ALAYA_ASSIGN_OR_RETURN(pinned, source_.Block(b));
    }
    if (b + 1 < header_.block_count() && IsSeen(BlockRange(b + 1))) {
      ALAYA_ASSIGN_OR_RETURN(next_block_, source_.Block(b + 1));
    }
    const KeyCodes& codes = pinned.block.codes;
    const bool is_coarse = weighs_coarsely_ || (may_scan_coarsely_ && fine_blocks_left_ == 0);
    if (HasNoBar(tokens)) {
      // All would pass. The exact score of the one that looks best makes a bar.
      FilterBlock(tokens, codes, is_coarse);
      scratch_.marks.Clear(tokens.begin, tokens.end);
      for (size_t q = 0; q < count_; ++q) {
        if (FollowTop(filters_[q], states_[q])) ALAYA_RETURN_IF_ERROR(Probe(q));
      }
    }
    const MatrixView<float> scores = FilterBlock(tokens, codes, is_coarse, CoarseWeighings(tokens));
    if (!is_coarse) fine_blocks_left_ -= std::min<size_t>(fine_blocks_left_, 1);
    if (rest_) rest_->AddBlock(pinned.block, next_block_.block);
    size_t kept = 0;
    for (size_t q = 0; q < count_; ++q) {
      const ScoreFilter& filter = filters_[q];
      kept += filter.count;
      Keep(filter, scores, q);
      if (top_k_ != nullptr && states_[q].tokens.size() >= states_[q].prune_count) {
        ALAYA_RETURN_IF_ERROR(PruneTopK(q));
      }
      // While the cache has the scores.
      if (rest_ && !is_coarse && !is_mass_) {
        const std::span<const float> seen =
            scores.row(q).subspan(filter.begin, filter.end - filter.begin);
        rest_->AddScores(q, seen, filter.top);
      }
      if (FollowTop(filter, states_[q])) ALAYA_RETURN_IF_ERROR(Probe(q));
    }
    if (is_coarse && kept * kCoarseShare > tokens.size()) fine_blocks_left_ = kFineBlocks;
    return OkStatus();
  }

  // Scans all blocks coarsely, if that leaves little to do, and says so in opens_groups_.
  Status WeighCoarsely() {
    const size_t count = header_.block_count();
    const size_t sample = std::max(kSampleBlocksMin, count / kSampleShare);
    opens_groups_ = true;
    for (size_t b = 0; b < count && opens_groups_; ++b) {
      ALAYA_RETURN_IF_ERROR(ScanCodes(b));
      if (b + 1 == sample || b + 1 == count) opens_groups_ = rest_->OpenGroups(scratch_.marks);
    }
    weighs_coarsely_ = false;
    next_block_ = {};
    // What was marked belongs to open groups, and is seen better there.
    scratch_.marks.Reset(keys_.token_count());
    for (QueryState& state : states_) state.top = -kInfinity;
    if (!opens_groups_) rest_->ForgetCoarse();
    return OkStatus();
  }

  std::span<const CoarseWeighing> CoarseWeighings(TokenRange tokens) {
    if (!weighs_coarsely_) return {};
    std::vector<float> bests;
    bests.reserve(count_);
    for (const QueryState& state : states_) bests.push_back(state.best());
    return rest_->Weighing(tokens, bests);
  }

  // Scans open groups finely.
  Status ScanOpen() {
    const std::span<const uint32_t> groups = rest_->SettleGroups();
    rest_->BeginOpen();
    OpenBlocks blocks(&source_, groups);
    while (true) {
      ALAYA_ASSIGN_OR_RETURN(const bool is_one, blocks.Next());
      if (!is_one) return OkStatus();
      const auto& [pinned, block, places, listed] = blocks.current();
      const std::span filters = MakeFilters(BlockRange(block), /*is_coarse=*/false);
      const MatrixView<float> scores(scratch_.scores.Take(count_ * places.size()).data(), count_,
                                     places.size());
      ListedFineScores(queries_, {pinned.block.codes, listed}, scores, filters, blocks.upcoming());
      for (size_t q = 0; q < count_; ++q) {
        const TokenRange seen = rest_->SeenPlaces(q, places);
        rest_->AddScores(q, scores.row(q).subspan(seen.begin - places.begin, seen.size()),
                         filters[q].top);
        if (FollowTop(filters[q], states_[q])) ALAYA_RETURN_IF_ERROR(Probe(q));
      }
    }
  }

  // Whether nothing is known of what a query of DIPR would find good enough.
  bool HasNoBar(TokenRange tokens) const {
    return dipr_ != nullptr && std::ranges::any_of(states_, [&](const QueryState& state) {
             return state.bar == -kInfinity && !Intersect(state.visible, tokens).empty();
           });
  }

  // Passes a block through the queries' filters. Returns its scores, of a fine scan.
  MatrixView<float> FilterBlock(TokenRange tokens, const KeyCodes& codes, bool is_coarse,
                                std::span<const CoarseWeighing> weighing = {}) {
    const KeyCodes& upcoming = next_block_.block.codes;
    const std::span<ScoreFilter> filters = MakeFilters(tokens, is_coarse);
    if (is_coarse) {
      FilterCoarseScores(queries_, codes, filters, upcoming, weighing);
      return {};
    }
    const size_t size = codes.token_count();
    const MatrixView<float> scores =
        is_mass_
            ? MatrixView(kept_scores_.data() + tokens.begin, count_, size, kept_scores_.stride())
            : MatrixView(scratch_.scores.Take(count_ * size).data(), count_, size);
    FineScores(queries_, codes, scores, filters, upcoming);
    return scores;
  }

  // Exact scores in place of those from codes that are much worse than most: one of those (a
  // sink's) could pass for all of the mass, or hide it.
  Status CorrectScores() {
    const double error_max = kUsualErrors * rest_->error();
    scratch_.marks.Reset(keys_.token_count());
    for (size_t b = 0; b < header_.block_count(); ++b) {
      if (!IsSeen(BlockRange(b))) continue;
      ALAYA_ASSIGN_OR_RETURN(const PinnedFlatBlock pinned, source_.Block(b));
      const std::span errors(pinned.block.codes.fine_error, pinned.block.token_count);
      for (size_t t = 0; t < errors.size(); ++t) {
        if (double{BF16ToFloat(errors[t])} > error_max) {
          scratch_.marks.Mark(b * header_.block_tokens + t);
        }
      }
    }
    const auto use = [&](std::span<const uint32_t> tokens, MatrixView<const float> scores) {
      for (size_t i = 0; i < tokens.size(); ++i) {
        // Where most of a block is marked, all of it comes.
        if (tokens[i] >= header_.token_count) continue;
        for (size_t q = 0; q < count_; ++q) kept_scores_.row(q)[tokens[i]] = scores.row(q)[i];
      }
    };
    ALAYA_ASSIGN_OR_RETURN(const uint64_t scored,
                           ScoreMarkedKeys(keys_, scratch_.marks, request_.queries, use));
    result_.tokens_scored += scored;
    for (size_t q = 0; q < count_; ++q) {
      const TokenRange covered = Covered(states_[q]);
      const std::span<const float> all = kept_scores_.row(q).subspan(covered.begin, covered.size());
      rest_->AddScores(q, all, MaxScore(all));
    }
    return OkStatus();
  }

  // What each query wants to know of a block's tokens.
  std::span<ScoreFilter> MakeFilters(TokenRange tokens, bool is_coarse) {
    const size_t room = tokens.size() + kFilterPadding;
    std::span<uint32_t> kept_tokens;
    std::span<float> kept_upper;
    if (dipr_ == nullptr) {
      kept_tokens = scratch_.kept_tokens.Take(count_ * room);
      kept_upper = scratch_.kept_upper.Take(count_ * room);
    }
    filters_.assign(count_, {});
    for (size_t q = 0; q < count_; ++q) {
      const TokenRange seen = Intersect(states_[q].visible, tokens);
      ScoreFilter& filter = filters_[q];
      filter.factors = is_coarse ? states_[q].coarse_bound : states_[q].fine_bound;
      filter.bar = states_[q].bar;
      filter.top = states_[q].top;
      if (!seen.empty()) {
        filter.begin = seen.begin - tokens.begin;
        filter.end = seen.end - tokens.begin;
      }
      filter.first_token = static_cast<uint32_t>(tokens.begin);
      if (dipr_ != nullptr) {
        filter.marks = scratch_.marks.WordsFrom(tokens.begin);
        continue;
      }
      filter.tokens = kept_tokens.subspan(q * room, room);
      filter.upper = kept_upper.subspan(q * room, room);
    }
    return filters_;
  }

  // Follows the highest approximate score; true if it is above all exact ones.
  bool FollowTop(const ScoreFilter& filter, QueryState& state) const {
    return state.FollowTop(filter) && dipr_ != nullptr && state.top > state.best();
  }

  // Scores a query's top token exactly, for all queries that see it.
  Status Probe(size_t query_index) {
    const size_t token = states_[query_index].top_token;
    ALAYA_ASSIGN_OR_RETURN(const PinnedRows keys,
                           keys_.ReadBlock(KvKind::kKey, token / keys_.block_tokens()));
    const MatrixView<float> scores(scratch_.key_scores.Take(count_).data(), count_, 1);
    KeyScores(request_.queries, keys.rows.rows_range(token % keys_.block_tokens(), 1), scores);
    result_.tokens_scored += count_;
    for (size_t q = 0; q < count_; ++q) {
      if (!states_[q].visible.contains(token)) continue;
      states_[q].best_exact = std::max(states_[q].best_exact, scores.row(q)[0]);
      UpdateBar(states_[q]);
    }
    return OkStatus();
  }

  // Keeps the tokens of a block that may reach the bar of top-k, if they are not marked.
  void Keep(const ScoreFilter& filter, MatrixView<const float> scores, size_t query_index) {
    if (filter.marks != nullptr) return;
    QueryState& state = states_[query_index];
    for (size_t i = 0; i < filter.count; ++i) {
      const uint32_t token = filter.tokens[i];
      state.tokens.push_back(token);
      state.upper.push_back(filter.upper[i]);
      state.approximate.push_back(scores.row(query_index)[token - filter.first_token]);
    }
  }

  // Raises the bar of top-k to what k tokens reach: the exact scores of those that seem
  // to be the best.
  Status PruneTopK(size_t query_index) {
    QueryState& state = states_[query_index];
    const size_t k = top_k_->k;
    if (state.tokens.size() > k) {
      std::vector<uint32_t> places(state.tokens.size());
      std::iota(places.begin(), places.end(), 0U);
      std::ranges::nth_element(places, places.begin() + static_cast<std::ptrdiff_t>(k),
                               std::greater(), [&](uint32_t i) { return state.approximate[i]; });
      scratch_.marks.Reset(keys_.token_count());
      for (size_t i = 0; i < k; ++i) scratch_.marks.Mark(state.tokens[places[i]]);
      std::vector<float> exact;
      const auto use = [&](std::span<const uint32_t> tokens, MatrixView<const float> scores) {
        // Of a block that is scored whole, what the query does not see raises no bar.
        for (size_t i = 0; i < tokens.size(); ++i) {
          if (state.visible.contains(tokens[i])) exact.push_back(scores.row(0)[i]);
        }
      };
      ALAYA_ASSIGN_OR_RETURN(
          const uint64_t scored,
          ScoreMarkedKeys(keys_, scratch_.marks, request_.queries.rows_range(query_index, 1), use));
      result_.tokens_scored += scored;
      const auto kth = exact.begin() + static_cast<std::ptrdiff_t>(k - 1);
      std::ranges::nth_element(exact, kth, std::greater());
      state.bar = std::max(state.bar, *kth);
      state.DropBelowBar();
    }
    state.prune_count = std::max(kPruneCountMin, 4 * state.tokens.size());
    return OkStatus();
  }

  // Tokens behind those that are coded are candidates with known scores.
  Status ScanUncovered() {
    const uint64_t block_tokens = keys_.block_tokens();
    for (uint64_t begin = header_.token_count; begin < keys_.token_count();) {
      const uint64_t block = begin / block_tokens;
      const uint64_t end = std::min<uint64_t>((block + 1) * block_tokens, keys_.token_count());
      const TokenRange tokens = {begin, end};
      begin = end;
      if (!IsSeen(tokens)) continue;
      const MatrixView<float> scores(scratch_.key_scores.Take(count_ * tokens.size()).data(),
                                     count_, tokens.size());
      ALAYA_ASSIGN_OR_RETURN(const PinnedRows keys, keys_.ReadBlock(KvKind::kKey, block));
      KeyScores(request_.queries,
                keys.rows.rows_range(tokens.begin - block * block_tokens, tokens.size()), scores);
      for (size_t q = 0; q < count_; ++q) AddExact(scores.row(q), tokens, q);
    }
    return OkStatus();
  }

  void AddExact(std::span<const float> scores, TokenRange tokens, size_t query_index) {
    QueryState& state = states_[query_index];
    const TokenRange seen = Intersect(state.visible, tokens);
    for (uint64_t token = seen.begin; token < seen.end; ++token) {
      const float score = scores[token - tokens.begin];
      state.best_exact = std::max(state.best_exact, score);
      UpdateBar(state);
      if (request_.want_mass) {
        state.uncovered_log_sum_exp =
            MergeLogSumExp(state.uncovered_log_sum_exp, double{request_.scale} * double{score});
      }
      if (score < state.bar && !takes_heavy_) continue;
      state.tokens.push_back(static_cast<uint32_t>(token));
      // Without a value summary they cannot be estimated: they stay, whatever the bar.
      state.upper.push_back(takes_heavy_ ? kInfinity : score);
      if (top_k_ != nullptr) state.approximate.push_back(score);
    }
  }

  // The final bars.
  Status RaiseBars() {
    for (size_t q = 0; q < count_; ++q) {
      QueryState& state = states_[q];
      if (top_k_ != nullptr) ALAYA_RETURN_IF_ERROR(PruneTopK(q));
      // Whatever the bar, one token's exact score is known.
      const bool is_known = state.best_exact > -kInfinity || is_mass_;
      if (!is_known && state.top > -kInfinity) ALAYA_RETURN_IF_ERROR(Probe(q));
      state.DropBelowBar();
    }
    return OkStatus();
  }

  // The tokens of a query that are coded.
  TokenRange Covered(const QueryState& state) const {
    return Intersect(state.visible, {0, header_.token_count});
  }
  void StartRest() {
    std::vector<RestQuery> queries;
    for (size_t q = 0; q < count_; ++q) {
      queries.push_back({Covered(states_[q]), queries_[q].length, queries_[q].coarse_deviation});
    }
    rest_.emplace(&source_, &request_, queries);
    if (weighs_coarsely_) rest_->StartCoarse();
  }

  void ChooseHeavy() {
    rest_->SetTolerances();
    if (!takes_heavy_) return;
    for (size_t q = 0; q < count_; ++q) {
      QueryState& state = states_[q];
      rest_->ListHeavy(q, state.heavy);
      state.tokens.insert(state.tokens.end(), state.heavy.begin(), state.heavy.end());
      if (!is_mass_) continue;
      // So are tokens without codes, which no filter excludes.
      state.heavy = state.tokens;
      std::ranges::sort(state.heavy);
    }
  }

  // Takes what was found out of the rest, and knows the mass of both.
  void FinishRest() {
    for (size_t q = 0; q < count_; ++q) {
      QueryCandidates& found = result_.queries[q];
      rest_->LeaveOut(q, found.tokens);
      if (!request_.want_mass) continue;
      found.log_sum_exp = MergeLogSumExp(states_[q].uncovered_log_sum_exp, rest_->log_sum_exp(q));
      double sum = 0;
      const double scale = request_.scale;
      const double best = double{states_[q].best_exact};
      for (const ScoredToken& token : found.tokens) {
        // Those that are not coded count already.
        if (token.token >= header_.token_count) continue;
        sum += std::exp(scale * (double{token.score} - best));
      }
      if (sum == 0) continue;
      found.log_sum_exp = MergeLogSumExp(found.log_sum_exp, scale * best + std::log(sum));
    }
  }

  // Candidates are scored from now on.
  void StartScoring() {
    result_.queries.resize(count_);
    heavy_.clear();
    for (const QueryState& state : states_) heavy_.push_back(HeavyOf(state));
    use_scores_ = [this](std::span<const uint32_t> tokens, MatrixView<const float> scores) {
      for (size_t q = 0; q < count_; ++q) TakeScored(tokens, scores.row(q), q);
    };
    scorer_.emplace(&keys_, &scratch_.marks, request_.queries, &use_scores_);
  }

  Status ScoreCandidates() {
    if (dipr_ == nullptr) scratch_.marks.Reset(keys_.token_count());
    if (!scorer_) StartScoring();
    for (const QueryState& state : states_) scratch_.marks.MarkAll(state.tokens);
    ALAYA_ASSIGN_OR_RETURN(const uint64_t scored, scorer_->Finish());
    result_.tokens_scored += scored;
    for (size_t q = 0; q < count_; ++q) {
      QueryCandidates& found = result_.queries[q];
      found.best_score = states_[q].best_exact;
      if (top_k_ != nullptr && DropAllButTopK(top_k_->k, &found.tokens)) {
        std::ranges::sort(found.tokens, {}, &ScoredToken::token);
      }
      if (top_k_ == nullptr) {
        HeavyTokens is_heavy = HeavyOf(states_[q]);
        std::erase_if(found.tokens, [&](const ScoredToken& token) {
          return token.score < states_[q].bar && !is_heavy(token.token);
        });
      }
    }
    return OkStatus();
  }

  void TakeScored(std::span<const uint32_t> tokens, std::span<const float> scores, size_t q) {
    QueryState& state = states_[q];
    // Most of what is scored is for other queries.
    if (!takes_heavy_ && MaxScore(scores) < state.bar) return;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (!state.visible.contains(tokens[i])) continue;
      if (scores[i] < state.bar && !heavy_[q](tokens[i])) continue;
      result_.queries[q].tokens.push_back({tokens[i], scores[i]});
      if (scores[i] > state.best_exact) {
        state.best_exact = scores[i];
        UpdateBar(state);
      }
    }
  }

  HeavyTokens HeavyOf(const QueryState& state) const {
    // Without an estimate nothing is.
    const uint64_t all = std::numeric_limits<uint64_t>::max();
    return {state.heavy, takes_heavy_ ? header_.token_count : all};
  }

  const FlatSource& source_;
  const FlatHeader& header_;
  const KvReader& keys_;
  const SearchRequest& request_;
  Scratch& scratch_;
  const DiprTarget* dipr_;
  const TopKTarget* top_k_;
  const bool is_mass_;
  const bool estimates_rest_;
  const bool takes_heavy_;  // tokens that the rest's estimate names
  const bool weighs_rest_;
  const size_t count_;
  bool may_scan_coarsely_ = false;
  bool scores_at_once_ = false;
  bool weighs_coarsely_ = false;  // while a coarse scan comes first
  bool opens_groups_ = false;     // it left these to score finely
  PinnedFlatBlock next_block_;    // read early, so that the scan may run ahead into it
  size_t fine_blocks_left_ = 0;   // that coarse scores would not help with
  CodeQueries queries_;
  std::vector<QueryState> states_;
  std::vector<ScoreFilter> filters_;  // of the block that is scanned
  std::vector<HeavyTokens> heavy_;    // [query_count] while candidates are scored
  UseScores use_scores_;
  std::optional<MarkedKeyScorer> scorer_;  // once candidates are scored
  MatrixView<float> kept_scores_;          // [query_count, ScoreStride()] if is_mass_
  std::optional<RestAttention> rest_;      // if weighs_rest_
  SearchResult result_;
};

}  // namespace

StatusOr<SearchResult> SearchFlat(const FlatSource& source, const KvReader& keys,
                                  const SearchRequest& request) {
  assert(request.visible.size() == request.queries.rows());
  // Little can be left out then.
  constexpr double kFractionMax = 0.995;
  const auto* mass = std::get_if<MassTarget>(&request.target);
  if (mass != nullptr && mass->fraction > kFractionMax) return ExactIndex(&keys).Search(request);
  thread_local Scratch scratch;
  FlatSearch search(source, keys, request, scratch);
  ALAYA_ASSIGN_OR_RETURN(const bool has_bounds, search.Prepare());
  if (!has_bounds) return ExactIndex(&keys).Search(request);
  return search.Run();
}

}  // namespace alaya
