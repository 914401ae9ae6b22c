// What Attend and SearchContext answer, against the definition in double, on every
// shape that engines have.

#include <gtest/gtest.h>

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "tests/integration/service_test.h"

namespace alaya {
namespace {

// More than the default window of 128 + 512, and no multiple of any block size.
constexpr size_t kContextTokens = 1777;
constexpr size_t kSequenceTokens = kContextTokens + 24;

struct ShapeCase {
  const char* name;
  ModelShape shape;
};

void PrintTo(const ShapeCase& shape, std::ostream* out) { *out << shape.name; }

struct TargetCase {
  const char* name;
  pb::AttendOptions options;
};

std::vector<TargetCase> TargetCases() {
  std::vector<TargetCase> cases;
  const auto add = [&](const char* name) -> pb::AttendOptions& {
    return cases.emplace_back(TargetCase{name, {}}).options;
  };
  add("planner's default");
  add("full").mutable_full();
  add("dipr").mutable_dipr()->set_alpha(0.012);
  add("narrow dipr").mutable_dipr()->set_alpha(0.5);
  add("dipr of the largest only").mutable_dipr()->set_alpha(1);
  add("top 100").mutable_top_k()->set_k(100);
  add("top 1").mutable_top_k()->set_k(1);
  add("more than all").mutable_top_k()->set_k(1'000'000);
  add("half of the mass").mutable_mass()->set_fraction(0.5);
  pb::AttendOptions& small_window = add("dipr with a small window");
  small_window.mutable_dipr()->set_alpha(0.05);
  small_window.mutable_window()->set_sink(4);
  small_window.mutable_window()->set_recent(16);
  pb::AttendOptions& no_window = add("top 10 without window");
  no_window.mutable_top_k()->set_k(10);
  no_window.mutable_window();
  pb::AttendOptions& flat = add("full with a scale");
  flat.mutable_full();
  flat.set_scale(0.02);
  pb::AttendOptions& range = add("full in a range");
  range.mutable_full();
  range.mutable_token_range()->set_begin(130);
  range.mutable_token_range()->set_end(1201);
  pb::AttendOptions& sparse_range = add("dipr in a range");
  sparse_range.mutable_dipr()->set_alpha(0.05);
  sparse_range.mutable_window();
  sparse_range.mutable_token_range()->set_begin(700);
  return cases;
}

StatusOr<pb::Tensor> InDType(const pb::Tensor& tensor, DType dtype) {
  ALAYA_ASSIGN_OR_RETURN(const client::TensorView view, client::ViewTensor(tensor));
  ALAYA_ASSIGN_OR_RETURN(const std::vector<float> elements, client::ToFloats(tensor));
  return client::MakeTensor(elements, view.tokens, view.heads, view.dim, dtype);
}

class AttendTest : public ServiceTest, public testing::WithParamInterface<ShapeCase> {
 protected:
  AttendTest()
      : sequence_(MakeModel("test/" + std::string(GetParam().name), GetParam().shape),
                  kSequenceTokens, /*seed=*/11) {}

  void SetUp() override {
    StartServer();
    if (HasFatalFailure()) return;
    ASSERT_OK(RegisterModel(client(), sequence_.model()));
    const KvSequence context = sequence_.Branch(kContextTokens, kContextTokens, /*seed=*/0);
    ASSERT_OK(Import(client(), context, "context"));
    ASSERT_OK_AND_ASSIGN(session_, OpenSession(client(), "context"));
  }

