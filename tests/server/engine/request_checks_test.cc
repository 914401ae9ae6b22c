#include "server/engine/request_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace alaya {
namespace {

using testing::HasSubstr;

Model Llama() {
  return {.name = "meta-llama/Llama-3.1-8B",
          .num_layers = 32,
          .num_query_heads = 32,
          .num_kv_heads = 8,
          .head_dim = 128,
          .dtype = DType::kBF16};
}

struct ModelCase {
  const char* name;
  void (*spoil)(Model*);
  const char* message;  // null: the model is fine
};

class CheckModelTest : public testing::TestWithParam<ModelCase> {};

TEST_P(CheckModelTest, AcceptsOrNamesWhatIsWrong) {
  Model model = Llama();
  GetParam().spoil(&model);

  const Status status = CheckModel(model);

  if (GetParam().message == nullptr) {
    EXPECT_TRUE(status.ok()) << Message(status);
    return;
  }
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(status)), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Models, CheckModelTest,
    testing::Values(
        ModelCase{"Good", [](Model*) {}, nullptr},
        ModelCase{"LongestName", [](Model* m) { m->name = std::string(128, 'a'); }, nullptr},
        ModelCase{"SmallestShape", [](Model* m) { *m = {"m", 1, 1, 1, 8, DType::kF32}; }, nullptr},
        ModelCase{"LargestShape", [](Model* m) { *m = {"m", 1024, 1024, 1024, 1024, DType::kF16}; },
                  nullptr},
        ModelCase{"NoName", [](Model* m) { m->name.clear(); }, "1 to 128"},
        ModelCase{"LongName", [](Model* m) { m->name = std::string(129, 'a'); },
                  "has 129 characters"},
        ModelCase{"SpaceInName", [](Model* m) { m->name = "a b"; }, "'a b' has a character"},
        ModelCase{"NoLayers", [](Model* m) { m->num_layers = 0; }, "num_layers 0: must be 1"},
        ModelCase{"ManyLayers", [](Model* m) { m->num_layers = 1025; }, "num_layers 1025"},
        ModelCase{"NoQueryHeads", [](Model* m) { m->num_query_heads = 0; }, "num_query_heads 0"},
        ModelCase{"NoKvHeads", [](Model* m) { m->num_kv_heads = 0; }, "num_kv_heads 0"},
        ModelCase{"UnevenGroups", [](Model* m) { m->num_kv_heads = 5; },
                  "num_query_heads 32: must be a multiple of num_kv_heads 5"},
        ModelCase{"MoreKvHeads", [](Model* m) { m->num_kv_heads = 64; }, "must be a multiple"},
        ModelCase{"TinyHead", [](Model* m) { m->head_dim = 0; }, "head_dim 0: must be 8 to 1024"},
        ModelCase{"HugeHead", [](Model* m) { m->head_dim = 1032; }, "head_dim 1032"},
        ModelCase{"OddHead", [](Model* m) { m->head_dim = 100; }, "multiple of 8"},
        ModelCase{"UnknownType", [](Model* m) { m->dtype = static_cast<DType>(9); },
                  "dtype 9 is unknown"}),
    [](const auto& model_case) { return model_case.param.name; });

TEST(CheckContextIdTest, TakesLettersDigitsAndThreeMarks) {
  EXPECT_TRUE(CheckContextId("a").ok());
  EXPECT_TRUE(CheckContextId("Chat-1_v2.0").ok());
  EXPECT_TRUE(CheckContextId(std::string(128, 'x')).ok());
  for (const std::string& id : {std::string(), std::string(129, 'x'), std::string("a/b"),
                                std::string("a\n"), std::string("\xc3\xa4")}) {
    EXPECT_EQ(CheckContextId(id).code(), StatusCode::kInvalidArgument) << id;
  }
}

TEST(CheckContextIdTest, MessagesHoldOnlyPrintableCharacters) {
  const Status status = CheckContextId("a\n\x01");

  EXPECT_THAT(std::string(Message(status)), HasSubstr("'a\?\?'"));
}

TEST(CheckLabelsTest, LimitsCountAndSizes) {
  Labels labels;
  for (int i = 0; i < 64; ++i) labels["key" + std::to_string(i)] = std::string(255, 'v');
  EXPECT_TRUE(CheckLabels(labels).ok());

  labels["one-more"] = "";
  EXPECT_THAT(std::string(Message(CheckLabels(labels))), HasSubstr("65 labels, at most 64"));
  EXPECT_FALSE(CheckLabels({{"", "v"}}).ok());
  EXPECT_FALSE(CheckLabels({{std::string(64, 'k'), "v"}}).ok());
  EXPECT_FALSE(CheckLabels({{"bad key", "v"}}).ok());
  EXPECT_THAT(std::string(Message(CheckLabels({{"k", std::string(256, 'v')}}))),
              HasSubstr("value of label 'k' has 256 bytes"));
}

TEST(CheckTimeToLiveTest, MustBePositive) {
  EXPECT_TRUE(CheckTimeToLive({}).ok());
  EXPECT_TRUE(CheckTimeToLive(std::chrono::milliseconds(1)).ok());
  EXPECT_FALSE(CheckTimeToLive(std::chrono::milliseconds(0)).ok());
  EXPECT_FALSE(CheckTimeToLive(std::chrono::milliseconds(-5)).ok());
}

TEST(CheckContextTokensTest, TakesOneToTheLimit) {
  EXPECT_TRUE(CheckContextTokens(1, 10).ok());
  EXPECT_TRUE(CheckContextTokens(10, 10).ok());
  EXPECT_FALSE(CheckContextTokens(0, 10).ok());
  EXPECT_THAT(std::string(Message(CheckContextTokens(11, 10))),
              HasSubstr("11 tokens, max_context_tokens is 10"));
}

TEST(CheckTokenRangeTest, MayBeEmptyButNotReversed) {
  EXPECT_TRUE(CheckTokenRange({}).ok());
  EXPECT_TRUE(CheckTokenRange(TokenRange{5, 5}).ok());
  EXPECT_FALSE(CheckTokenRange(TokenRange{5, 4}).ok());
}

}  // namespace
}  // namespace alaya
