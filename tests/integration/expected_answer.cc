#include "tests/integration/expected_answer.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <sstream>
#include <vector>

#include "client/tensor.h"
#include "index/target.h"
#include "storage/types/check.h"
#include "tests/support/exact_attention.h"

namespace alaya {
namespace {

constexpr double kOutputErrorMax = 2e-4;
constexpr double kLogSumExpErrorMax = 1e-3;
// Float and double scores of |q||k| up to a few thousand differ by less.
constexpr double kScoreMargin = 2e-3;

// Largest relative error of rounding to the nearest: half a unit in the last place.
double RoundingErrorMax(pb::DType dtype) {
  if (dtype == pb::DTYPE_BF16) return 0x1p-8;
  return dtype == pb::DTYPE_F16 ? 0x1p-11 : 0x1p-24;
}

struct Problem {
  std::vector<float> queries;
  size_t query_heads = 0;
  size_t head_dim = 0;
  double scale = 0;

  // Of the position row / query_heads and the head row % query_heads.
  std::span<const float> query(size_t row) const {
    return std::span(queries).subspan(row * head_dim, head_dim);
  }
};

// A layer's keys or values as floats.
class LayerRows {
 public:
  explicit LayerRows(const client::TensorView& view)
      : elements_(client::DecodeElements(view.data, view.dtype)),
        tokens_(view.tokens),
        heads_(view.heads),
        dim_(view.dim) {}

  MatrixView<const float> head(size_t head) const {
    return {elements_.data() + head * dim_, tokens_, dim_, heads_ * dim_};
  }

