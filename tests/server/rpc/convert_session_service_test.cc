#include "server/rpc/convert_session_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace alaya {
namespace {

using testing::HasSubstr;

constexpr RequestLimits kLimits{.engine = {.max_context_tokens = 100, .max_queries_per_item = 16},
                                .max_items_per_request = 4};

void FillTensor(int64_t tokens, int64_t heads, v1::Tensor* tensor) {
  tensor->set_dtype(v1::DTYPE_BF16);
  for (const int64_t dimension : {tokens, heads, int64_t{8}}) tensor->add_shape(dimension);
  tensor->set_data(std::string(static_cast<size_t>(tokens * heads) * 8 * 2, 'x'));
}

v1::AttendItem GoodItem() {
  v1::AttendItem item;
  item.set_session_id("session-1");
  item.set_layer(3);
  FillTensor(2, 4, item.mutable_query());
  FillTensor(2, 1, item.mutable_key());
  FillTensor(2, 1, item.mutable_value());
  return item;
}

struct BadItem {
  const char* name;
  std::function<void(v1::AttendItem*)> spoil;
  StatusCode code;
  const char* message_part;
};

class BadItemTest : public testing::TestWithParam<BadItem> {};

TEST_P(BadItemTest, IsRefusedWithAMessageThatNamesTheField) {
  v1::AttendItem item = GoodItem();
  GetParam().spoil(&item);

  const StatusOr<AttendItem> result = FromProto(item, 5, "default", kLimits);

  EXPECT_EQ(result.status().code(), GetParam().code);
  EXPECT_THAT(std::string(Message(result.status())), HasSubstr(GetParam().message_part));
}

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr auto kInvalid = StatusCode::kInvalidArgument;
using Item = v1::AttendItem;

INSTANTIATE_TEST_SUITE_P(
    Items, BadItemTest,
    testing::Values(
        BadItem{"NoSession", [](Item* i) { i->clear_session_id(); }, kInvalid,
                "items[5].session_id: ''"},
        BadItem{"SessionWithSlash", [](Item* i) { i->set_session_id("a/b"); }, kInvalid, "'a/b'"},
        BadItem{"LongSession", [](Item* i) { i->set_session_id(std::string(129, 'x')); }, kInvalid,
                "of 129 bytes"},
        BadItem{"NoTensors",
                [](Item* i) {
                  i->clear_query();
                  i->clear_key();
                  i->clear_value();
                },
                kInvalid, "an item needs a query"},
        BadItem{"KeyAlone", [](Item* i) { i->clear_value(); }, kInvalid,
                "items[5].value: key and value must be given together"},
        BadItem{"ValueAlone", [](Item* i) { i->clear_key(); }, kInvalid, "items[5].key: key and"},
        BadItem{"NoDtype", [](Item* i) { i->mutable_query()->clear_dtype(); }, kInvalid,
                "items[5].query: dtype 0"},
        BadItem{"UnknownDtype",
                [](Item* i) { i->mutable_key()->set_dtype(static_cast<v1::DType>(77)); }, kInvalid,
                "items[5].key: dtype 77"},
        BadItem{"NoShape", [](Item* i) { i->mutable_query()->clear_shape(); }, kInvalid,
                "shape [] has 0 dimensions"},
        BadItem{"FourDimensions", [](Item* i) { i->mutable_query()->add_shape(1); }, kInvalid,
                "shape [2,4,8,1] has 4 dimensions"},
        BadItem{"ManyDimensions",
                [](Item* i) {
                  for (int d = 0; d < 1000; ++d) i->mutable_query()->add_shape(1);
                },
                kInvalid, "...] has 1003 dimensions"},
        BadItem{"ZeroTokens", [](Item* i) { i->mutable_query()->set_shape(0, 0); }, kInvalid,
                "every dimension must be at least 1"},
        BadItem{"NegativeHeads", [](Item* i) { i->mutable_query()->set_shape(1, -4); }, kInvalid,
                "shape [2,-4,8]"},
        BadItem{"OverflowingShape",
                [](Item* i) {
                  i->mutable_query()->set_shape(0, int64_t{1} << 62);
                  i->mutable_query()->set_shape(1, int64_t{1} << 62);
                },
                kInvalid, "larger than any message"},
        BadItem{"ProductThatWrapsToTheRightLength",
                [](Item* i) {
                  i->mutable_query()->set_shape(0, int64_t{1} << 62);
                  i->mutable_query()->set_shape(1, 4);
                  i->mutable_query()->set_shape(2, 1);
                  i->mutable_query()->clear_data();
                },
                kInvalid, "larger than any message"},
        BadItem{"TruncatedData", [](Item* i) { i->mutable_value()->mutable_data()->pop_back(); },
                kInvalid, "items[5].value: data has 31 bytes, shape [2,1,8] of bf16 takes 32"},
        BadItem{"ExtraData", [](Item* i) { i->mutable_query()->mutable_data()->push_back('x'); },
                kInvalid, "data has 129 bytes"},
        BadItem{"KeyOfOtherDtypeThanValue",
                [](Item* i) { i->mutable_value()->set_dtype(v1::DTYPE_F16); }, kInvalid,
                "items[5].value: dtype f16, items[5].key has bf16"},
        BadItem{"KeyOfOtherShapeThanValue",
                [](Item* i) {
                  i->clear_value();
                  FillTensor(1, 2, i->mutable_value());
                },
                kInvalid, "shape [1,2,8], items[5].key has shape [2,1,8]"},
        BadItem{"FewerKeysThanQueries",
                [](Item* i) {
                  for (v1::Tensor* tensor : {i->mutable_key(), i->mutable_value()}) {
                    tensor->Clear();
                    FillTensor(1, 1, tensor);
                  }
                },
                kInvalid, "items[5].key: 1 tokens, the query has 2"},
        BadItem{"TooManyQueries",
                [](Item* i) {
                  i->clear_key();
                  i->clear_value();
                  i->clear_query();
                  FillTensor(17, 1, i->mutable_query());
                },
                StatusCode::kResourceExhausted, "17 tokens, max_queries_per_item is 16"}),
    [](const auto& test) { return test.param.name; });

using Options = v1::AttendOptions;

struct BadOptions {
  const char* name;
  std::function<void(Options*)> spoil;
  const char* message_part;
};

class BadOptionsTest : public testing::TestWithParam<BadOptions> {};

TEST_P(BadOptionsTest, AreRefused) {
  v1::AttendItem item = GoodItem();
  GetParam().spoil(item.mutable_options());

  const Status status = FromProto(item, 0, "default", kLimits).status();

  EXPECT_EQ(status.code(), kInvalid);
  EXPECT_THAT(std::string(Message(status)), HasSubstr(GetParam().message_part));
}

INSTANTIATE_TEST_SUITE_P(
    Options, BadOptionsTest,
    testing::Values(
        BadOptions{"ZeroScale", [](Options* o) { o->set_scale(0); }, "items[0].options.scale"},
        BadOptions{"NegativeScale", [](Options* o) { o->set_scale(-1); }, "above 0"},
        BadOptions{"NanScale", [](Options* o) { o->set_scale(kNaN); }, "nan"},
        BadOptions{"InfiniteScale", [](Options* o) { o->set_scale(kInfinity); }, "inf"},
        BadOptions{"NegativeAlpha", [](Options* o) { o->mutable_dipr()->set_alpha(-0.1); },
                   "items[0].options.target: dipr.alpha"},
        BadOptions{"AlphaAboveOne", [](Options* o) { o->mutable_dipr()->set_alpha(1.5); },
                   "allowed is (0, 1]"},
        BadOptions{"NanAlpha", [](Options* o) { o->mutable_dipr()->set_alpha(kNaN); }, "nan"},
        BadOptions{"ZeroK", [](Options* o) { o->mutable_top_k(); }, "top_k.k 0"},
        BadOptions{"ZeroFraction", [](Options* o) { o->mutable_mass(); }, "mass.fraction 0"},
        BadOptions{"FractionAboveOne", [](Options* o) { o->mutable_mass()->set_fraction(2); },
                   "mass.fraction 2"},
        BadOptions{"NanFraction", [](Options* o) { o->mutable_mass()->set_fraction(kNaN); }, "nan"},
        BadOptions{"EmptyRange",
                   [](Options* o) {
                     o->mutable_token_range()->set_begin(5);
                     o->mutable_token_range()->set_end(5);
                   },
                   "items[0].options.token_range: [5, 5)"}),
    [](const auto& test) { return test.param.name; });

TEST(AttendItemFromProtoTest, ViewsTheRequestAndKeepsEveryField) {
  v1::AttendItem proto = GoodItem();
  proto.mutable_options()->set_scale(0.25);
  proto.mutable_options()->mutable_top_k()->set_k(9);
  proto.mutable_options()->mutable_window()->set_sink(0);
  proto.mutable_options()->mutable_token_range()->set_begin(7);
  proto.mutable_options()->set_tail_estimate(false);
  proto.mutable_options()->set_explain(true);

  const StatusOr<AttendItem> item = FromProto(proto, 0, "default", kLimits);

  ASSERT_TRUE(item.ok()) << item.status();
  EXPECT_EQ(item->tenant, "default");
  EXPECT_EQ(item->session_id, "session-1");
  EXPECT_EQ(item->layer, LayerIndex{3});
  EXPECT_EQ(static_cast<const void*>(item->query->data.data()),
            static_cast<const void*>(proto.query().data().data()));
  EXPECT_EQ(item->query->heads, 4U);
  EXPECT_EQ(item->key->dtype, DType::kBF16);
  EXPECT_EQ(item->options.scale, 0.25);
  EXPECT_EQ(std::get<TopKTarget>(*item->options.target).k, 9U);
  EXPECT_EQ(item->options.window.sink, 0U);
  EXPECT_EQ(item->options.window.recent, 0U);
  EXPECT_EQ(item->options.token_range->begin, 7U);
  EXPECT_EQ(item->options.token_range->end, std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(item->options.tail_estimate, false);
  EXPECT_TRUE(item->options.explain);
}

TEST(AttendItemFromProtoTest, UnsetOptionsLeaveTheChoiceToTheEngine) {
  const v1::AttendItem proto = GoodItem();

  const StatusOr<AttendItem> item = FromProto(proto, 0, "default", kLimits);

  ASSERT_TRUE(item.ok()) << item.status();
  EXPECT_FALSE(item->options.scale);
  EXPECT_FALSE(item->options.target);
  EXPECT_FALSE(item->options.token_range);
  EXPECT_FALSE(item->options.tail_estimate);
  EXPECT_EQ(item->options.window.sink, Window{}.sink);
  EXPECT_EQ(item->options.window.recent, Window{}.recent);
}

TEST(AttendItemFromProtoTest, AlphaZeroIsTheDefault) {
  v1::AttendItem proto = GoodItem();
  proto.mutable_options()->mutable_dipr();

  const StatusOr<AttendItem> item = FromProto(proto, 0, "default", kLimits);

  ASSERT_TRUE(item.ok()) << item.status();
  EXPECT_EQ(std::get<DiprTarget>(*item->options.target).alpha, DiprTarget{}.alpha);
}

TEST(CreateSessionFromProtoTest, TokensAndContextExcludeEachOther) {
  v1::CreateSessionRequest proto;
  proto.set_context_id("c");
  EXPECT_TRUE(FromProto(proto, "default", kLimits).ok());
  proto.add_tokens(1);
  EXPECT_EQ(FromProto(proto, "default", kLimits).status().code(), kInvalid);
  proto.clear_context_id();
  EXPECT_EQ(FromProto(proto, "default", kLimits).status().code(), kInvalid);  // no model
  proto.set_model("m");
  EXPECT_TRUE(FromProto(proto, "default", kLimits).ok());
  for (int i = 0; i < 100; ++i) proto.add_tokens(1);
  EXPECT_EQ(FromProto(proto, "default", kLimits).status().code(), StatusCode::kResourceExhausted);
}

TEST(AttendResultToProtoTest, AFailedItemHasOnlyItsStatus) {
  AttendResult result;
  result.status = NotFound("session 'x'");
  result.tokens = 1;
  v1::AttendResult proto;

  ToProto(result, &proto);

  EXPECT_EQ(proto.status().code(), static_cast<int>(StatusCode::kNotFound));
  EXPECT_EQ(proto.status().message(), "session 'x'");
  EXPECT_FALSE(proto.has_output());
  EXPECT_FALSE(proto.has_log_sum_exp());
  EXPECT_FALSE(proto.has_stats());
}

TEST(AttendResultToProtoTest, AnItemThatOnlyAppendsHasNoOutput) {
  v1::AttendResult proto;

  ToProto(AttendResult{}, &proto);

  EXPECT_EQ(proto.status().code(), 0);
  EXPECT_FALSE(proto.has_output());
  EXPECT_TRUE(proto.has_stats());
}

}  // namespace
}  // namespace alaya