  const KvSequence sequence_;
  std::string session_;
};

TEST_P(AttendTest, EveryTargetEqualsItsDefinition) {
  client::AttendStream stream = client().Attend();
  for (const TargetCase& target : TargetCases()) {
    SCOPED_TRACE(target.name);
    for (uint32_t layer = 0; layer < sequence_.model().num_layers(); ++layer) {
      // In F32 the answer is not rounded, so that it shows how exact the attention is.
      pb::AttendItem item = sequence_.Ask(session_, layer, kContextTokens);
      ASSERT_OK_AND_ASSIGN(*item.mutable_query(), InDType(item.query(), DType::kF32));
      *item.mutable_options() = target.options;

      ASSERT_OK_AND_ASSIGN(const pb::AttendResult result, stream.AttendOne(item));

      EXPECT_TRUE(AnswersItem(sequence_, {kContextTokens, kContextTokens}, item, result));
    }
  }
  EXPECT_OK(stream.Close());
}

TEST_P(AttendTest, NewTokensSeeTheContextAndEachOtherCausally) {
  client::AttendStream stream = client().Attend();
  size_t held = kContextTokens;
  for (const size_t count : {1U, 7U, 1U, 15U}) {
    for (uint32_t layer = 0; layer < sequence_.model().num_layers(); ++layer) {
      pb::AttendItem item = sequence_.AskAndAppend(session_, layer, held, count);
      if (count % 2 == 0) item.mutable_options()->mutable_full();

      ASSERT_OK_AND_ASSIGN(const pb::AttendResult result, stream.AttendOne(item));

      EXPECT_TRUE(AnswersItem(sequence_, {held, kContextTokens}, item, result));
    }
    held += count;
  }
  ASSERT_EQ(held, kSequenceTokens);
}

TEST_P(AttendTest, SearchReturnsTheDefinedTokensByFallingScore) {
  pb::SearchContextRequest request;
  request.set_context_id("context");
  request.set_layer(1);
  *request.mutable_query() = sequence_.Ask("", 1, /*begin=*/5, /*count=*/2).query();
  const KvSequence context = sequence_.Branch(kContextTokens, kContextTokens, /*seed=*/0);

  request.mutable_dipr()->set_alpha(0.02);
  ASSERT_OK_AND_ASSIGN(const auto in_range, client().SearchContext(request));
  EXPECT_TRUE(AnswersSearch(context, request, in_range));

  request.mutable_top_k()->set_k(37);
  request.mutable_token_range()->set_begin(3);
  request.mutable_token_range()->set_end(1500);
  ASSERT_OK_AND_ASSIGN(const auto best, client().SearchContext(request));
  EXPECT_TRUE(AnswersSearch(context, request, best));
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, AttendTest,
    testing::Values(ShapeCase{"GroupedBF16", {}},
                    ShapeCase{"MultiHead", {.query_heads = 8, .kv_heads = 8}},
                    ShapeCase{"HeadDim64", {.head_dim = 64}},
                    ShapeCase{"HeadDim96", {.query_heads = 12, .kv_heads = 4, .head_dim = 96}},
                    ShapeCase{"F16", {.dtype = DType::kF16}},
                    ShapeCase{"F32", {.dtype = DType::kF32}}),
    [](const auto& shape) { return shape.param.name; });

class AttendFormTest : public ServiceTest {
 protected:
  void SetUp() override {
    StartServer();
    if (HasFatalFailure()) return;
    ASSERT_OK(RegisterModel(client(), sequence_.model()));
  }

  const KvSequence sequence_{MakeModel("test/form"), 900, /*seed=*/12};
};

TEST_F(AttendFormTest, QueriesOfAnotherDTypeAreAnsweredInTheirs) {
  ASSERT_OK(Import(client(), sequence_, "context"));
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "context"));
  client::AttendStream stream = client().Attend();
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    SCOPED_TRACE(Name(dtype));
    pb::AttendItem item = sequence_.Ask(session, 0, 3);
    ASSERT_OK_AND_ASSIGN(*item.mutable_query(), InDType(item.query(), dtype));

    ASSERT_OK_AND_ASSIGN(const pb::AttendResult result, stream.AttendOne(item));

    EXPECT_TRUE(AnswersItem(sequence_, {900, 900}, item, result));
  }
}

TEST_F(AttendFormTest, ASessionWithoutContextGrowsFromNothing) {
  ASSERT_OK_AND_ASSIGN(const auto session,
                       OpenSession(client(), sequence_.model().name(), sequence_.tokens()));
  EXPECT_EQ(session.reused_tokens(), 0);
  client::AttendStream stream = client().Attend();
  size_t held = 0;
  for (const size_t count : {1U, 700U, 2U}) {
    pb::AttendItem item = sequence_.AskAndAppend(session.session_id(), 0, held, count);

    ASSERT_OK_AND_ASSIGN(const pb::AttendResult result, stream.AttendOne(item));

    // The whole of a long answer would take the oracle minutes; its ends show causality.
    if (count < 100) {
      EXPECT_TRUE(AnswersItem(sequence_, {held, 0}, item, result));
    }
    held += count;
  }
}

