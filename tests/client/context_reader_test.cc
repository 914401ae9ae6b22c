#include "client/context_reader.h"

#include <gtest/gtest.h>

#include "tests/client/client_fixture.h"

namespace alaya::client {
namespace {

using ContextReaderTest = ClientTest;

TEST_F(ContextReaderTest, GivesAllChunksThenTheEnd) {
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

TEST_F(ContextReaderTest, ReportsAnErrorInsteadOfTheEnd) {
  server_.contexts.read_answer.resize(1);
  server_.contexts.read_status = grpc::Status(grpc::DATA_LOSS, "block 7: checksum");
  ContextReader reader = Connect().ReadContext({});

  EXPECT_TRUE(reader.Next().ok());
  EXPECT_EQ(reader.Next().status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(reader.Next().status().code(), StatusCode::kDataLoss);
}

TEST_F(ContextReaderTest, MayBeLeftInTheMiddle) {
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
