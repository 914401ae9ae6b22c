#include "client/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace alaya::client {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string WriteFile(const std::string& text) {
  const std::string path = testing::TempDir() + "alaya_credentials_test";
  std::ofstream(path, std::ios::trunc) << text;
  return path;
}

TEST(CredentialsTest, AKeyFileHoldsTheKeyInItsFirstLine) {
  EXPECT_EQ(ReadApiKeyFile(WriteFile("alaya_key\n")).value(), "alaya_key");
  EXPECT_EQ(ReadApiKeyFile(WriteFile("  alaya_key\t\r\nmore")).value(), "alaya_key");
  EXPECT_FALSE(ReadApiKeyFile(WriteFile("\nalaya_key")).ok());
  EXPECT_FALSE(ReadApiKeyFile(WriteFile("")).ok());
  EXPECT_THAT(std::string(Message(ReadApiKeyFile("/nowhere/key").status())),
              HasSubstr("/nowhere/key"));
}

TEST(CredentialsTest, AKeyThatCannotBeAHeaderIsRefusedAndNotQuoted) {
  EXPECT_TRUE(Authorization::FromApiKey("alaya_key").ok());
  EXPECT_TRUE(Authorization::FromApiKey("").ok());
  for (const char* bad : {"a b", "a\nb", "\x7f", "\xc3\xa4"}) {
    const auto authorization = Authorization::FromApiKey(bad);
    EXPECT_EQ(authorization.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(Message(authorization.status())), Not(HasSubstr(bad)));
  }
}

TEST(CredentialsTest, TlsFilesAreRead) {
  TlsOptions missing;
  missing.ca_file = "/nowhere/ca";
  TlsOptions without_key;
  without_key.cert_file = "c";

  EXPECT_TRUE(TlsCredentials({}).ok());
  EXPECT_THAT(std::string(Message(TlsCredentials(missing).status())), HasSubstr("/nowhere/ca"));
  EXPECT_EQ(TlsCredentials(without_key).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace alaya::client
