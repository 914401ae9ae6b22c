// The life of a child process, with a shell script in the server's place.

#include "tests/support/server_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

namespace alaya {
namespace {

using testing::HasSubstr;

class ServerProcessTest : public testing::Test {
 protected:
  // A program that gets the server's flags; $8 is the port file.
  ServerProcessOptions Script(const std::string& text) {
    const std::string file = directory_ / "server";
    std::ofstream(file) << "#!/bin/sh\n" << text;
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
    ServerProcessOptions options;
    options.binary = file;
    options.data_directory = directory_ / "data";
    return options;
  }

  TempDirectory directory_;
};

constexpr const char* kDrain = "trap 'exit 3' TERM\n";
constexpr const char* kServe = R"(
  echo "data in $2"
  printf 'grpc=127.0.0.1:1234\nmetrics=127.0.0.1:1235\n' > "$8.new" && mv "$8.new" "$8"
  while :; do sleep 0.01; done
)";

TEST_F(ServerProcessTest, StartReturnsTheAddressesThatTheServerWrote) {
  auto server = ServerProcess::Start(Script(std::string(kDrain) + kServe));

  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_TRUE((*server)->running());
  EXPECT_EQ((*server)->grpc_address(), "127.0.0.1:1234");
  EXPECT_EQ((*server)->metrics_address(), "127.0.0.1:1235");
  EXPECT_THAT((*server)->Log(), HasSubstr("data in " + (directory_ / "data")));
  const StatusOr<ProcessMemory> memory = (*server)->Memory();
  ASSERT_TRUE(memory.ok());
  EXPECT_GT(memory->resident_bytes, 0U);
  EXPECT_GE(memory->resident_bytes_max, memory->resident_bytes);
}

TEST_F(ServerProcessTest, TerminateReturnsTheExitStatus) {
  auto server = ServerProcess::Start(Script(std::string(kDrain) + kServe));
  ASSERT_TRUE(server.ok()) << server.status();

  const StatusOr<int> exit_status = (*server)->Terminate();

  ASSERT_TRUE(exit_status.ok()) << exit_status.status();
  EXPECT_EQ(*exit_status, 3);
  EXPECT_FALSE((*server)->running());
}

TEST_F(ServerProcessTest, TerminateGivesUpOnAServerThatDoesNotDrain) {
  auto server = ServerProcess::Start(Script(std::string("trap '' TERM\n") + kServe));
  ASSERT_TRUE(server.ok()) << server.status();

  const StatusOr<int> exit_status = (*server)->Terminate(std::chrono::milliseconds(50));

  EXPECT_EQ(exit_status.status().code(), StatusCode::kDeadlineExceeded);
}

TEST_F(ServerProcessTest, KillAndDestructionEndTheProcess) {
  pid_t pid = 0;
  {
    auto server = ServerProcess::Start(Script(std::string(kDrain) + kServe));
    ASSERT_TRUE(server.ok()) << server.status();
    (*server)->Kill();
    EXPECT_FALSE((*server)->running());
    (*server)->Kill();

    auto other = ServerProcess::Start(Script(std::string(kDrain) + kServe));
    ASSERT_TRUE(other.ok()) << other.status();
    pid = (*other)->pid();
  }
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST_F(ServerProcessTest, AServerThatEndsEarlyIsReportedWithItsLog) {
  const auto server = ServerProcess::Start(Script("echo disk on fire; exit 9\n"));

  ASSERT_FALSE(server.ok());
  EXPECT_THAT(server.status().ToString(), HasSubstr("exit status 9"));
  EXPECT_THAT(server.status().ToString(), HasSubstr("disk on fire"));
}

TEST_F(ServerProcessTest, ASilentServerIsGivenUp) {
  ServerProcessOptions options = Script("while :; do sleep 0.01; done\n");
  options.start_timeout = std::chrono::milliseconds(100);

  const auto server = ServerProcess::Start(options);

  EXPECT_EQ(server.status().code(), StatusCode::kDeadlineExceeded);
}

TEST_F(ServerProcessTest, AMissingBinaryIsAnError) {
  ServerProcessOptions options;
  options.binary = directory_ / "nothing";

  const auto server = ServerProcess::Start(options);

  ASSERT_FALSE(server.ok());
  EXPECT_THAT(server.status().ToString(), HasSubstr("cannot execute"));
}

TEST(ProcessMemoryTest, KnowsThisProcessAndNoOther) {
  const StatusOr<ProcessMemory> memory = ReadProcessMemory(getpid());

  ASSERT_TRUE(memory.ok());
  EXPECT_GT(memory->resident_bytes, 1U << 20);
  EXPECT_EQ(ReadProcessMemory(-1).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace alaya
