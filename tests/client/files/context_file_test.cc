#include "client/files/context_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/test_files.h"

namespace alaya::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using Entries = std::map<std::string, std::string>;

// Two layers of 3 tokens, 2 kv heads, head_dim 4, float16.
Entries GoodEntries() {
  const std::string data(size_t{3} * 2 * 4 * 2, 'h');
  return {{"key_0.npy", Npy("<f2", "(3, 2, 4)", data)},
          {"value_0.npy", Npy("<f2", "(3, 2, 4)", data)},
          {"key_1.npy", Npy("<f2", "(3, 2, 4)", data)},
          {"value_1.npy", Npy("<f2", "(3, 2, 4)", data)},
          {"tokens.npy", Npy("<i8", "(3,)", BytesOf(std::vector<int64_t>{5, 6, 4294967295}))}};
}

class ContextFileTest : public testing::Test {
 protected:
  StatusOr<ContextFile> Open(const Entries& entries) {
    return ContextFile::Open(directory_.WriteZip("context.npz", entries, /*deflated=*/true));
  }

  TemporaryDirectory directory_;
};

TEST_F(ContextFileTest, TheShapeFollowsFromTheArrays) {
  const auto file = Open(GoodEntries());

  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->num_layers(), 2U);
  EXPECT_EQ(file->num_kv_heads(), 2U);
  EXPECT_EQ(file->head_dim(), 4U);
  EXPECT_EQ(file->dtype(), DType::kF16);
  EXPECT_THAT(file->tokens(), ElementsAre(5U, 6U, 4294967295U));
}

TEST_F(ContextFileTest, LayersOpenWithTheirQueries) {
  Entries entries = GoodEntries();
  entries["query_1.npy"] = Npy("<f4", "(1, 4, 4)", std::string(64, 'q'));
  const auto file = Open(entries);
  ASSERT_TRUE(file.ok()) << file.status();

  const auto first = file->OpenLayer(0);
  const auto second = file->OpenLayer(1);

  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_FALSE(first->queries.has_value());
  ASSERT_TRUE(second->queries.has_value());
  EXPECT_EQ(second->queries->count, 1U);
  EXPECT_EQ(second->queries->num_query_heads, 4U);
  EXPECT_EQ(second->queries->dtype, DType::kF32);
}

TEST_F(ContextFileTest, UnsignedSixteenBitsAreBFloat16) {
  const std::string data(2 * 4 * 2, 'b');

  const auto file = Open({{"key_0.npy", Npy("<u2", "(1, 2, 4)", data)},
                          {"value_0.npy", Npy("<u2", "(1, 2, 4)", data)},
                          {"tokens.npy", Npy("<u4", "(1,)", std::string(4, '\x01'))}});

  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->dtype(), DType::kBF16);
}

TEST_F(ContextFileTest, SafetensorsNamesHaveDots) {
  const std::string header =
      R"({"layers.0.key":{"dtype":"BF16","shape":[1,1,8],"data_offsets":[0,16]},)"
      R"("layers.0.value":{"dtype":"BF16","shape":[1,1,8],"data_offsets":[16,32]},)"
      R"("tokens":{"dtype":"I64","shape":[1],"data_offsets":[32,40]}})";
  const std::string path = directory_.Write(
      "context.safetensors",
      Safetensors(header, std::string(32, 'k') + BytesOf(std::vector<int64_t>{9})));

  const auto file = ContextFile::Open(path);

  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->dtype(), DType::kBF16);
  EXPECT_THAT(file->tokens(), ElementsAre(9U));
  const auto layer = file->OpenLayer(0);
  ASSERT_TRUE(layer.ok());
  std::vector<std::byte> value(16);
  EXPECT_TRUE(layer->values->Read(value).ok());
}

struct BadContext {
  const char* name;
  const char* entry;
  std::string content;  // empty: the entry is missing
  const char* message;
};

class BadContextTest : public ContextFileTest, public testing::WithParamInterface<BadContext> {};

TEST_P(BadContextTest, IsRefusedWithTheReason) {
  Entries entries = GoodEntries();
  if (GetParam().content.empty()) {
    entries.erase(GetParam().entry);
  } else {
    entries[GetParam().entry] = GetParam().content;
  }

  const auto file = Open(entries);

  EXPECT_EQ(file.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(file.status())), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Contexts, BadContextTest,
    testing::Values(BadContext{"NoTokens", "tokens.npy", "", "'tokens'"},
                    BadContext{"NoKeys", "key_0.npy", "", "'key_0'"},
                    BadContext{"NoValues", "value_1.npy", "", "'value_1'"},
                    BadContext{"AGapInTheLayers", "key_3.npy",
                               Npy("<f2", "(3, 2, 4)", std::string(48, 'h')), "'key_2'"},
                    BadContext{"TokensOfTwoDimensions", "tokens.npy",
                               Npy("<i4", "(3, 1)", std::string(12, '\0')), "one dimension"},
                    BadContext{"ZeroTokens", "tokens.npy", Npy("<i4", "(0,)", ""), "at least 1"},
                    BadContext{"NegativeToken", "tokens.npy",
                               Npy("<i4", "(3,)", BytesOf(std::vector<int32_t>{1, -2, 3})),
                               "element 1"},
                    BadContext{"TokenTooLarge", "tokens.npy",
                               Npy("<i8", "(3,)", BytesOf(std::vector<int64_t>{1, 2, 4294967296})),
                               "element 2"},
                    BadContext{"FractionalTokens", "tokens.npy",
                               Npy("<f4", "(3,)", BytesOf(std::vector<float>{1, 2, 3})),
                               "element 0"},
                    BadContext{"OtherTokenCount", "tokens.npy",
                               Npy("<i4", "(2,)", std::string(8, '\0')), "[2,Hkv,D]"},
                    BadContext{"IntegerKeys", "key_0.npy",
                               Npy("<i2", "(3, 2, 4)", std::string(48, '\0')), "f32, f16 or bf16"},
                    BadContext{"LayersOfTwoShapes", "value_1.npy",
                               Npy("<f2", "(3, 4, 2)", std::string(48, 'h')), "differs"},
                    BadContext{"LayersOfTwoTypes", "key_1.npy",
                               Npy("<f4", "(3, 2, 4)", std::string(96, 'h')), "differs"},
                    BadContext{"QueriesOfOtherDimension", "query_0.npy",
                               Npy("<f2", "(1, 4, 8)", std::string(64, 'q')), "[T,Hq,4]"}),
    [](const auto& value) { return value.param.name; });

}  // namespace
}  // namespace alaya::client
