#include "server/rpc/listening_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "tests/support/temp_directory.h"

namespace alaya {
namespace {

using testing::HasSubstr;

TEST(ListeningSocketTest, SaysWhichPortItTook) {
  const auto sockets = ListenOn("127.0.0.1:0", 0600);

  ASSERT_TRUE(sockets.ok()) << sockets.status();
  ASSERT_EQ(sockets->size(), 1);
  EXPECT_TRUE(sockets->front().address().starts_with("127.0.0.1:"));
  EXPECT_FALSE(sockets->front().address().ends_with(":0"));
  EXPECT_FALSE(sockets->front().is_unix());
}

TEST(ListeningSocketTest, AllAddressesOfANameShareAPort) {
  const auto sockets = ListenOn("localhost:0", 0600);

  ASSERT_TRUE(sockets.ok()) << sockets.status();
  for (const ListeningSocket& socket : *sockets) {
    EXPECT_EQ(socket.address(), sockets->front().address());
  }
}

TEST(ListeningSocketTest, APortInUseIsNamed) {
  const auto first = ListenOn("127.0.0.1:0", 0600);
  ASSERT_TRUE(first.ok());

  const auto second = ListenOn(first->front().address(), 0600);

  EXPECT_EQ(second.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(std::string(Message(second.status())), HasSubstr(first->front().address()));
}

TEST(ListeningSocketTest, AForeignAddressIsRefused) {
  EXPECT_EQ(ListenOn("192.0.2.1:0", 0600).status().code(), StatusCode::kUnavailable);
}

TEST(ListeningSocketTest, ASocketFileHasItsModeAndGoesWithTheSocket) {
  const TempDirectory directory;
  const std::string path = directory / "socket";
  {
    const auto sockets = ListenOn("unix:" + path, 0660);

    ASSERT_TRUE(sockets.ok()) << sockets.status();
    EXPECT_TRUE(sockets->front().is_unix());
    struct stat status {};
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0660);
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace alaya