TEST_F(AttendFormTest, AQueryThatSeesNothingGetsZerosAndMinusInfinity) {
  ASSERT_OK_AND_ASSIGN(const auto session,
                       OpenSession(client(), sequence_.model().name(), sequence_.tokens()));
  client::AttendStream stream = client().Attend();
  const pb::AttendItem item = sequence_.Ask(session.session_id(), 0, 0);

  ASSERT_OK_AND_ASSIGN(const pb::AttendResult result, stream.AttendOne(item));

  EXPECT_TRUE(AnswersItem(sequence_, {0, 0}, item, result));
}

TEST_F(AttendFormTest, AnItemWithoutQueryOnlyAppends) {
  ASSERT_OK_AND_ASSIGN(const auto session,
                       OpenSession(client(), sequence_.model().name(), sequence_.tokens()));
  client::AttendStream stream = client().Attend();
  pb::AttendItem append = sequence_.AskAndAppend(session.session_id(), 0, 0, 300);
  append.clear_query();

  ASSERT_OK_AND_ASSIGN(const pb::AttendResult appended, stream.AttendOne(append));
  const pb::AttendItem item = sequence_.Ask(session.session_id(), 0, 300);
  ASSERT_OK_AND_ASSIGN(const pb::AttendResult result, stream.AttendOne(item));

  EXPECT_FALSE(appended.has_output() && !appended.output().data().empty());
  EXPECT_TRUE(AnswersItem(sequence_, {300, 0}, item, result));
}

TEST_F(AttendFormTest, AReuseLimitHidesTheRestOfTheContext) {
  ASSERT_OK(Import(client(), sequence_, "context"));
  pb::CreateSessionRequest request;
  request.set_context_id("context");
  request.set_reuse_limit(333);
  ASSERT_OK_AND_ASSIGN(const auto session, client().CreateSession(request));
  EXPECT_EQ(session.reused_tokens(), 333);
  client::AttendStream stream = client().Attend();
  for (const bool full : {true, false}) {
    pb::AttendItem item = sequence_.Ask(session.session_id(), 1, 333);
    if (full) item.mutable_options()->mutable_full();
    item.mutable_options()->mutable_window()->set_recent(8);

    ASSERT_OK_AND_ASSIGN(const pb::AttendResult result, stream.AttendOne(item));

    EXPECT_TRUE(AnswersItem(sequence_, {333, 333}, item, result));
  }
}

TEST_F(AttendFormTest, ExplainCountsWhatWasAttended) {
  ASSERT_OK(Import(client(), sequence_, "context"));
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "context"));
  client::AttendStream stream = client().Attend();
  pb::AttendItem item = sequence_.Ask(session, 0, 4, /*count=*/3);
  item.mutable_options()->set_explain(true);
  item.mutable_options()->mutable_top_k()->set_k(20);
  item.mutable_options()->mutable_window();

  ASSERT_OK_AND_ASSIGN(const pb::AttendResult result, stream.AttendOne(item));

  const pb::AttendStats& stats = result.stats();
  ASSERT_EQ(stats.head_tokens_attended_size(), 3 * 32);
  for (const uint64_t count : stats.head_tokens_attended()) EXPECT_EQ(count, 20);
  EXPECT_EQ(stats.tokens_attended(), 3 * 32 * 20);
  EXPECT_GE(stats.tokens_scored(), stats.tokens_attended());
  ASSERT_EQ(stats.head_covered_mass_size(), 3 * 32);
  for (const float mass : stats.head_covered_mass()) {
    EXPECT_GT(mass, 0);
    EXPECT_LE(mass, 1.0001);
  }
  ASSERT_EQ(stats.plans_size(), 1);
  EXPECT_EQ(stats.plans(0).token_begin(), 0);
  EXPECT_EQ(stats.plans(0).token_count(), 900);
  EXPECT_NE(stats.plans(0).index(), pb::INDEX_KIND_UNSPECIFIED);
  EXPECT_GT(stats.engine_microseconds(), 0);
  EXPECT_GE(stats.engine_microseconds(), stats.queue_microseconds());
}

}  // namespace
}  // namespace alaya
