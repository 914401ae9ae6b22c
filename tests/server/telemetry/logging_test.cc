#include "server/telemetry/logging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

namespace alaya {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

// A log that writes to memory.
class LoggingTest : public testing::Test {
 protected:
  void SetUp() override { file_ = open_memstream(&text_, &size_); }
  void TearDown() override {
    std::fclose(file_);
    std::free(text_);
  }
  std::string Text() {
    std::fflush(file_);
    return {text_, size_};
  }

  std::FILE* file_ = nullptr;
  char* text_ = nullptr;
  size_t size_ = 0;
};

TEST_F(LoggingTest, TextIsOneLineOfWords) {
  EventLog log({.level = LogLevel::kInfo, .format = LogFormat::kText}, file_);

  log.Write(LogLevel::kInfo, "serving",
            {{"grpc", "127.0.0.1:1"}, {"count", uint64_t{3}}, {"note", "two words\nand a line"}});

  EXPECT_THAT(Text(), MatchesRegex("[0-9-]+T[0-9:.]+Z info serving grpc=127.0.0.1:1 count=3 "
                                   "note=\"two words\\\\nand a line\"\n"));
}

TEST_F(LoggingTest, JsonIsOneObjectPerLine) {
  EventLog log({.level = LogLevel::kInfo, .format = LogFormat::kJson}, file_);

  log.Write(LogLevel::kError, "call",
            {{"message", "quote \" and \xff bytes"}, {"seconds", 0.5}, {"ok", false}});

  const auto line = nlohmann::json::parse(Text());
  EXPECT_EQ(line.at("level"), "error");
  EXPECT_EQ(line.at("event"), "call");
  EXPECT_EQ(line.at("message"), "quote \" and \xef\xbf\xbd bytes");
  EXPECT_EQ(line.at("seconds"), 0.5);
  EXPECT_EQ(line.at("ok"), false);
  EXPECT_TRUE(line.contains("time"));
}

TEST_F(LoggingTest, TheLevelChangesAtRunTime) {
  EventLog log({.level = LogLevel::kWarning, .format = LogFormat::kText}, file_);
  log.Write(LogLevel::kInfo, "before");

  EXPECT_EQ(log.SetLevel(LogLevel::kTrace), LogLevel::kWarning);
  EXPECT_EQ(log.SetLevel(LogLevel::kDebug), LogLevel::kTrace);
  log.Write(LogLevel::kDebug, "after");

  EXPECT_THAT(Text(), Not(HasSubstr("before")));
  EXPECT_THAT(Text(), HasSubstr("debug after"));
}

TEST_F(LoggingTest, StorageMessagesKeepTheirSeverity) {
  EventLog log({.level = LogLevel::kWarning, .format = LogFormat::kText}, file_);
  const StorageLog storage = log.ForStorage();

  storage(StorageLogLevel::kInfo, "chatter");
  storage(StorageLogLevel::kError, "disk is gone");

  EXPECT_THAT(Text(), Not(HasSubstr("chatter")));
  EXPECT_THAT(Text(), HasSubstr("error storage message=\"disk is gone\""));
}

}  // namespace
}  // namespace alaya
