#include "client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "client/rpc_status.h"
#include "client/tensor.h"
#include "tests/client/fake_server.h"

namespace alaya::client {
namespace {

using std::chrono::milliseconds;
using testing::Each;
using testing::HasSubstr;
using testing::Le;

class ClientTest : public testing::Test {
 protected:
  Client Connect(ClientOptions options = {}) {
    StatusOr<Client> client = Client::Connect(server_.target(), options);
    EXPECT_TRUE(client.ok()) << client.status();
    return *client;
  }

  FakeServer server_;
};

TEST_F(ClientTest, ConnectSaysWhereNobodyIs) {
  ClientOptions options;
  options.connect_timeout = milliseconds(100);

  const auto client = Client::Connect("unix:/nowhere/alaya.sock", options);

  EXPECT_EQ(client.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(std::string(Message(client.status())), HasSubstr("unix:/nowhere/alaya.sock"));
}

TEST_F(ClientTest, CallsReachTheirServices) {
  const Client client = Connect();
  pb::RegisterModelRequest model;
  model.mutable_model()->set_name("m");
  pb::CreateSessionRequest session;
  session.set_model("m");

  EXPECT_TRUE(client.RegisterModel(model)->created());
  EXPECT_FALSE(client.RegisterModel(model)->created());
  EXPECT_EQ(client.ListModels()->models_size(), 1);
  EXPECT_EQ(client.GetServerInfo()->version(), "1.2.3");
  EXPECT_EQ(client.CreateSession(session)->session_id(), "session-0");
}

TEST_F(ClientTest, ErrorsKeepCodeMessageAndReason) {
  pb::GetContextRequest request;
  request.set_context_id("x");

  const auto response = Connect().GetContext(request);

  EXPECT_EQ(response.status().code(), StatusCode::kNotFound);
  EXPECT_EQ(Message(response.status()), "context 'x' does not exist");
  const auto info = ErrorInfoOf(response.status());
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->reason(), "CONTEXT_NOT_FOUND");
}

TEST_F(ClientTest, AnErrorWithoutDetailsHasNoReason) {
  // The fake leaves this method out.
  const auto response = Connect().CompactStorage();

  EXPECT_EQ(response.status().code(), StatusCode::kUnimplemented);
  EXPECT_FALSE(ErrorInfoOf(response.status()).has_value());
}

TEST(RpcStatusTest, DetailsThatDoNotParseAreLeftOut) {
  const Status status = ToStatus(grpc::Status(grpc::DATA_LOSS, "bad block", "\xFF\xFF\xFF"));

  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_EQ(Message(status), "bad block");
  EXPECT_FALSE(ErrorInfoOf(status).has_value());
}

TEST(RpcStatusTest, AnUnknownCodeIsAnError) {
  google::rpc::Status proto;
  proto.set_code(99);

  EXPECT_EQ(ToStatus(proto).code(), StatusCode::kUnknown);
}

TEST_F(ClientTest, ACallBeyondItsDeadlineFails) {
  server_.contexts.get_context_delay = milliseconds(300);
  const Client client = Connect();

  const auto late = client.WithCallTimeout(milliseconds(30)).GetContext({});
  const auto patient = client.GetContext({});

  EXPECT_EQ(late.status().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(patient.status().code(), StatusCode::kNotFound);
}

TEST_F(ClientTest, HealthIsWhatTheServerSays) {
  const Client client = Connect();

  EXPECT_TRUE(*client.CheckServing());
  server_.SetServing(false);
  EXPECT_FALSE(*client.CheckServing());
  server_.Kill();
  EXPECT_EQ(client.CheckServing().status().code(), StatusCode::kUnavailable);
}

TEST_F(ClientTest, WaitUntilServingWaitsForReadiness) {
  const Client client = Connect();
  server_.SetServing(false);
  std::thread readiness([this] {
    std::this_thread::sleep_for(milliseconds(120));
    server_.SetServing(true);
  });

  const Status status = client.WaitUntilServing(milliseconds(10'000));

  readiness.join();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(ClientTest, WaitUntilServingGivesUpWithTheReason) {
  server_.SetServing(false);

  const Status status = Connect().WaitUntilServing(milliseconds(120));

  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(Message(status)), HasSubstr("not ready"));
}

TEST_F(ClientTest, ClientsShareTheirConnectionAndOutliveEachOther) {
  auto first = std::make_unique<Client>(Connect());
  const Client second = *first;
  AttendStream stream = first->Attend();
  first.reset();

  EXPECT_TRUE(second.ListModels().ok());
  EXPECT_TRUE(stream.Close().ok());
}

// Import

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
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 31 + i / 256) ^ offset;
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

// Read

TEST_F(ClientTest, ReaderGivesAllChunksThenTheEnd) {
  server_.contexts.read_answer.resize(3);
  for (uint32_t i = 0; i < 3; ++i) server_.contexts.read_answer[i].set_layer(i);
  ContextReader reader = Connect().ReadContext({});

  for (uint32_t i = 0; i < 3; ++i) {
    const auto chunk = reader.Next();
    ASSERT_TRUE(chunk.ok() && chunk->has_value());
    EXPECT_EQ((*chunk)->layer(), i);
  }
  EXPECT_FALSE(reader.Next()->has_value());
  EXPECT_FALSE(reader.Next()->has_value());
}

TEST_F(ClientTest, ReaderReportsAnErrorInsteadOfTheEnd) {
  server_.contexts.read_answer.resize(1);
  server_.contexts.read_status = grpc::Status(grpc::DATA_LOSS, "block 7: checksum");
  ContextReader reader = Connect().ReadContext({});

  EXPECT_TRUE(reader.Next().ok());
  EXPECT_EQ(reader.Next().status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(reader.Next().status().code(), StatusCode::kDataLoss);
}

TEST_F(ClientTest, AReaderMayBeLeftInTheMiddle) {
  server_.contexts.read_answer.resize(1000);
  for (auto& chunk : server_.contexts.read_answer) {
    chunk.mutable_key()->set_data(std::string(100'000, 'k'));
  }
  {
    ContextReader reader = Connect().ReadContext({});
    EXPECT_TRUE(reader.Next().ok());
  }
  EXPECT_TRUE(Connect().ListModels().ok());
}

}  // namespace
}  // namespace alaya::client
