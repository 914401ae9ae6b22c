#include "index/flat/rest_attention.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>
#include <vector>

#include "index/attention/attention_merge.h"
#include "index/flat/sums.h"
#include "index/gather_pins.h"
#include "index/kernels/bf16.h"
#include "index/kernels/group_weights.h"
#include "index/kernels/weighted_values.h"
#include "index/prefetch.h"
#include "index/scratch_buffer.h"

namespace alaya {
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();

// Of the mass that a target leaves out, candidates may lack this share: the rest is for what the
// errors of scores move across the bar.
constexpr double kMassMargin = 0.5;

// Of the error that is asked for, the share that weights from coarse scores may have; their squares
// add up.
constexpr double kCoarseErrorShare = 0.5;

// Tokens of a block whose errors are looked at after a coarse scan: a cache line of them.
constexpr size_t kSampleBegin = 32;
constexpr size_t kSampleTokens = 32;

// Of groups that were scanned coarsely. To read an open one takes longer than in a scan of all.
constexpr double kOpenShareMax = 0.5;

double RootMeanSquare(double square_sum, size_t count) {
  return count == 0 ? 0 : std::sqrt(square_sum / static_cast<double>(count));
}

// Of all groups, those on which a query has some weight, by rising number.
std::vector<uint32_t> WeighedGroups(MatrixView<const float> weights) {
  thread_local ScratchBuffer<float> buffer;
  const std::span<float> sums = buffer.Take(weights.cols());
  std::ranges::fill(sums, 0.0F);
  for (size_t q = 0; q < weights.rows(); ++q) {
    const std::span<const float> row = weights.row(q);
    for (size_t group = 0; group < sums.size(); ++group) sums[group] += row[group];
  }
  std::vector<uint32_t> groups(sums.size());
  size_t count = 0;
  for (size_t group = 0; group < sums.size(); ++group) {
    groups[count] = static_cast<uint32_t>(group);
    count += static_cast<size_t>(sums[group] != 0);
  }
  groups.resize(count);
  return groups;
}

// output[q] += sum over groups of weights[q][group] * the mean of its values. Moves the weights.
Status AddMeans(const FlatSource& source, MatrixView<float> weights, MatrixView<float> output) {
  const size_t block_groups = source.header().block_tokens / kCodeGroupTokens;
  const size_t head_dim = output.cols();
  const std::vector<uint32_t> groups = WeighedGroups(weights);
  if (groups.size() < weights.cols()) {
    for (size_t q = 0; q < weights.rows(); ++q) {
      const std::span<float> row = weights.row(q);
      std::ranges::transform(groups, row.begin(), [&](uint32_t group) { return row[group]; });
    }
  }
  // Means of several blocks together: each is asked for some rows ahead.
  GatherPins pins(/*is_in_memory=*/false);
  std::vector<const std::byte*> rows;
  size_t begin = 0;
  const auto add = [&] {
    const MatrixView<const float> part(weights.data() + begin, weights.rows(), rows.size(),
                                       weights.stride());
    AddGatheredValues(part, DType::kBF16, rows, output);
    begin += rows.size();
    rows.clear();
    pins.Clear();
  };
  for (size_t i = 0; i < groups.size();) {
    const size_t block = groups[i] / block_groups;
    ALAYA_ASSIGN_OR_RETURN(PinnedFlatBlock pinned, source.Block(block));
    for (; i < groups.size() && groups[i] / block_groups == block; ++i) {
      const size_t group = groups[i] - block * block_groups;
      rows.push_back(reinterpret_cast<const std::byte*>(pinned.block.value_means) +
                     group * head_dim * sizeof(uint16_t));
      if (rows.size() <= kGatherAheadValues) Prefetch(rows.back(), head_dim * sizeof(uint16_t));
    }
    pins.Add(std::move(pinned.pin));
    if (pins.is_full()) add();
  }
  if (!rows.empty()) add();
  return OkStatus();
}

}  // namespace

