// The program itself: what only a process of its own shows.

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

namespace alaya::client {
namespace {

struct ProcessOutcome {
  int exit_code = -1;
  std::string output;
};

ProcessOutcome RunProcess(const std::string& arguments) {
  const std::string command = std::string(ALAYACTL_PATH) + " " + arguments + " 2>&1";
  std::FILE* pipe = popen(command.c_str(), "r");
  ProcessOutcome outcome;
  std::array<char, 4096> buffer;
  while (const size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    outcome.output.append(buffer.data(), count);
  }
  const int status = pclose(pipe);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

TEST(AlayactlTest, ExitCodesReachTheShell) {
  EXPECT_EQ(RunProcess("--help").exit_code, 0);
  EXPECT_EQ(RunProcess("fly").exit_code, 2);
}

TEST(AlayactlTest, TheServerComesFromTheEnvironment) {
  const std::string variable = "ALAYA_SERVER=unix:/nowhere/alaya.sock ";
  const std::string command = variable + ALAYACTL_PATH + " --timeout 50ms stats 2>&1";
  std::FILE* pipe = popen(command.c_str(), "r");
  std::array<char, 4096> buffer;
  const size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe);

  EXPECT_EQ(WEXITSTATUS(pclose(pipe)), 3);
  EXPECT_NE(std::string(buffer.data(), count).find("unix:/nowhere/alaya.sock"), std::string::npos);
}

}  // namespace
}  // namespace alaya::client
