#include "server/telemetry/service_manager.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <string>

#include "tests/support/temp_directory.h"

namespace alaya {
namespace {

// A service manager that listens, at `name` as NOTIFY_SOCKET would say it.
class Listener {
 public:
  explicit Listener(const std::string& name) : file_(socket(AF_UNIX, SOCK_DGRAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    if (name.front() == '@') address.sun_path[0] = '\0';
    const size_t size = offsetof(sockaddr_un, sun_path) + name.size();
    EXPECT_EQ(bind(file_, reinterpret_cast<const sockaddr*>(&address), socklen_t(size)), 0);
  }
  ~Listener() { close(file_); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // The message that is there; empty: none.
  std::string Receive() const {
    std::array<char, 256> buffer{};
    const ssize_t size = recv(file_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    return {buffer.data(), size > 0 ? static_cast<size_t>(size) : 0};
  }

 private:
  const int file_;
};

TEST(ServiceManagerTest, TheStateArrivesAtTheSocketsPath) {
  const TempDirectory directory;
  const std::string name = directory / "notify";
  const Listener listener(name);

  ASSERT_TRUE(NotifyServiceManager(name, kServiceReady).ok());

  EXPECT_EQ(listener.Receive(), "READY=1\nSTATUS=serving");
}

TEST(ServiceManagerTest, AnAbstractSocketHasALeadingAt) {
  const std::string name = "@alayadb-service-manager-test-" + std::to_string(getpid());
  const Listener listener(name);

  ASSERT_TRUE(NotifyServiceManager(name, kServiceStopping).ok());

  EXPECT_EQ(listener.Receive(), "STOPPING=1\nSTATUS=draining");
}

TEST(ServiceManagerTest, WithoutASocketNobodyIsTold) {
  EXPECT_TRUE(NotifyServiceManager("", kServiceReady).ok());
}

TEST(ServiceManagerTest, AManagerThatIsGoneIsAnError) {
  const TempDirectory directory;

  EXPECT_EQ(NotifyServiceManager(directory / "gone", kServiceReady).code(),
            StatusCode::kUnavailable);
}

TEST(ServiceManagerTest, ANameThatNoSocketCanHaveIsRefused) {
  for (const std::string& name : {std::string("relative"), "/" + std::string(200, 'x')}) {
    EXPECT_EQ(NotifyServiceManager(name, kServiceReady).code(), StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace alaya
