#include "index/attention/cpu_backend.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <ostream>
#include <string>
#include <variant>
#include <vector>

#include "index/gather_pins.h"
#include "index/sequence_search.h"
#include "tests/index/sequence_fixture.h"

namespace alaya {
namespace {

constexpr uint64_t kAll = std::numeric_limits<uint64_t>::max();

struct AttendCase {
  std::string name;
  SequenceShape shape;
  size_t group_size = 4;
  size_t positions = 1;  // T: query i of T sees all but the last T - 1 - i tokens
  TokenRange token_range = {0, kAll};
  Window window = {8, 16};
  float query_deviation = 1;
};

void PrintTo(const AttendCase& c, std::ostream* out) { *out << c.name; }

// The queries of one item, group by group, and what each may see.
struct Item {
  Item(const AttendCase& c, uint64_t token_count)
      : queries(RandomFloats(c.group_size * c.positions * c.shape.head_dim, c.query_deviation,
                             /*seed=*/11)),
        head_dim(c.shape.head_dim) {
    for (size_t t = 0; t < c.positions; ++t) {
      const uint64_t later = c.positions - 1 - t;
      const uint64_t end = token_count > later ? token_count - later : 0;
      for (size_t g = 0; g < c.group_size; ++g) {
        visible.push_back(Intersect({0, end}, c.token_range));
      }
    }
  }

  size_t query_count() const { return visible.size(); }
  MatrixView<const float> query_rows() const { return {queries.data(), query_count(), head_dim}; }

  std::vector<float> queries;
  size_t head_dim;
  std::vector<TokenRange> visible;
};

struct Answer {
  explicit Answer(const Item& item)
      : output(item.query_count() * item.head_dim, 99.0F),
        log_sum_exp(item.query_count(), 99.0F),
        part{{output.data(), item.query_count(), item.head_dim}, log_sum_exp} {}

  std::vector<float> output;
  std::vector<float> log_sum_exp;
  AttentionPart part;
};

class CpuBackendTest : public testing::TestWithParam<AttendCase> {
 protected:
  CpuBackendTest()
      : sequence_(GetParam().shape, /*seed=*/100), item_(GetParam(), sequence_.token_count()) {}

  AttentionTask Task(const Target& target) const {
    AttentionTask task;
    task.queries = item_.query_rows();
    task.visible = item_.visible;
    task.parts = sequence_.parts();
    task.target = target;
    task.window = GetParam().window;
    task.scale = scale_;
    task.explain = true;
    return task;
  }

  // Attends, and compares with attention by definition over the tokens that
  // `tokens_of` names for each query.
  template <class TokensOfQuery>
  void ExpectAttendsTo(const Target& target, TokensOfQuery tokens_of) {
    CpuBackend backend;
    Answer answer(item_);

    const StatusOr<AttentionReport> report = backend.Attend(Task(target), answer.part);

    ASSERT_TRUE(report.ok()) << report.status();
    uint64_t attended = 0;
    for (size_t i = 0; i < item_.query_count(); ++i) {
      const std::set<uint64_t> tokens = tokens_of(i);
      const std::span<const float> query = item_.query_rows().row(i);
      ASSERT_EQ(report->query_tokens_attended[i], tokens.size()) << "query " << i;
      attended += tokens.size();
      ExpectNear(query, tokens, answer.part.output.row(i), answer.log_sum_exp[i]);
      const OracleAttention all =
          AttendByDefinition(sequence_, query, TokensOf(item_.visible[i]), scale_);
      const double covered = tokens.empty() ? 1 : std::exp(answer.log_sum_exp[i] - all.log_sum_exp);
      EXPECT_NEAR(report->query_covered_mass[i], covered, 2 * LogitTolerance(query) + 1e-5);
    }
    EXPECT_EQ(report->tokens_attended, attended);
    EXPECT_EQ(report->part_ns.size(), sequence_.parts().size());
    for (size_t p = 0; p < sequence_.parts().size(); ++p) {
      EXPECT_EQ(sequence_.reader(p).pin_count(), 0);
      EXPECT_LE(sequence_.reader(p).pin_count_max(), static_cast<int>(GatherPins::kMaxInMemory));
    }
  }

