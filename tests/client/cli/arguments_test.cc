#include "client/cli/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/tensor.h"
#include "tests/client/test_files.h"

namespace alaya::client {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::Pair;

TEST(DurationTest, ReadsUnitsAndSums) {
  EXPECT_EQ(*ParseDuration("0"), milliseconds(0));
  EXPECT_EQ(*ParseDuration("500ms"), milliseconds(500));
  EXPECT_EQ(*ParseDuration("90s"), milliseconds(90'000));
  EXPECT_EQ(*ParseDuration("1h30m"), milliseconds(5'400'000));
  EXPECT_EQ(*ParseDuration("2d"), milliseconds(172'800'000));
}

TEST(DurationTest, RefusesWhatIsNone) {
  for (const char* text : {"", "5", "s", "-5s", "5 s", "5x", "1h-3m", "1.5h", "99999999999999999d",
                           "9223372036854775807s", "99999999999999999999s"}) {
    EXPECT_EQ(ParseDuration(text).status().code(), StatusCode::kInvalidArgument) << text;
  }
}

TEST(DurationTest, BecomesSecondsAndNanoseconds) {
  const auto proto = ToProto(milliseconds(1500));

  EXPECT_EQ(proto.seconds(), 1);
  EXPECT_EQ(proto.nanos(), 500'000'000);
}

TEST(LabelsTest, AreSplitAtTheFirstEqualsSign) {
  EXPECT_THAT(*ParseLabels({"a=1", "b=x=y", "c="}),
              ElementsAre(Pair("a", "1"), Pair("b", "x=y"), Pair("c", "")));
  EXPECT_FALSE(ParseLabels({"a"}).ok());
  EXPECT_FALSE(ParseLabels({"=1"}).ok());
}

TEST(TokenRangeTest, EitherSideMayBeLeftOut) {
  EXPECT_EQ(ParseTokenRange("10:20")->begin(), 10U);
  EXPECT_EQ(ParseTokenRange("10:20")->end(), 20U);
  EXPECT_EQ(ParseTokenRange(":20")->begin(), 0U);
  EXPECT_EQ(ParseTokenRange("10:")->end(), 0U);
  for (const char* text : {"", "10", "a:b", "1:2:3", "-1:2", "1 :2", "20:10"}) {
    EXPECT_FALSE(ParseTokenRange(text).ok()) << text;
  }
}

TEST(AttentionArgumentsTest, TargetsCarryTheirParameter) {
  AttentionArguments arguments;
  arguments.target = "top_k";
  arguments.k = 7;
  arguments.recent = 64;

  const auto options = arguments.ToProto();

  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->top_k().k(), 7U);
  EXPECT_EQ(options->window().sink(), 128U);
  EXPECT_EQ(options->window().recent(), 64U);
}

TEST(AttentionArgumentsTest, WithoutATargetThePlannerChooses) {
  const auto options = AttentionArguments().ToProto();

  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->target_case(), pb::AttendOptions::TARGET_NOT_SET);
  EXPECT_FALSE(options->has_window());
}

TEST(AttentionArgumentsTest, AParameterOfAnotherTargetIsRefused) {
  AttentionArguments arguments;
  arguments.target = "full";
  arguments.alpha = 0.1;

  EXPECT_EQ(arguments.ToProto().status().code(), StatusCode::kInvalidArgument);
}

class QueryArgumentsTest : public testing::Test {
 protected:
  QueryArgumentsTest() {
    model_.set_num_query_heads(2);
    model_.set_head_dim(8);
  }

  pb::Model model_;
  TemporaryDirectory directory_;
};

TEST_F(QueryArgumentsTest, RandomQueriesHaveTheModelsShapeAndFollowTheSeed) {
  QueryArguments arguments;
  arguments.random_count = 3;

  const auto first = arguments.Load(model_);
  const auto again = arguments.Load(model_);
  arguments.seed = 2;
  const auto other = arguments.Load(model_);

  ASSERT_TRUE(first.ok());
  EXPECT_THAT(first->shape(), ElementsAre(3, 2, 8));
  EXPECT_EQ(first->data(), again->data());
  EXPECT_NE(first->data(), other->data());
}

TEST_F(QueryArgumentsTest, QueriesComeFromFiles) {
  const std::vector<float> elements(16, 0.5F);
  const std::string array = Npy("<f4", "(1, 2, 8)", BytesOf(elements));
  QueryArguments arguments;

  arguments.file = directory_.Write("q.npy", array);
  EXPECT_EQ(*ToFloats(*arguments.Load(model_)), elements);

  arguments.file = directory_.WriteZip("q.npz", {{"mine.npy", array}}, /*deflated=*/true);
  EXPECT_EQ(arguments.Load(model_).status().code(), StatusCode::kNotFound);
  arguments.array = "mine";
  EXPECT_EQ(*ToFloats(*arguments.Load(model_)), elements);
}

TEST_F(QueryArgumentsTest, IntegersAndFlatArraysAreNoQueries) {
  QueryArguments arguments;
  arguments.file = directory_.Write("i.npy", Npy("<i4", "(1, 2, 8)", std::string(64, '\0')));
  EXPECT_EQ(arguments.Load(model_).status().code(), StatusCode::kInvalidArgument);
  arguments.file = directory_.Write("f.npy", Npy("<f4", "(16,)", std::string(64, '\0')));
  EXPECT_EQ(arguments.Load(model_).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace alaya::client
