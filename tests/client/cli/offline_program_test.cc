#include "client/cli/offline_program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace alaya::client {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

// A script that PATH finds in the place of the program.
class OfflineProgramTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(directory_);
    setenv("PATH", (directory_.string() + ":" + path_before_).c_str(), 1);
  }
  void TearDown() override {
    setenv("PATH", path_before_.c_str(), 1);
    fs::remove_all(directory_);
  }

  Status RunScript(const std::string& script) {
    std::ofstream(directory_ / "alayadb-offline") << "#!/bin/sh\n" << script;
    fs::permissions(directory_ / "alayadb-offline", fs::perms::owner_all);
    return RunOfflineProgram({"verify", "a b"},
                             [this](const std::string& line) { lines_.push_back(line); });
  }

  const std::string path_before_ = std::getenv("PATH");
  const fs::path directory_ =
      fs::temp_directory_path() / ("offline_program_" + std::to_string(getpid()));
  std::vector<std::string> lines_;
};

TEST_F(OfflineProgramTest, GetsItsArgumentsAndGivesItsLines) {
  ASSERT_TRUE(RunScript("echo $#; echo \"$2\"; printf last").ok());

  EXPECT_THAT(lines_, ElementsAre("2", "a b", "last"));
}

TEST_F(OfflineProgramTest, ThatExitsWithAnErrorHasToldItInALine) {
  EXPECT_TRUE(RunScript("echo '{}'; exit 1").ok());
}

TEST_F(OfflineProgramTest, ThatIsKilledIsAnError) {
  EXPECT_THAT(RunScript("kill -9 $$").ToString(), HasSubstr("signal 9"));
}

TEST_F(OfflineProgramTest, ThatIsMissingIsAnErrorThatNamesIt) {
  const Status status = RunOfflineProgram({"verify", "x"}, [](const std::string&) {});

  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.ToString(), HasSubstr("alayadb-offline"));
}

}  // namespace
}  // namespace alaya::client