  // How far a logit in float may lie from its true value.
  double LogitTolerance(std::span<const float> query) const {
    double tolerance = 0;
    for (uint64_t token = 0; token < sequence_.token_count(); ++token) {
      tolerance = std::max(tolerance, sequence_.ScoreTolerance(query, token));
    }
    return double{scale_} * tolerance;
  }

  void ExpectNear(std::span<const float> query, const std::set<uint64_t>& tokens,
                  std::span<const float> output, float log_sum_exp) const {
    const OracleAttention expected = AttendByDefinition(sequence_, query, tokens, scale_);
    if (tokens.empty()) {
      EXPECT_EQ(log_sum_exp, -std::numeric_limits<float>::infinity());
      for (const float element : output) EXPECT_EQ(element, 0.0F);
      return;
    }
    const double logit = LogitTolerance(query);
    EXPECT_NEAR(log_sum_exp, expected.log_sum_exp,
                logit + 1e-5 + 1e-6 * std::fabs(expected.log_sum_exp));
    // A weight is off by twice a logit's error (its own and the denominator's), and by
    // the rounding of exp, of sums and of merged log_sum_exp.
    const double weight = 2 * logit + 2e-5 + 1e-6 * std::fabs(expected.log_sum_exp);
    for (size_t e = 0; e < output.size(); ++e) {
      ASSERT_NEAR(output[e], expected.output[e], weight * expected.value_magnitude) << e;
    }
  }

  // Window and unindexed tokens that a query sees.
  std::set<uint64_t> AlwaysAttended(size_t query_index) const {
    const TokenRange visible = item_.visible[query_index];
    const Window& window = GetParam().window;
    std::set<uint64_t> always;
    for (uint64_t token = visible.begin; token < visible.end; ++token) {
      if (token < window.sink || visible.end - token <= window.recent ||
          sequence_.is_unindexed(token)) {
        always.insert(token);
      }
    }
    return always;
  }

  // The target's tokens according to SearchSequence, by query.
  std::vector<std::vector<SequenceToken>> Search(const Target& target) const {
    SequenceSearchTask task;
    task.queries = item_.query_rows();
    task.visible = item_.visible;
    task.parts = sequence_.parts();
    task.target = target;
    task.scale = scale_;
    StatusOr<SequenceSearchResult> result = SearchSequence(task);
    EXPECT_TRUE(result.ok());
    EXPECT_EQ(result->queries.size(), item_.query_count());
    return result->queries;
  }

  void ExpectAttendsToTargetAndWindow(const Target& target) {
    const auto chosen = Search(target);
    ExpectAttendsTo(target, [&](size_t i) {
      std::set<uint64_t> tokens = AlwaysAttended(i);
      for (const SequenceToken& token : chosen[i]) tokens.insert(token.token);
      return tokens;
    });
  }