RestAttention::RestAttention(const FlatSource* source, const SearchRequest* request,
                             std::span<const RestQuery> queries)
    : source_(*source), request_(*request), queries_(queries.size()) {
  std::vector<TokenRange> places;
  places.reserve(queries.size());
  for (size_t q = 0; q < queries.size(); ++q) {
    queries_[q].facts = queries[q];
    places.push_back(queries[q].covered);
  }
  MakeEstimates(CodeGroupCount(source_.header().token_count), places);
}

void RestAttention::MakeEstimates(size_t group_count, std::span<const TokenRange> places) {
  thread_local ScratchBuffer<uint8_t> step_buffer;
  thread_local ScratchBuffer<float> weight_buffer;
  thread_local ScratchBuffer<float> square_buffer;
  thread_local ScratchBuffer<uint8_t> fewest_buffer;
  const size_t room = queries_.size() * group_count;
  const GroupSums all = {step_buffer.Take(room * kCodeGroupTokens), weight_buffer.Take(room),
                         square_buffer.Take(room), fewest_buffer.Take(room)};
  for (size_t q = 0; q < queries_.size(); ++q) {
    Query& query = queries_[q];
    query.places = places[q];
    query.estimate.reset();
    if (query.places.empty()) continue;
    const size_t first_group = query.first_place() / kCodeGroupTokens;
    const size_t end_group = CodeGroupCount(query.places.end);
    query.estimate.emplace(request_.scale, query.places.begin % kCodeGroupTokens,
                           all.subspan(q * group_count + first_group, end_group - first_group));
  }
}

void RestAttention::StartCoarse() {
  std::vector<RestQuery> queries;
  for (const Query& query : queries_) queries.push_back(query.facts);
  coarse_.emplace(source_.header().token_count, request_.scale, queries);
}

std::span<const CoarseWeighing> RestAttention::Weighing(TokenRange tokens,
                                                        std::span<const float> bests) {
  return coarse_->Weighing(tokens, bests);
}

bool RestAttention::OpenGroups(TokenMarks& marks) {
  const size_t scanned = coarse_->scanned_groups();
  for (size_t group = 0; group < scanned; ++group) {
    if (*marks.WordsFrom(group * kCodeGroupTokens) != 0) coarse_->OpenGroup(group);
  }
  const double coarse_error = RootMeanSquare(coarse_error_square_sum_, error_count_);
  const double deviation = RootMeanSquare(deviation_square_sum_, group_count_);
  const double scanned_share = static_cast<double>(scanned * kCodeGroupTokens) /
                               static_cast<double>(source_.header().token_count);
  for (size_t q = 0; q < queries_.size(); ++q) {
    double attended = 0;
    if (!request_.attended.log_sum_exp.empty() && deviation > 0) {
      attended = VectorLength(request_.attended.output.row(q)) / deviation *
                 std::exp(double{request_.attended.log_sum_exp[q]} - coarse_->LogOfWeightOne(q));
    }
    coarse_->Open(q, kCoarseErrorShare * request_.rest_error, scanned_share * attended * attended,
                  coarse_error);
  }
  return static_cast<double>(coarse_->open_count()) <= kOpenShareMax * static_cast<double>(scanned);
}

std::span<const uint32_t> RestAttention::SettleGroups() {
  coarse_->Settle();
  return coarse_->open_groups();
}

void RestAttention::BeginOpen() {
  std::vector<TokenRange> places;
  places.reserve(queries_.size());
  for (const Query& query : queries_) places.push_back(OpenPlaces(query.facts.covered));
  MakeEstimates(coarse_->open_groups().size(), places);
}

TokenRange RestAttention::OpenPlaces(TokenRange covered) const {
  const std::span<const uint32_t> open = coarse_->open_groups();
  const auto groups_before = [&](uint64_t group) {
    return static_cast<uint64_t>(std::ranges::lower_bound(open, group) - open.begin());
  };
  // Groups of which it sees a part are open.
  const uint64_t begin = groups_before(covered.begin / kCodeGroupTokens) * kCodeGroupTokens;
  const uint64_t end = groups_before(covered.end / kCodeGroupTokens) * kCodeGroupTokens;
  const uint64_t first = begin + covered.begin % kCodeGroupTokens;
  return {first, std::max(first, end + covered.end % kCodeGroupTokens)};
}

