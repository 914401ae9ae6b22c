// The other calls, over a real channel: conversion, errors on the wire, streams.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/generic/generic_stub.h"
#include "server/rpc/read_stream.h"
#include "tests/server/rpc/rpc_fixture.h"

namespace alaya {
namespace {

using testing::HasSubstr;

google::rpc::ErrorInfo InfoOf(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), static_cast<int>(status.error_code()));
  EXPECT_EQ(details.message(), status.error_message());
  google::rpc::ErrorInfo info;
  EXPECT_TRUE(details.details_size() == 1 && details.details(0).UnpackTo(&info));
  return info;
}

class ServicesTest : public RpcFixture {
 protected:
  static v1::ImportContextRequest Header() {
    v1::ImportContextRequest request;
    request.mutable_header()->set_model("m");
    request.mutable_header()->add_tokens(1);
    return request;
  }
  static v1::ImportContextRequest Chunk() {
    v1::ImportContextRequest request;
    FillTensor(1, 1, 8, request.mutable_chunk()->mutable_key());
    FillTensor(1, 1, 8, request.mutable_chunk()->mutable_value());
    return request;
  }
  // Sends the messages, half-closes and returns what the server says.
  grpc::Status Import(const std::vector<v1::ImportContextRequest>& messages,
                      v1::ImportContextResponse* response) {
    grpc::ClientContext context;
    const auto writer = contexts_->ImportContext(&context, response);
    for (const auto& message : messages) {
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }
};

TEST_F(ServicesTest, AnErrorOfTheEngineCarriesItsCodeMessageAndReason) {
  grpc::ClientContext context;
  v1::MatchContextRequest request;
  request.set_model("other");
  v1::MatchContextResponse response;

  const grpc::Status status = contexts_->MatchContext(&context, request, &response);

  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("'other'"));
  EXPECT_EQ(InfoOf(status).domain(), "alayadb");
  EXPECT_EQ(InfoOf(status).reason(), "RESOURCE_NOT_FOUND");
}

TEST_F(ServicesTest, TheCallersTraceReachesTheObserver) {
  const std::string good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  grpc::ClientContext call;
  call.AddMetadata("traceparent", good);
  v1::MatchContextResponse response;
  contexts_->MatchContext(&call, v1::MatchContextRequest(), &response);
  grpc::ClientContext malformed;
  malformed.AddMetadata("traceparent", "not a trace");
  v1::ListModelsResponse models;
  admin_->ListModels(&malformed, v1::ListModelsRequest(), &models);
  grpc::ClientContext streaming;
  streaming.AddMetadata("traceparent", good);
  const auto stream = sessions_->Attend(&streaming);
  stream->Write(v1::AttendRequest());
  ReadId(stream.get());

  const std::map<std::string, std::string> expected = {{"MatchContext", good}, {"Attend", good}};
  EXPECT_EQ(observer_.Traceparents(), expected);
  stream->WritesDone();
  stream->Finish();
}

TEST_F(ServicesTest, AMalformedRequestNamesItsField) {
  grpc::ClientContext context;
  v1::GetContextRequest request;
  request.set_context_id("no/slash");
  v1::GetContextResponse response;

  const grpc::Status status = contexts_->GetContext(&context, request, &response);

  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(InfoOf(status).reason(), "ID_FORMAT");
  EXPECT_EQ(InfoOf(status).metadata().at("field"), "context_id");
}

