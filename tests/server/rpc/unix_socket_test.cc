#include "server/rpc/unix_socket.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

namespace alaya {
namespace {

class UnixSocketTest : public testing::Test {
 protected:
  void SetUp() override {
    std::array<char, 32> pattern{"/tmp/alaya-socket-XXXXXX"};
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern.data();
    path_ = directory_ + "/socket";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  // A listening socket on path_.
  int Listen() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    const int file = socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT_EQ(bind(file, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(file, 1), 0);
    return file;
  }

  std::string directory_;
  std::string path_;
};

TEST_F(UnixSocketTest, NoFileIsFine) { EXPECT_TRUE(RemoveStaleSocket(path_).ok()); }

TEST_F(UnixSocketTest, ASocketThatNobodyListensOnIsRemoved) {
  close(Listen());
  ASSERT_TRUE(std::filesystem::exists(path_));

  EXPECT_TRUE(RemoveStaleSocket(path_).ok());

  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(UnixSocketTest, ASocketInUseStays) {
  const int file = Listen();

  EXPECT_EQ(RemoveStaleSocket(path_).code(), StatusCode::kAlreadyExists);

  EXPECT_TRUE(std::filesystem::exists(path_));
  close(file);
}

TEST_F(UnixSocketTest, AnotherFileStays) {
  std::ofstream(path_) << "precious";

  EXPECT_EQ(RemoveStaleSocket(path_).code(), StatusCode::kAlreadyExists);

  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(UnixSocketTest, ATooLongPathIsRefused) {
  EXPECT_EQ(RemoveStaleSocket("/tmp/" + std::string(200, 'x')).code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace alaya