  const float scale_ = 1 / std::sqrt(static_cast<float>(GetParam().shape.head_dim));
  TestSequence sequence_;
  Item item_;
};

TEST_P(CpuBackendTest, FullAttendsToEverythingVisible) {
  ExpectAttendsTo(FullTarget{}, [&](size_t i) { return TokensOf(item_.visible[i]); });
}

TEST_P(CpuBackendTest, DiprAttendsToCriticalTokensAndWindow) {
  for (const double alpha : {1.0, 0.5, 0.012, 1e-6}) {
    SCOPED_TRACE(alpha);
    ExpectAttendsToTargetAndWindow(DiprTarget{alpha});
  }
}

TEST_P(CpuBackendTest, TopKAttendsToTheBestTokensAndWindow) {
  for (const size_t k : std::initializer_list<size_t>{1, 7, 50, 100000}) {
    SCOPED_TRACE(k);
    ExpectAttendsToTargetAndWindow(TopKTarget{k});
  }
}

TEST_P(CpuBackendTest, MassAttendsToItsShareAndWindow) {
  for (const double fraction : {0.01, 0.5, 0.9, 0.999, 1.0}) {
    SCOPED_TRACE(fraction);
    ExpectAttendsToTargetAndWindow(MassTarget{fraction});
  }
}

// Which tokens belong to DIPR by definition. Only a token whose distance from the
// bar is within the rounding of two scores may be on either side.
TEST_P(CpuBackendTest, DiprFindsTheCriticalSetOfTheDefinition) {
  for (const double alpha : {0.5, 0.012, 1e-6}) {
    const double beta = DiprTarget{alpha}.beta(scale_);
    const auto found = Search(DiprTarget{alpha});
    for (size_t i = 0; i < item_.query_count(); ++i) {
      const std::span<const float> query = item_.query_rows().row(i);
      double best = -std::numeric_limits<double>::infinity();
      for (const uint64_t token : TokensOf(item_.visible[i])) {
        best = std::max(best, sequence_.Score(query, token));
      }
      std::set<uint64_t> tokens;
      for (const SequenceToken& token : found[i]) tokens.insert(token.token);
      EXPECT_EQ(tokens.size(), found[i].size());
      const double tolerance = 2 * LogitTolerance(query) / double{scale_};
      for (const uint64_t token : TokensOf(item_.visible[i])) {
        const double above = sequence_.Score(query, token) - (best - beta);
        if (std::fabs(above) > tolerance) {
          EXPECT_EQ(tokens.contains(token), above > 0) << "query " << i << " token " << token;
        }
        tokens.erase(token);
      }
      EXPECT_TRUE(tokens.empty()) << "tokens that the query does not see";
    }
  }
}

TEST_P(CpuBackendTest, TopKFindsTheBestOfTheDefinition) {
  for (const size_t k : std::initializer_list<size_t>{1, 7, 50, 100000}) {
    const auto found = Search(TopKTarget{k});
    for (size_t i = 0; i < item_.query_count(); ++i) {
      const std::span<const float> query = item_.query_rows().row(i);
      std::vector<double> scores;
      for (const uint64_t token : TokensOf(item_.visible[i])) {
        scores.push_back(sequence_.Score(query, token));
      }
      std::ranges::sort(scores, std::greater());
      ASSERT_EQ(found[i].size(), std::min<size_t>(k, scores.size()));
      const double tolerance = LogitTolerance(query) / double{scale_};
      for (size_t j = 0; j < found[i].size(); ++j) {
        EXPECT_TRUE(item_.visible[i].contains(found[i][j].token));
        // Rank by rank the scores agree, so no better token was left out.
        EXPECT_NEAR(found[i][j].score, scores[j], tolerance);
        EXPECT_NEAR(sequence_.Score(query, found[i][j].token), scores[j], 2 * tolerance);
      }
    }
  }
}

TEST_P(CpuBackendTest, MassFindsTheFewestTokensOfTheDefinition) {
  for (const double fraction : {0.01, 0.5, 0.9, 0.999}) {
    const auto found = Search(MassTarget{fraction});
    for (size_t i = 0; i < item_.query_count(); ++i) {
      if (item_.visible[i].empty()) {
        EXPECT_TRUE(found[i].empty());
        continue;
      }
      const std::span<const float> query = item_.query_rows().row(i);
      std::set<uint64_t> tokens;
      for (const SequenceToken& token : found[i]) tokens.insert(token.token);
      const auto log_mass = [&](const std::set<uint64_t>& set) {
        return AttendByDefinition(sequence_, query, set, scale_).log_sum_exp;
      };
      // exp alone would overflow: shares only.
      const double all = log_mass(TokensOf(item_.visible[i]));
      const double tolerance = 4 * LogitTolerance(query) + 1e-5;

      ASSERT_FALSE(tokens.empty());
      EXPECT_GE(std::exp(log_mass(tokens) - all), fraction - tolerance);
      tokens.erase(found[i].back().token);
      EXPECT_LE(std::exp(log_mass(tokens) - all), fraction + tolerance);
    }
  }
}

TEST_P(CpuBackendTest, AnErrorOfAReaderPassesThrough) {
  CpuBackend backend;
  Answer answer(item_);
  if (sequence_.token_count() == 0 || item_.visible.back().empty()) return;
  for (const KvKind kind : {KvKind::kKey, KvKind::kValue}) {
    size_t part = 0;
    while (Intersect(sequence_.parts()[part].range(), item_.visible.back()).empty()) ++part;
    const uint64_t part_begin = sequence_.parts()[part].token_begin;
    const uint64_t first = std::max(item_.visible.back().begin, part_begin) - part_begin;
    sequence_.reader(part).FailAt(kind, first / GetParam().shape.block_tokens);
    for (const Target& target : {Target(FullTarget{}), Target(DiprTarget{1e-30})}) {
      const auto report = backend.Attend(Task(target), answer.part);

      EXPECT_EQ(report.status().code(), StatusCode::kDataLoss);
    }
    for (size_t p = 0; p < sequence_.parts().size(); ++p) {
      EXPECT_EQ(sequence_.reader(p).pin_count(), 0);
    }
  }
}

std::vector<AttendCase> Cases() {
  std::vector<AttendCase> cases = {
      {"Empty", {{}}},
      {"EmptyParts", {{0, 0}}},
      {"OneTokenInTheTail", {{0, 1}}},
      {"OneStoredToken", {{1, 0}}},
      {"OnlyATail", {{0, 100}}},
      {"NoTail", {{100, 0}}},
      {"StoredAndTail", {{200, 30}}},
      {"OddChain", {{1, 37, 16, 111, 5}}},
      {"TailBlockOfOne", {{64, 17}}},
      {"HeadDim8", {{150, 9}, 8}},
      {"HeadDim96", {{150, 9}, 96}},
      {"HeadDim128", {{150, 9}, 128}},
      {"HeadDim136", {{150, 9}, 136}},
      {"HeadDim256", {{150, 9}, 256}},
      {"F16", {{150, 9}, 64, DType::kF16}},
      {"F32", {{150, 9}, 64, DType::kF32}},
      {"LargeBlocks", {{300, 9}, 64, DType::kBF16, 256}},
      {"BlocksOfOne", {{40, 9}, 64, DType::kBF16, 1}},
      {"NoGroup", {{150, 9}}, 1},
      {"Group8", {{150, 9}}, 8},
      {"Group3Positions5", {{150, 9}}, 3, 5},
      {"PositionsAcrossTheTail", {{20, 30}}, 4, 30},
      {"MorePositionsThanTokens", {{0, 3}}, 2, 6},
      {"ManyQueries", {{60, 40}}, 4, 40},
      {"NoWindow", {{150, 9}}, 4, 1, {0, kAll}, {0, 0}},
      {"WindowLargerThanTheSequence", {{150, 9}}, 4, 2, {0, kAll}, {kAll, kAll}},
      {"WindowsOverlap", {{50, 2}}, 4, 2, {0, kAll}, {40, 30}},
      {"WindowsTouch", {{50, 0}}, 4, 1, {0, kAll}, {20, 30}},
      {"SinkOverTwoParts", {{5, 50, 4}}, 4, 1, {0, kAll}, {30, 0}},
      {"RecentOverThreeParts", {{50, 5, 4}}, 4, 1, {0, kAll}, {0, 20}},
      {"RangeInside", {{100, 50, 10}}, 4, 1, {33, 121}},
      {"RangeInOnePart", {{100, 50, 10}}, 4, 1, {101, 103}},
      {"RangeInTheTail", {{100, 50, 10}}, 4, 3, {152, 156}},
      {"RangeIsEmpty", {{100, 50, 10}}, 4, 1, {20, 20}},
      {"RangeBehindTheSequence", {{100, 50, 10}}, 4, 1, {500, 600}},
      {"Diffuse", {{300, 9}}, 4, 1, {0, kAll}, {8, 16}, 0.01F},
      {"Peaked", {{300, 9}}, 4, 1, {0, kAll}, {8, 16}, 6.0F},
  };
  // exp of a logit overflows, also in double.
  AttendCase huge = {"ExpWouldOverflow", {{150, 9}, 64, DType::kF32}};
  huge.shape.key_deviation = 300;
  huge.query_deviation = 10;
  cases.push_back(huge);
  AttendCase tiny = {"AllScoresAlmostEqual", {{150, 9}, 64, DType::kF32}};
  tiny.shape.key_deviation = 1e-20F;
  cases.push_back(tiny);
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Sequences, CpuBackendTest, testing::ValuesIn(Cases()),
                         [](const auto& sequence) { return sequence.param.name; });

}  // namespace
}  // namespace alaya
