// Malformed requests of ContextService and AdminService.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>

#include "server/rpc/convert_admin_service.h"
#include "server/rpc/convert_context_service.h"

namespace alaya {
namespace {

using testing::HasSubstr;

constexpr auto kInvalid = StatusCode::kInvalidArgument;
constexpr RequestLimits kLimits{.engine = {.max_context_tokens = 10, .max_queries_per_item = 4}};

void FillTensor(int64_t tokens, v1::Tensor* tensor) {
  tensor->set_dtype(v1::DTYPE_F32);
  for (const int64_t dimension : {tokens, int64_t{2}, int64_t{8}}) tensor->add_shape(dimension);
  tensor->set_data(std::string(static_cast<size_t>(tokens) * 2 * 8 * 4, 'x'));
}

template <typename Result>
void ExpectError(const StatusOr<Result>& result, StatusCode code, const std::string& message_part) {
  EXPECT_EQ(result.status().code(), code);
  EXPECT_THAT(std::string(Message(result.status())), HasSubstr(message_part));
}

template <typename Message>
struct Bad {
  const char* name;
  std::function<void(Message*)> spoil;
  StatusCode code;
  const char* message_part;
};
template <typename Message>
std::string CaseName(const testing::TestParamInfo<Bad<Message>>& test) {
  return test.param.name;
}

using Header = v1::ImportContextRequest::Header;
class BadHeaderTest : public testing::TestWithParam<Bad<Header>> {};

TEST(HeaderTest, WishedIndexKindsAreTakenOverOnceEach) {
  Header header;
  header.set_model("m");
  header.add_tokens(1);
  EXPECT_TRUE(FromProto(header, "default", kLimits)->index_kinds.empty());
  for (const auto kind : {v1::INDEX_KIND_FINE, v1::INDEX_KIND_FLAT, v1::INDEX_KIND_FINE}) {
    header.mutable_index_options()->add_kinds(kind);
  }

  EXPECT_EQ(FromProto(header, "default", kLimits)->index_kinds,
            (std::vector<IndexKind>{IndexKind::kFlat, IndexKind::kFine}));
}

TEST_P(BadHeaderTest, IsRefused) {
  Header header;
  header.set_model("org/model-1.0");
  header.add_tokens(1);
  header.set_context_id("c");
  (*header.mutable_labels())["team/a"] = "x";
  header.mutable_ttl()->set_nanos(1);
  const auto good = FromProto(header, "default", kLimits);
  ASSERT_TRUE(good.ok()) << good.status();
  EXPECT_EQ(good->ttl, std::chrono::milliseconds(1));
  GetParam().spoil(&header);

  ExpectError(FromProto(header, "default", kLimits), GetParam().code, GetParam().message_part);
}

INSTANTIATE_TEST_SUITE_P(
    Headers, BadHeaderTest,
    testing::Values(
        Bad<Header>{"NoModel", [](Header* h) { h->clear_model(); }, kInvalid, "header.model: ''"},
        Bad<Header>{"NoTokens", [](Header* h) { h->clear_tokens(); }, kInvalid,
                    "header.tokens: 0 tokens, the least is 1"},
        Bad<Header>{"TooManyTokens",
                    [](Header* h) {
                      for (int i = 0; i < 10; ++i) h->add_tokens(1);
                    },
                    StatusCode::kResourceExhausted, "11 tokens, max_context_tokens is 10"},
        Bad<Header>{"EmptyId", [](Header* h) { h->set_context_id(""); }, kInvalid,
                    "header.context_id"},
        Bad<Header>{"IdWithSlash", [](Header* h) { h->set_context_id("a/b"); }, kInvalid, "'a/b'"},
        Bad<Header>{"ManyLabels",
                    [](Header* h) {
                      for (int i = 0; i < 64; ++i) (*h->mutable_labels())[std::to_string(i)] = "";
                    },
                    kInvalid, "65 labels, the most is 64"},
        Bad<Header>{"EmptyLabelKey", [](Header* h) { (*h->mutable_labels())[""] = ""; }, kInvalid,
                    "header.labels: key ''"},
        Bad<Header>{"LongLabelKey",
                    [](Header* h) { (*h->mutable_labels())[std::string(64, 'k')] = ""; }, kInvalid,
                    "1 to 63 characters"},
        Bad<Header>{"LongLabelValue",
                    [](Header* h) { (*h->mutable_labels())["k"] = std::string(256, 'v'); },
                    kInvalid, "has 256 bytes, the most is 255"},
        Bad<Header>{"ZeroTtl", [](Header* h) { h->mutable_ttl()->Clear(); }, kInvalid,
                    "header.ttl: 0"},
        Bad<Header>{"NegativeTtl", [](Header* h) { h->mutable_ttl()->set_seconds(-1); }, kInvalid,
                    "header.ttl: -1 s"},
        Bad<Header>{"HugeTtl", [](Header* h) { h->mutable_ttl()->set_seconds(INT64_MAX); },
                    kInvalid, "header.ttl"},
        Bad<Header>{"BadNanoseconds", [](Header* h) { h->mutable_ttl()->set_nanos(1'000'000'000); },
                    kInvalid, "1000000000 ns"},
        Bad<Header>{"UnknownIndexKind",
                    [](Header* h) {
                      h->mutable_index_options()->add_kinds(static_cast<v1::IndexKind>(99));
                    },
                    kInvalid, "99 is no IndexKind"},
        Bad<Header>{
            "UnspecifiedIndexKind",
            [](Header* h) { h->mutable_index_options()->add_kinds(v1::INDEX_KIND_UNSPECIFIED); },
            kInvalid, "0 is no IndexKind"}),
    CaseName<Header>);

using Chunk = v1::ImportContextRequest::Chunk;
class BadChunkTest : public testing::TestWithParam<Bad<Chunk>> {};

TEST_P(BadChunkTest, IsRefused) {
  Chunk chunk;
  chunk.set_token_begin(2);
  FillTensor(3, chunk.mutable_key());
  FillTensor(3, chunk.mutable_value());
  ASSERT_TRUE(FromProto(chunk, kLimits).ok());
  GetParam().spoil(&chunk);

  ExpectError(FromProto(chunk, kLimits), GetParam().code, GetParam().message_part);
}

INSTANTIATE_TEST_SUITE_P(
    Chunks, BadChunkTest,
    testing::Values(
        Bad<Chunk>{"NoKey", [](Chunk* c) { c->clear_key(); }, kInvalid, "chunk.key: dtype 0"},
        Bad<Chunk>{"NoValue", [](Chunk* c) { c->clear_value(); }, kInvalid, "chunk.value: dtype 0"},
        Bad<Chunk>{"OtherShape",
                   [](Chunk* c) {
                     c->clear_value();
                     FillTensor(2, c->mutable_value());
                   },
                   kInvalid, "chunk.value: shape [2,2,8], chunk.key has shape [3,2,8]"},
        Bad<Chunk>{"PastTheLimit", [](Chunk* c) { c->set_token_begin(8); }, kInvalid,
                   "8 and 3 tokens pass max_context_tokens 10"},
        Bad<Chunk>{"BeginThatOverflows", [](Chunk* c) { c->set_token_begin(UINT64_MAX); }, kInvalid,
                   "chunk.token_begin"},
        Bad<Chunk>{"EmptyQuery", [](Chunk* c) { c->mutable_query(); }, kInvalid,
                   "chunk.query: dtype 0"}),
    CaseName<Chunk>);

class BadModelTest : public testing::TestWithParam<Bad<v1::Model>> {};

TEST_P(BadModelTest, IsRefused) {
  v1::RegisterModelRequest request;
  v1::Model* model = request.mutable_model();
  model->set_name("m");
  model->set_num_layers(2);
  model->set_num_query_heads(8);
  model->set_num_kv_heads(2);
  model->set_head_dim(128);
  model->set_dtype(v1::DTYPE_F16);
  ASSERT_TRUE(FromProto(request).ok());
  GetParam().spoil(model);

  ExpectError(FromProto(request), GetParam().code, GetParam().message_part);
}

using ModelCase = Bad<v1::Model>;
INSTANTIATE_TEST_SUITE_P(
    Models, BadModelTest,
    testing::Values(
        ModelCase{"NoName", [](v1::Model* m) { m->clear_name(); }, kInvalid, "model.name: ''"},
        ModelCase{"NoLayers", [](v1::Model* m) { m->set_num_layers(0); }, kInvalid,
                  "model: num_layers 0: must be 1 to 1024"},
        ModelCase{"ManyLayers", [](v1::Model* m) { m->set_num_layers(1025); }, kInvalid, "1025"},
        ModelCase{"NoQueryHeads", [](v1::Model* m) { m->set_num_query_heads(0); }, kInvalid,
                  "model: num_query_heads 0"},
        ModelCase{"NoKvHeads", [](v1::Model* m) { m->set_num_kv_heads(0); }, kInvalid,
                  "model: num_kv_heads 0"},
        ModelCase{"NoMultiple", [](v1::Model* m) { m->set_num_kv_heads(3); }, kInvalid,
                  "num_query_heads 8: must be a multiple of num_kv_heads 3"},
        ModelCase{"OddHeadDim", [](v1::Model* m) { m->set_head_dim(100); }, kInvalid,
                  "head_dim 100"},
        ModelCase{"LargeHeadDim", [](v1::Model* m) { m->set_head_dim(1032); }, kInvalid, "1032"},
        ModelCase{"NoDtype", [](v1::Model* m) { m->clear_dtype(); }, kInvalid,
                  "model.dtype: dtype 0"}),
    CaseName<v1::Model>);

TEST(SearchFromProtoTest, NeedsATargetAndAQueryInTheLimit) {
  v1::SearchContextRequest request;
  request.set_context_id("c");
  FillTensor(4, request.mutable_query());
  ExpectError(FromProto(request, "default", kLimits), kInvalid, "one of dipr and top_k");
  request.mutable_top_k()->set_k(3);
  EXPECT_TRUE(FromProto(request, "default", kLimits).ok());
  request.set_scale(-1);
  ExpectError(FromProto(request, "default", kLimits), kInvalid, "scale: -1");
  request.clear_scale();
  request.clear_query();
  FillTensor(5, request.mutable_query());
  ExpectError(FromProto(request, "default", kLimits), StatusCode::kResourceExhausted,
              "5 queries, max_queries_per_item is 4");
}

TEST(CreateBackupFromProtoTest, TakesAbsolutePathsOnly) {
  v1::CreateBackupRequest request;
  for (const std::string& path : {std::string(), std::string("backup"), std::string("../up"),
                                  std::string("/a\0b", 4), "/" + std::string(5000, 'x')}) {
    request.set_directory(path);
    ExpectError(FromProto(request), kInvalid, "directory");
  }
  request.set_directory("/var/backups/alayadb");
  EXPECT_TRUE(FromProto(request).ok());
}

TEST(GetStatsToProtoTest, SaysWhoTakesHowMuch) {
  v1::GetStatsResponse response;

  ToProto(
      StoreUsage{.models = {{"m", 1, 2, 3, 4}}, .labels = {{"k", "v", 5, 6}}, .labels_left_out = 7},
      &response);

  ASSERT_EQ(response.model_usage_size(), 1);
  EXPECT_EQ(response.model_usage(0).model(), "m");
  EXPECT_EQ(response.model_usage(0).contexts(), 1U);
  EXPECT_EQ(response.model_usage(0).segments(), 2U);
  EXPECT_EQ(response.model_usage(0).stored_tokens(), 3U);
  EXPECT_EQ(response.model_usage(0).stored_bytes(), 4U);
  ASSERT_EQ(response.label_usage_size(), 1);
  EXPECT_EQ(response.label_usage(0).key(), "k");
  EXPECT_EQ(response.label_usage(0).value(), "v");
  EXPECT_EQ(response.label_usage(0).contexts(), 5U);
  EXPECT_EQ(response.label_usage(0).stored_bytes(), 6U);
  EXPECT_EQ(response.label_usage_left_out(), 7U);
}

TEST(SetLogLevelFromProtoTest, RefusesUnknownLevels) {
  v1::SetLogLevelRequest request;
  ExpectError(FromProto(request), kInvalid, "level: 0");
  request.set_level(static_cast<v1::LogLevel>(9));
  ExpectError(FromProto(request), kInvalid, "level: 9");
}

TEST(UpdateContextFromProtoTest, AZeroTtlRemovesTheExpiry) {
  v1::UpdateContextRequest request;
  request.set_context_id("c");
  EXPECT_FALSE(FromProto(request, "default")->ttl);
  request.mutable_ttl();
  EXPECT_EQ(FromProto(request, "default")->ttl, std::chrono::milliseconds(0));
}

}  // namespace
}  // namespace alaya
