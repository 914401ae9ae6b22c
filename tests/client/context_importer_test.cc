#include "client/context_importer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/client_fixture.h"

namespace alaya::client {
namespace {

using testing::Each;
using testing::Le;

constexpr size_t kHeads = 2;
constexpr size_t kDim = 64;

class ImportTest : public ClientTest {
 protected:
  static pb::ImportContextRequest::Header Header() {
    pb::ImportContextRequest::Header header;
    header.set_model("m");
    header.set_context_id("c");
    header.add_tokens(1);
    return header;
  }
  // `tokens` tokens of distinct bytes.
  static std::string Data(size_t tokens, char offset) {
    std::string data(tokens * kHeads * kDim * sizeof(float), '\0');
    for (size_t i = 0; i < data.size(); ++i)
      data[i] = static_cast<char>((i * 31 + i / 256) ^ static_cast<size_t>(offset));
    return data;
  }
  static TensorView View(const std::string& data) {
    return {DType::kF32, data.size() / (kHeads * kDim * sizeof(float)), kHeads, kDim,
            AsBytes(data)};
  }
};

TEST_F(ImportTest, LongRunsAreSplitIntoMessagesAndArriveWhole) {
  const std::string keys = Data(3001, 'k');
  const std::string values = Data(3001, 'v');
  const std::string queries = Data(100, 'q');
  std::vector<uint64_t> progress;
  ContextImporterOptions options;
  options.message_bytes = 64 << 10;
  options.progress = [&progress](uint64_t bytes) { progress.push_back(bytes); };

  auto importer = Connect().ImportContext(Header(), options);
  ASSERT_TRUE(importer.ok()) << importer.status();
  ASSERT_TRUE(importer->AppendChunk({3, 10, View(keys), View(values), View(queries)}).ok());
  const auto response = importer->Commit();

  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->context_id(), "c");
  const ImportedContext imported = server_.contexts.contexts().at("c");
  // Not EXPECT_EQ, which would print megabytes.
  EXPECT_TRUE(imported.keys.at(3) == keys);
  EXPECT_TRUE(imported.values.at(3) == values);
  EXPECT_TRUE(imported.queries.at(3) == queries);
  constexpr size_t kEnvelopeBytes = 200;
  EXPECT_THAT(imported.message_bytes, Each(Le((size_t{64} << 10) + 2048 + kEnvelopeBytes)));
  EXPECT_EQ(progress.size(), imported.message_bytes.size());
  EXPECT_EQ(progress.back(), keys.size() + values.size() + queries.size());
}

TEST_F(ImportTest, ByDefaultMessagesStayUnderOneMebibyteAndABit) {
  const std::string data = Data(8192, 'd');

  auto importer = Connect().ImportContext(Header());
  ASSERT_TRUE(importer.ok());
  ASSERT_TRUE(importer->AppendChunk({0, 0, View(data), View(data), {}}).ok());
  ASSERT_TRUE(importer->Commit().ok());

  const ImportedContext imported = server_.contexts.contexts().at("c");
  EXPECT_EQ(imported.message_bytes.size(), 8U);
  EXPECT_THAT(imported.message_bytes, Each(Le((size_t{1} << 20) + 200)));
}

TEST_F(ImportTest, AHugeTokenIsSentWhole) {
  const std::string data = Data(2, 'd');
  ContextImporterOptions options;
  options.message_bytes = 1;

  auto importer = Connect().ImportContext(Header(), options);
  ASSERT_TRUE(importer.ok());
  ASSERT_TRUE(importer->AppendChunk({0, 0, View(data), View(data), {}}).ok());
  ASSERT_TRUE(importer->Commit().ok());

  EXPECT_EQ(server_.contexts.contexts().at("c").message_bytes.size(), 2U);
}

TEST_F(ImportTest, ShapesThatDisagreeAreRefusedAndTheImportGoesOn) {
  const std::string two = Data(2, 'a');
  const std::string three = Data(3, 'b');
  TensorView truncated = View(two);
  truncated.data = truncated.data.first(10);
  auto importer = Connect().ImportContext(Header());
  ASSERT_TRUE(importer.ok());

  EXPECT_EQ(importer->AppendChunk({0, 0, View(two), View(three), {}}).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(importer->AppendChunk({0, 0, truncated, truncated, {}}).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(importer->AppendChunk({0, 0, View(""), View(""), {}}).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(importer->AppendChunk({0, 0, View(two), View(two), truncated}).code(),
            StatusCode::kInvalidArgument);
  EXPECT_TRUE(importer->AppendChunk({0, 0, View(two), View(two), {}}).ok());
  EXPECT_TRUE(importer->Commit().ok());
}

TEST_F(ImportTest, TheServersRefusalEndsTheImportForGood) {
  server_.contexts.refuse_import_after_chunks = 1;
  const std::string data = Data(64, 'd');
  auto importer = Connect().ImportContext(Header());
  ASSERT_TRUE(importer.ok());

  Status status;
  for (uint32_t layer = 0; status.ok() && layer < 100'000; ++layer) {
    status = importer->AppendChunk({layer, 0, View(data), View(data), {}});
  }

  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(Message(status), "the disk is full");
  EXPECT_EQ(importer->AppendChunk({0, 0, View(data), View(data), {}}).code(),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(importer->Commit().status().code(), StatusCode::kResourceExhausted);
}

TEST_F(ImportTest, WithoutCommitNothingIsStored) {
  const std::string data = Data(64, 'd');
  {
    auto importer = Connect().ImportContext(Header());
    ASSERT_TRUE(importer.ok());
    ASSERT_TRUE(importer->AppendChunk({0, 0, View(data), View(data), {}}).ok());
  }
  server_.Kill();  // waits for the handler

  EXPECT_TRUE(server_.contexts.contexts().empty());
}

TEST_F(ImportTest, CommitIsOnce) {
  auto importer = Connect().ImportContext(Header());
  ASSERT_TRUE(importer.ok());
  ASSERT_TRUE(importer->Commit().ok());

  const std::string data = Data(1, 'd');
  EXPECT_EQ(importer->Commit().status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(importer->AppendChunk({0, 0, View(data), View(data), {}}).code(),
            StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace alaya::client
