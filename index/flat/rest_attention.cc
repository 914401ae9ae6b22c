#include "index/flat/rest_attention.h"

#include <algorithm>
#include <cmath>
#include <variant>

#include "index/flat/vector_length.h"
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

double RootMeanSquare(double square_sum, size_t count) {
  return count == 0 ? 0 : std::sqrt(square_sum / static_cast<double>(count));
}

}  // namespace

RestAttention::RestAttention(const FlatSource* source, const SearchRequest* request,
                             std::span<const RestQuery> queries, MatrixView<const float> scores)
    : source_(*source), request_(*request), scores_(scores), queries_(queries.size()) {
  thread_local ScratchBuffer<float> weight_buffer;
  thread_local ScratchBuffer<float> square_buffer;
  thread_local ScratchBuffer<float> top_buffer;
  const size_t room = scores.cols() / kCodeGroupTokens;
  const std::span<float> weights = weight_buffer.Take(queries.size() * room);
  const std::span<float> square_sums = square_buffer.Take(queries.size() * room);
  const std::span<float> tops = top_buffer.Take(queries.size() * room);
  for (size_t q = 0; q < queries.size(); ++q) {
    queries_[q].facts = queries[q];
    const TokenRange covered = queries[q].covered;
    if (covered.empty()) continue;
    const size_t first_group = covered.begin / kCodeGroupTokens;
    const size_t group_count = (covered.end - 1) / kCodeGroupTokens + 1 - first_group;
    const ApproximateScores all = {
        .scores = scores.row(q).subspan(covered.begin, covered.size()),
        .first_group_tokens =
            std::min<size_t>(covered.size(), (first_group + 1) * kCodeGroupTokens - covered.begin),
        .scale = request->scale};
    queries_[q].estimate.emplace(all, GroupSums{weights.subspan(q * room, group_count),
                                                square_sums.subspan(q * room, group_count),
                                                tops.subspan(q * room, group_count)});
  }
}

void RestAttention::AddBlock(const FlatBlock& block, const FlatBlock& upcoming) {
  Prefetch(upcoming.value_deviations, upcoming.codes.group_count * sizeof(float));
  constexpr size_t kStep = 16;  // of errors a sample will do
  for (size_t token = 0; token < block.token_count; token += kStep) {
    const double error = double{BF16ToFloat(block.codes.fine_error[token])};
    if (error > kCodedLengthMax) continue;
    error_square_sum_ += error * error;
    ++error_count_;
  }
  for (size_t group = 0; group < block.codes.group_count; ++group) {
    const double deviation = double{block.value_deviations[group]};
    deviation_square_sum_ += deviation * deviation;
    ++group_count_;
  }
}

void RestAttention::AddScores(size_t query_index, size_t count, float top) {
  if (count > 0) queries_[query_index].estimate->Add(count, top);
}

double RestAttention::error() const { return RootMeanSquare(error_square_sum_, error_count_); }

void RestAttention::AddCorrected(size_t query_index, float top) {
  Query& query = queries_[query_index];
  if (!query.estimate) return;
  query.estimate->Clear();
  query.estimate->Add(query.facts.covered.size(), top);
}

void RestAttention::SetTolerances() {
  const double deviation = error() / std::sqrt(static_cast<double>(source_.header().head_dim));
  RestTolerance tolerance;
  tolerance.error = request_.rest_error;
  tolerance.value_deviation = RootMeanSquare(deviation_square_sum_, group_count_);
  for (size_t q = 0; q < queries_.size(); ++q) {
    Query& query = queries_[q];
    if (!query.estimate) continue;
    query.estimate->set_deviation(query.facts.length * deviation);
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
  if (!query.estimate || std::isinf(query.bar)) return;
  query.estimate->ListFrom(query.bar, static_cast<uint32_t>(query.facts.covered.begin), tokens);
}

void RestAttention::LeaveOut(size_t query_index, std::span<const ScoredToken> attended) {
  Query& query = queries_[query_index];
  if (!query.estimate) return;
  std::vector<uint32_t> places;
  places.reserve(attended.size());
  for (const ScoredToken& token : attended) {
    if (!query.facts.covered.contains(token.token)) continue;
    places.push_back(token.token - static_cast<uint32_t>(query.facts.covered.begin));
  }
  query.estimate->LeaveOut(places);
}

double RestAttention::log_sum_exp(size_t query_index) const {
  const Query& query = queries_[query_index];
  return query.estimate ? query.estimate->log_sum_exp() : kNothing;
}

double RestAttention::WeighBlock(const Query& query, size_t first_group,
                                 std::span<float> weights) const {
  std::ranges::fill(weights, 0.0F);
  if (!query.estimate) return 0;
  const std::span<const float> all = query.estimate->group_weights();
  const size_t begin = query.facts.covered.begin / kCodeGroupTokens;
  double sum = 0;
  for (size_t g = 0; g < weights.size(); ++g) {
    const size_t group = first_group + g;
    if (group < begin || group - begin >= all.size()) continue;
    weights[g] = all[group - begin];
    sum += double{weights[g]};
  }
  return sum;
}

Status RestAttention::Attend(SearchResult* result) const {
  thread_local ScratchBuffer<float> weight_buffer;
  const FlatHeader& header = source_.header();
  const size_t head_dim = header.head_dim;
  result->rest_output.assign(queries_.size() * head_dim, 0.0F);
  result->rest_log_sum_exp.assign(queries_.size(), static_cast<float>(kNothing));
  const MatrixView<float> output(result->rest_output.data(), queries_.size(), head_dim);
  std::vector<double> weight_sums(queries_.size());
  const auto is_covered = [&](size_t b) {
    const uint64_t begin = b * header.block_tokens;
    const TokenRange tokens = {begin, begin + header.block_token_count(b)};
    return std::ranges::any_of(queries_, [&](const Query& query) {
      return !Intersect(query.facts.covered, tokens).empty();
    });
  };
  // The next block's means come while those of a block are added up.
  PinnedFlatBlock next;
  for (size_t b = 0; b < header.block_count(); ++b) {
    PinnedFlatBlock pinned = std::move(next);
    next = {};
    if (b + 1 < header.block_count() && is_covered(b + 1)) {
      ALAYA_ASSIGN_OR_RETURN(next, source_.Block(b + 1));
      Prefetch(next.block.value_means, next.block.codes.group_count * head_dim * sizeof(uint16_t));
    }
    if (!is_covered(b)) continue;
    if (pinned.block.value_means == nullptr) {
      ALAYA_ASSIGN_OR_RETURN(pinned, source_.Block(b));
    }
    const size_t first_group = b * header.block_tokens / kCodeGroupTokens;
    const size_t group_count = pinned.block.codes.group_count;
    const MatrixView<float> weights(weight_buffer.Take(queries_.size() * group_count).data(),
                                    queries_.size(), group_count);
    for (size_t q = 0; q < queries_.size(); ++q) {
      weight_sums[q] += WeighBlock(queries_[q], first_group, weights.row(q));
    }
    const EncodedMatrixView means = {reinterpret_cast<const std::byte*>(pinned.block.value_means),
                                     group_count, head_dim, DType::kBF16};
    AddWeightedValues(weights, means, output);
  }
  for (size_t q = 0; q < queries_.size(); ++q) {
    const double total = weight_sums[q] > 0 ? log_sum_exp(q) : kNothing;
    result->rest_log_sum_exp[q] = static_cast<float>(total);
    const double factor = std::isinf(total) ? 0 : 1 / weight_sums[q];
    for (float& element : output.row(q)) element = static_cast<float>(double{element} * factor);
  }
  return OkStatus();
}

}  // namespace alaya