TEST_F(ServicesTest, ContextsAreListedPageByPage) {
  v1::ListContextsRequest request;
  request.set_page_size(2);
  v1::ListContextsResponse first;
  grpc::ClientContext first_context;
  ASSERT_TRUE(contexts_->ListContexts(&first_context, request, &first).ok());
  request.set_page_token(first.next_page_token());
  v1::ListContextsResponse second;
  grpc::ClientContext second_context;
  ASSERT_TRUE(contexts_->ListContexts(&second_context, request, &second).ok());

  ASSERT_EQ(first.contexts_size(), 2);
  EXPECT_EQ(first.contexts(1).context_id(), "c2");
  ASSERT_EQ(second.contexts_size(), 1);
  EXPECT_EQ(second.contexts(0).context_id(), "c3");
  EXPECT_EQ(second.next_page_token(), "");

  // A token belongs to its filters.
  request.set_model("m");
  v1::ListContextsResponse refused;
  grpc::ClientContext refused_context;
  EXPECT_EQ(contexts_->ListContexts(&refused_context, request, &refused).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServicesTest, AnImportCommitsOnHalfClose) {
  v1::ImportContextResponse response;

  const grpc::Status status = Import({Header(), Chunk(), Chunk()}, &response);

  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.context_id(), "c7");
  EXPECT_EQ(response.stored_bytes(), 11U);
  EXPECT_EQ(engine_.import_record.chunk_count, 2);
  EXPECT_TRUE(engine_.import_record.finished);
}

TEST_F(ServicesTest, AnImportCancelledMidwayIsDiscarded) {
  v1::ImportContextResponse response;
  grpc::ClientContext context;
  const auto writer = contexts_->ImportContext(&context, &response);
  ASSERT_TRUE(writer->Write(Header()));
  ASSERT_TRUE(writer->Write(Chunk()));
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (engine_.import_record.chunk_count == 0 && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::yield();
  }

  context.TryCancel();
  EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(server_->Drain(std::chrono::seconds(60)));

  EXPECT_EQ(engine_.import_record.chunk_count, 1);
  EXPECT_TRUE(engine_.import_record.destroyed);
}