uint32_t RestAttention::TokenAt(size_t place) const {
  if (!coarse_) return static_cast<uint32_t>(place);
  return coarse_->open_groups()[place / kCodeGroupTokens] * uint32_t{kCodeGroupTokens} +
         static_cast<uint32_t>(place % kCodeGroupTokens);
}

TokenRange RestAttention::SeenPlaces(size_t query_index, TokenRange places) const {
  return Intersect(queries_[query_index].places, places);
}

void RestAttention::ForgetCoarse() {
  coarse_.reset();
  error_square_sum_ = coarse_error_square_sum_ = deviation_square_sum_ = 0;
  error_count_ = group_count_ = 0;
}

void RestAttention::AddBlock(const FlatBlock& block, const FlatBlock& upcoming) {
  Prefetch(upcoming.value_deviations, upcoming.codes.group_count * sizeof(float));
  // Of errors a sample will do. A coarse scan leaves fine ones where they are: one line of them,
  // not of the text's first tokens, which have the worst.
  if (coarse_) Prefetch(upcoming.codes.fine_error + kSampleBegin, kSampleTokens * sizeof(uint16_t));
  const size_t step = coarse_ ? 4 : 16;
  const size_t end = coarse_ ? kSampleBegin + kSampleTokens : block.token_count;
  for (size_t token = coarse_ ? kSampleBegin : 0; token < std::min(end, block.token_count);
       token += step) {
    const double error = double{BF16ToFloat(block.codes.fine_error[token])};
    if (error > kCodedLengthMax) continue;
    error_square_sum_ += error * error;
    ++error_count_;
    if (!coarse_) continue;
    const double coarse_error = double{BF16ToFloat(block.codes.coarse_error[token])};
    coarse_error_square_sum_ += coarse_error * coarse_error;
  }
  for (size_t group = 0; group < block.codes.group_count; ++group) {
    const double deviation = double{block.value_deviations[group]};
    deviation_square_sum_ += deviation * deviation;
    ++group_count_;
  }
}

void RestAttention::AddScores(size_t query_index, std::span<const float> scores, float top) {
  if (!scores.empty()) queries_[query_index].estimate->Add(scores, top);
}

double RestAttention::error() const { return RootMeanSquare(error_square_sum_, error_count_); }

double RestAttention::ScoreDeviation(const Query& query) const {
  return query.facts.length * error() / std::sqrt(static_cast<double>(source_.header().head_dim));
}

void RestAttention::SetTolerances() {
  RestTolerance tolerance;
  tolerance.error = request_.rest_error;
  if (coarse_) tolerance.error *= std::sqrt(1 - kCoarseErrorShare * kCoarseErrorShare);
  tolerance.value_deviation = RootMeanSquare(deviation_square_sum_, group_count_);
  for (size_t q = 0; q < queries_.size(); ++q) {
    Query& query = queries_[q];
    if (!query.estimate) continue;
    query.estimate->set_deviation(ScoreDeviation(query));
    if (const auto* mass = std::get_if<MassTarget>(&request_.target)) {
      query.bar = query.estimate->MassBar(kMassMargin * (1 - mass->fraction));
      continue;
    }
    if (!request_.estimate_rest) continue;
    tolerance.attended_log_sum_exp = kNothing;
    if (!request_.attended.log_sum_exp.empty()) {
      tolerance.attended_norm = VectorLength(request_.attended.output.row(q));
      tolerance.attended_log_sum_exp = double{request_.attended.log_sum_exp[q]};
    }
    query.bar = query.estimate->RestBar(tolerance);
  }
}

void RestAttention::ListHeavy(size_t query_index, std::vector<uint32_t>& tokens) const {
  const Query& query = queries_[query_index];
  if (!query.estimate || query.bar == 0) return;
  const size_t listed = tokens.size();
  query.estimate->ListHeavy(query.bar, query.first_place(), tokens);
  if (!coarse_) return;
  for (size_t i = listed; i < tokens.size(); ++i) tokens[i] = TokenAt(tokens[i]);
}