 private:
  std::vector<float> elements_;
  size_t tokens_;
  size_t heads_;
  size_t dim_;
};

Problem MakeProblem(const pb::Model& model, const pb::Tensor& query, double scale) {
  Problem problem;
  problem.queries = *client::ToFloats(query);
  problem.query_heads = model.num_query_heads();
  problem.head_dim = model.head_dim();
  problem.scale = scale > 0 ? scale : 1 / std::sqrt(static_cast<double>(model.head_dim()));
  return problem;
}

Target TargetOf(const pb::AttendOptions& options) {
  switch (options.target_case()) {
    case pb::AttendOptions::kFull:
      return FullTarget{};
    case pb::AttendOptions::kTopK:
      return TopKTarget{options.top_k().k()};
    case pb::AttendOptions::kMass:
      return MassTarget{options.mass().fraction()};
    case pb::AttendOptions::kDipr:
      return options.dipr().alpha() > 0 ? DiprTarget{options.dipr().alpha()} : DiprTarget{};
    default:
      // What the planner chooses where there is no index.
      return FullTarget{};
  }
}

TokenRange RangeOf(const pb::TokenRange& range, uint64_t token_count) {
  return {range.begin(), range.end() == 0 ? token_count : std::min(range.end(), token_count)};
}

// The tokens that belong to a target for certain, and those that may.
struct TargetTokens {
  std::vector<uint32_t> certain;
  std::vector<uint32_t> possible;
};

TargetTokens CriticalTokensOf(const Target& target, std::span<const double> scores, double scale,
                              TokenRange visible) {
  const auto tokens = [&](double margin) {
    return CriticalTokens(scores, scale, visible, target, margin);
  };
  if (std::holds_alternative<FullTarget>(target)) return {tokens(0), tokens(0)};
  TargetTokens result{tokens(0), tokens(kScoreMargin)};
  // Nobody outside is near the bar: the set is certain, though its last token is at the bar.
  const bool counts = std::holds_alternative<TopKTarget>(target);
  if (!counts || result.certain.size() != result.possible.size()) {
    result.certain = tokens(-kScoreMargin);
  }
  return result;
}

TargetTokens AttendedTokensOf(const pb::AttendOptions& options, std::span<const double> scores,
                              double scale, TokenRange visible, uint64_t tail_begin) {
  Window window;
  if (options.has_window()) window = {options.window().sink(), options.window().recent()};
  const TokenRange tail = Intersect(visible, {tail_begin, visible.end});
  const std::vector<uint32_t> always =
      UnionOf(WindowTokens(visible, window), CriticalTokens(scores, scale, tail, FullTarget{}));
  TargetTokens tokens = CriticalTokensOf(TargetOf(options), scores, scale, visible);
  return {UnionOf(always, tokens.certain), UnionOf(always, tokens.possible)};
}

double Norm(std::span<const double> vector) {
  double sum = 0;
  for (const double element : vector) sum += element * element;
  return std::sqrt(sum);
}

// How far the output may be off because undecided tokens may be attended or not: their
// weight times the largest distance between two values.
double UndecidedError(const TargetTokens& tokens, std::span<const double> scores, double scale,
                      MatrixView<const float> values) {
  if (tokens.certain.size() == tokens.possible.size()) return 0;
  const double kept = AttendTokens(scores, values, scale, tokens.certain).log_sum_exp;
  const double all = AttendTokens(scores, values, scale, tokens.possible).log_sum_exp;
  double norm_max = 0;
  for (size_t t = 0; t < values.rows(); ++t) {
    double sum = 0;
    for (const float element : values.row(t)) sum += double{element} * double{element};
    norm_max = std::max(norm_max, std::sqrt(sum));
  }
  return (1 - std::exp(kept - all)) * 2 * norm_max;
}

testing::AssertionResult CompareHead(std::span<const float> output, double log_sum_exp,
                                     const ExactAttention& expected, double relative_error_max,
                                     double undecided_error) {
  if (std::isinf(expected.log_sum_exp)) {
    if (log_sum_exp != expected.log_sum_exp) {
      return testing::AssertionFailure() << "log_sum_exp " << log_sum_exp << ", no token visible";
    }
  } else if (!(std::abs(log_sum_exp - expected.log_sum_exp) <=
               kLogSumExpErrorMax + undecided_error)) {
    return testing::AssertionFailure()
           << "log_sum_exp " << log_sum_exp << ", expected " << expected.log_sum_exp;
  }
  std::vector<double> difference(output.size());
  for (size_t i = 0; i < output.size(); ++i) difference[i] = output[i] - expected.output[i];
  const double limit = relative_error_max * Norm(expected.output) + undecided_error;
  if (!(Norm(difference) <= limit)) {
    return testing::AssertionFailure()
           << "output is " << Norm(difference) << " off, allowed " << limit;
  }
  return testing::AssertionSuccess();
}

testing::AssertionResult CompareHits(const pb::SearchContextResponse::Head& found,
                                     std::span<const double> scores, const TargetTokens& expected) {
  std::vector<uint32_t> tokens(found.tokens().begin(), found.tokens().end());
  for (int i = 0; i < found.tokens_size(); ++i) {
    if (found.tokens(i) >= scores.size() ||
        !(std::abs(found.scores(i) - scores[found.tokens(i)]) <= kScoreMargin) ||
        (i > 0 && found.scores(i) > found.scores(i - 1))) {
      return testing::AssertionFailure()
             << "hit " << i << " is token " << found.tokens(i) << " of score " << found.scores(i);
    }
  }
  std::sort(tokens.begin(), tokens.end());
  if (!std::ranges::includes(tokens, expected.certain) ||
      !std::ranges::includes(expected.possible, tokens)) {
    std::ostringstream wrong;
    for (const uint32_t token : expected.certain) {
      if (!std::ranges::binary_search(tokens, token)) {
        wrong << " misses " << token << " (" << scores[token] << ")";
      }
    }
    for (size_t i = 0; i < tokens.size(); ++i) {
      const bool repeated = i > 0 && tokens[i] == tokens[i - 1];
      if (repeated || !std::ranges::binary_search(expected.possible, tokens[i])) {
        wrong << (repeated ? " repeats " : " has ") << tokens[i] << " (" << scores[tokens[i]]
              << ")";
      }
    }
    return testing::AssertionFailure()
           << "found " << tokens.size() << " tokens of " << scores.size() << ", expected "
           << expected.certain.size() << " to " << expected.possible.size() << ":" << wrong.str();
  }
  return testing::AssertionSuccess();
}

testing::AssertionResult CheckShapes(const pb::AttendItem& item, const pb::AttendResult& result,
                                     size_t query_count, size_t head_count) {
  if (result.status().code() != 0) {
    return testing::AssertionFailure() << "the item failed: " << result.status().message();
  }
  const pb::Tensor& output = result.output();
  if (output.dtype() != item.query().dtype() ||
      !std::equal(output.shape().begin(), output.shape().end(), item.query().shape().begin(),
                  item.query().shape().end())) {
    return testing::AssertionFailure() << "output is not of the query's dtype and shape";
  }
  const auto& shape = result.log_sum_exp().shape();
  if (shape.size() != 2 || shape[0] != static_cast<int64_t>(query_count) ||
      shape[1] != static_cast<int64_t>(head_count)) {
    return testing::AssertionFailure() << "log_sum_exp is not [T, Hq]";
  }
  return testing::AssertionSuccess();
}

}  // namespace

testing::AssertionResult AnswersItem(const KvSequence& sequence, SessionState state,
                                     const pb::AttendItem& item, const pb::AttendResult& result) {
  const pb::Model& model = sequence.model();
  const Problem problem = MakeProblem(model, item.query(), item.options().scale());
  const auto query_count = static_cast<size_t>(item.query().shape(0));
  if (auto shapes = CheckShapes(item, result, query_count, problem.query_heads); !shapes) {
    return shapes;
  }
  const std::vector<float> output = *client::ToFloats(result.output());
  const std::vector<float> log_sum_exp = *client::ToFloats(result.log_sum_exp());
  const size_t held = state.token_count + (item.has_key() ? query_count : 0);
  const LayerRows key_rows(sequence.Keys(item.layer(), 0, held));
  const LayerRows value_rows(sequence.Values(item.layer(), 0, held));
  const size_t group = model.num_query_heads() / model.num_kv_heads();
  for (size_t row = 0; row < query_count * problem.query_heads; ++row) {
    const size_t head = row % problem.query_heads;
    const size_t position = row / problem.query_heads;
    const uint64_t seen = state.token_count + (item.has_key() ? position + 1 : 0);
    TokenRange visible{0, seen};
    if (item.options().has_token_range()) {
      visible = Intersect(visible, RangeOf(item.options().token_range(), seen));
    }
    const MatrixView<const float> values = value_rows.head(head / group);
    const std::vector<double> scores = ExactScores(problem.query(row), key_rows.head(head / group));
    const TargetTokens tokens =
        AttendedTokensOf(item.options(), scores, problem.scale, visible, state.reused_tokens);
    auto compared =
        CompareHead(std::span(output).subspan(row * problem.head_dim, problem.head_dim),
                    log_sum_exp[row], AttendTokens(scores, values, problem.scale, tokens.certain),
                    kOutputErrorMax + RoundingErrorMax(item.query().dtype()),
                    UndecidedError(tokens, scores, problem.scale, values));
    if (!compared) return compared << " (query " << position << ", head " << head << ")";
  }
  return testing::AssertionSuccess();
}

testing::AssertionResult AnswersSearch(const KvSequence& sequence,
                                       const pb::SearchContextRequest& request,
                                       const pb::SearchContextResponse& response) {
  const pb::Model& model = sequence.model();
  const Problem problem = MakeProblem(model, request.query(), request.scale());
  const auto query_count = static_cast<size_t>(request.query().shape(0));
  if (static_cast<size_t>(response.heads_size()) != query_count * problem.query_heads) {
    return testing::AssertionFailure() << "heads: " << response.heads_size();
  }
  const size_t group = model.num_query_heads() / model.num_kv_heads();
  const TokenRange visible = request.has_token_range()
                                 ? RangeOf(request.token_range(), sequence.token_count())
                                 : TokenRange{0, sequence.token_count()};
  Target target = DiprTarget{};
  if (request.has_top_k()) target = TopKTarget{request.top_k().k()};
  if (request.dipr().alpha() > 0) target = DiprTarget{request.dipr().alpha()};
  const LayerRows key_rows(sequence.Keys(request.layer(), 0, sequence.token_count()));
  for (size_t row = 0; row < query_count * problem.query_heads; ++row) {
    const size_t head = row % problem.query_heads;
    const std::vector<double> scores = ExactScores(problem.query(row), key_rows.head(head / group));
    const TargetTokens tokens = CriticalTokensOf(target, scores, problem.scale, visible);
    auto compared = CompareHits(response.heads(static_cast<int>(row)), scores, tokens);
    if (!compared) return compared << " (row " << row << ")";
  }
  return testing::AssertionSuccess();
}

}  // namespace alaya