TEST_F(ServicesTest, AnImportOutOfOrderIsRefusedAndDiscarded) {
  v1::ImportContextResponse response;
  for (const auto& [messages, reason] :
       std::vector<std::pair<std::vector<v1::ImportContextRequest>, std::string>>{
           {{}, "HEADER_MISSING"},
           {{Chunk()}, "HEADER_MISSING"},
           {{Header(), Header()}, "HEADER_REPEATED"},
           {{Header(), v1::ImportContextRequest()}, "PART_MISSING"}}) {
    const grpc::Status status = Import(messages, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(InfoOf(status).reason(), reason);
  }
  EXPECT_FALSE(engine_.import_record.finished);
  EXPECT_TRUE(engine_.import_record.destroyed);
}

TEST_F(ServicesTest, ReadContextStreamsEveryTokenOfEveryLayerInOrder) {
  v1::ReadContextRequest request;
  request.set_context_id("c1");
  request.mutable_token_range()->set_begin(10);
  request.add_layers(1);
  request.add_layers(0);
  grpc::ClientContext context;
  const auto reader = contexts_->ReadContext(&context, request);

  v1::ReadContextResponse chunk;
  for (const uint32_t layer : {1U, 0U}) {
    for (uint64_t token = 10; token < engine_.readable_tokens; ++token) {
      ASSERT_TRUE(reader->Read(&chunk));
      EXPECT_EQ(chunk.layer(), layer);
      EXPECT_EQ(chunk.token_begin(), token);
      EXPECT_EQ(chunk.key().data(), std::string(8 * sizeof(float), static_cast<char>(token)));
      EXPECT_EQ(chunk.value().data(), std::string(8 * sizeof(float), static_cast<char>(layer)));
    }
  }
  EXPECT_FALSE(reader->Read(&chunk));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(ServicesTest, ReadContextReadsAheadWhatTheLimitsOnBytesAllow) {
  // Two chunks of the fake engine take 128 bytes, four would take 256.
  TenantLimitsTable limits;
  limits.others.max_bytes_in_flight = 200;
  engine_.SetTenantLimits(limits);
  v1::ReadContextRequest request;
  request.set_context_id("c1");
  grpc::ClientContext context;
  const auto reader = contexts_->ReadContext(&context, request);

  v1::ReadContextResponse chunk;
  uint64_t chunk_count = 0;
  while (reader->Read(&chunk)) ++chunk_count;

  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(chunk_count, engine_.chunks_read);
  EXPECT_EQ(engine_.chunks_read_ahead, 2U);
}

TEST_F(ServicesTest, ReadContextEndsBeforeWhatIsDamaged) {
  engine_.damaged_token = 5;
  v1::ReadContextRequest request;
  request.set_context_id("c1");
  grpc::ClientContext context;
  const auto reader = contexts_->ReadContext(&context, request);

  v1::ReadContextResponse chunk;
  for (uint64_t token = 0; token < 5; ++token) ASSERT_TRUE(reader->Read(&chunk));
  EXPECT_FALSE(reader->Read(&chunk));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DATA_LOSS);
}

TEST_F(ServicesTest, ReadContextRefusesAMessageOfAnotherKind) {
  const grpc::Slice nonsense("\xFF\xFF\xFF");
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue done;
  const auto call = stub.PrepareCall(&context, "/alaya.v1.ContextService/ReadContext", &done);
  void* tag = nullptr;
  bool ok = false;
  call->StartCall(nullptr);
  done.Next(&tag, &ok);
  call->WriteLast(grpc::ByteBuffer(&nonsense, 1), {}, nullptr);
  done.Next(&tag, &ok);
  grpc::Status status;
  call->Finish(&status, nullptr);
  done.Next(&tag, &ok);

  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(InfoOf(status).reason(), "MESSAGE_MALFORMED");
  done.Shutdown();
  while (done.Next(&tag, &ok)) {
  }
}

TEST_F(ServicesTest, ReadContextWaitsForASlowReader) {
  // Far more than the buffers of the connection hold.
  engine_.readable_tokens = 1'000'000;
  v1::ReadContextRequest request;
  request.set_context_id("c1");
  grpc::ClientContext context;
  const auto reader = contexts_->ReadContext(&context, request);
  v1::ReadContextResponse chunk;
  ASSERT_TRUE(reader->Read(&chunk));

  uint64_t read_before = 0;
  while (read_before != engine_.chunks_read) {
    read_before = engine_.chunks_read;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_LT(read_before, engine_.readable_tokens / 2);

  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(server_->Drain(std::chrono::seconds(60)));
}

TEST_F(ServicesTest, ReadContextRefusesWhatTheContextDoesNotHave) {
  v1::ReadContextRequest beyond;
  beyond.set_context_id("c1");
  beyond.mutable_token_range()->set_end(65);
  v1::ReadContextRequest layer;
  layer.set_context_id("c1");
  layer.add_layers(0);
  layer.add_layers(2);
  for (const auto& request : {beyond, layer}) {
    grpc::ClientContext context;
    const auto reader = contexts_->ReadContext(&context, request);
    v1::ReadContextResponse chunk;
    EXPECT_FALSE(reader->Read(&chunk));
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  EXPECT_EQ(engine_.chunks_read, 0U);
}

TEST_F(ServicesTest, ServerInfoNamesVersionAndLimits) {
  grpc::ClientContext context;
  v1::GetServerInfoResponse info;
  ASSERT_TRUE(admin_->GetServerInfo(&context, {}, &info).ok());

  EXPECT_EQ(info.version(), "1.2.3");
  EXPECT_EQ(info.limits().max_context_tokens(), 1000U);
  EXPECT_EQ(info.limits().max_items_per_request(), 8U);
  EXPECT_EQ(info.limits().max_requests_in_flight_per_stream(), kInFlightMax);
}

TEST_F(ServicesTest, SetLogLevelReturnsTheLevelBefore) {
  v1::SetLogLevelRequest request;
  request.set_level(v1::LOG_LEVEL_ERROR);
  v1::SetLogLevelResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(admin_->SetLogLevel(&context, request, &response).ok());

  EXPECT_EQ(response.previous_level(), v1::LOG_LEVEL_INFO);
  EXPECT_EQ(log_level_, static_cast<int>(v1::LOG_LEVEL_ERROR));
}

TEST_F(ServicesTest, ASecondServerCannotShareThePort) {
  RpcOptions options;
  options.listen_addresses = server_->addresses();
  const ServerSelf self;

  const auto second = RpcServer::Start(options, self, &engine_, &observer_);

  EXPECT_EQ(second.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(std::string(Message(second.status())), HasSubstr(server_->addresses().front()));
}

}  // namespace
}  // namespace alaya