void RestAttention::LeaveOut(size_t query_index, std::span<const ScoredToken> attended) {
  Query& query = queries_[query_index];
  if (!query.estimate) return;
  const uint32_t first = query.first_place();
  std::vector<uint32_t> places;
  places.reserve(attended.size());
  size_t open = 0;  // of the groups
  for (const ScoredToken& token : attended) {
    if (!query.facts.covered.contains(token.token)) continue;
    if (!coarse_) {
      places.push_back(token.token - first);
      continue;
    }
    const auto group = static_cast<uint32_t>(token.token / kCodeGroupTokens);
    while (open < coarse_->open_groups().size() && coarse_->open_groups()[open] < group) ++open;
    // A token that no bound let through, but a block that was scored whole: its coarse weight was
    // far below its own.
    if (open == coarse_->open_groups().size() || coarse_->open_groups()[open] != group) continue;
    places.push_back(
        static_cast<uint32_t>(open * kCodeGroupTokens + token.token % kCodeGroupTokens) - first);
  }
  query.estimate->LeaveOut(places);
}

double RestAttention::log_sum_exp(size_t query_index) const {
  const Query& query = queries_[query_index];
  const double fine = query.estimate ? query.estimate->log_sum_exp() : kNothing;
  if (!coarse_) return fine;
  return MergeLogSumExp(
      fine, coarse_->LogOfWeightOne(query_index) + std::log(coarse_->weight_sum(query_index)));
}

// Of weights from fine and from coarse scores, that which is larger.
double RestAttention::LogOfUnit(size_t query_index) const {
  const Query& query = queries_[query_index];
  const double fine = query.estimate ? query.estimate->LogOfWeightOne() : kNothing;
  if (!coarse_ || coarse_->weight_sum(query_index) == 0) return fine;
  return std::max(fine, coarse_->LogOfWeightOne(query_index));
}

void RestAttention::WeighGroups(size_t query_index, std::span<float> weights) const {
  const Query& query = queries_[query_index];
  const double unit = LogOfUnit(query_index);
  std::ranges::fill(weights, 0.0F);
  if (coarse_ && coarse_->weight_sum(query_index) > 0) {
    const auto factor = static_cast<float>(std::exp(coarse_->LogOfWeightOne(query_index) - unit));
    std::ranges::transform(coarse_->weights(query_index), weights.begin(),
                           [&](float weight) { return weight * factor; });
  }
  if (!query.estimate) return;
  const auto factor = static_cast<float>(std::exp(query.estimate->LogOfWeightOne() - unit));
  const size_t begin = query.places.begin / kCodeGroupTokens;
  const std::span<const float> all = query.estimate->group_weights();
  for (size_t i = 0; i < all.size(); ++i) {
    const size_t group = coarse_ ? coarse_->open_groups()[begin + i] : begin + i;
    weights[group] = all[i] * factor;
  }
}

Status RestAttention::Attend(SearchResult* result) const {
  thread_local ScratchBuffer<float> weight_buffer;
  const size_t count = queries_.size();
  const size_t head_dim = source_.header().head_dim;
  const size_t group_count = CodeGroupCount(source_.header().token_count);
  result->rest_output.assign(count * head_dim, 0.0F);
  result->rest_log_sum_exp.assign(count, static_cast<float>(kNothing));
  const MatrixView<float> output(result->rest_output.data(), count, head_dim);
  const MatrixView<float> weights(weight_buffer.Take(count * group_count).data(), count,
                                  group_count);
  std::vector<double> weight_sums;
  for (size_t q = 0; q < count; ++q) {
    WeighGroups(q, weights.row(q));
    weight_sums.push_back(SumOf(weights.row(q)));
  }
  ALAYA_RETURN_IF_ERROR(AddMeans(source_, weights, output));
  for (size_t q = 0; q < count; ++q) {
    const double total = weight_sums[q] > 0 ? log_sum_exp(q) : kNothing;
    result->rest_log_sum_exp[q] = static_cast<float>(total);
    const double factor = std::isinf(total) ? 0 : 1 / weight_sums[q];
    for (float& element : output.row(q)) element = static_cast<float>(double{element} * factor);
  }
  return OkStatus();
}

}  // namespace alaya
