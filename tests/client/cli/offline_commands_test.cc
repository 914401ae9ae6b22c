// verify and restore, with a script in the place of alayadb-offline; the real one is run by
// tests/server/offline.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "alayactl_fixture.h"

namespace alaya::client {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kSound[] =
    R"({"report":{"directory":"d","is_backup":false,"pages":7,"read_bytes":4096,)"
    R"("damaged_contexts":0,"contexts":[{"tenant":"default","context_id":"book","model":"m",)"
    R"("tokens":1200,"stored_bytes":2048,"damages":[]}]}})";

class OfflineCommandsTest : public AlayactlTest {
 protected:
  void SetUp() override {
    path_before_ = std::getenv("PATH");
    programs_ = std::filesystem::temp_directory_path() / ("offline_" + std::to_string(getpid()));
    std::filesystem::create_directories(programs_);
    setenv("PATH", (programs_.string() + ":" + path_before_).c_str(), 1);
  }
  void TearDown() override {
    setenv("PATH", path_before_.c_str(), 1);
    std::filesystem::remove_all(programs_);
  }

  // alayadb-offline prints its arguments to a file, then these lines.
  void Install(const std::string& lines, const std::string& end = "exit 0") {
    const auto program = programs_ / "alayadb-offline";
    std::ofstream(program) << "#!/bin/sh\necho \"$@\" > " << (programs_ / "arguments").string()
                           << "\ncat <<'END'\n"
                           << lines << "\nEND\n"
                           << end << "\n";
    std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  }
  std::string arguments() const {
    std::ifstream stream(programs_ / "arguments");
    std::string line;
    std::getline(stream, line);
    return line;
  }

  std::string path_before_;
  std::filesystem::path programs_;
};

TEST_F(OfflineCommandsTest, VerifyListsContexts) {
  Install(kSound);

  const Outcome outcome = Run({"verify", "/data"});

  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(arguments(), "verify /data");
  EXPECT_THAT(outcome.out, HasSubstr("book"));
  EXPECT_THAT(outcome.out, HasSubstr("sound"));
  EXPECT_THAT(outcome.out, HasSubstr("7 pages, 4.0 KiB read"));
  EXPECT_THAT(outcome.err, IsEmpty());
}

TEST_F(OfflineCommandsTest, DamageFailsVerify) {
  Install(R"({"report":{"damaged_contexts":1,"contexts":[{"context_id":"book",)"
          R"("damages":["page 3 is missing"]},{"context_id":"b","damages":[]}]}})",
          "exit 1");

  const Outcome outcome = Run({"verify", "/data"});

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.out, HasSubstr("book: page 3 is missing"));
  EXPECT_THAT(outcome.err, HasSubstr("1 of 2 contexts"));
  EXPECT_THAT(outcome.err, HasSubstr("DATA_LOSS"));
}

TEST_F(OfflineCommandsTest, ATerminalSeesProgress) {
  Install(R"({"progress":{"done_bytes":1024,"total_bytes":2048}})"
          "\n" +
          std::string(kSound));

  const Outcome outcome = Run({"verify", "/data"}, /*terminal=*/true);

  EXPECT_THAT(outcome.err, HasSubstr("verifying"));
  EXPECT_THAT(outcome.err, HasSubstr("50 %"));
}

TEST_F(OfflineCommandsTest, JsonIsTheReportAlone) {
  Install(R"({"progress":{"done_bytes":1,"total_bytes":2}})"
          "\n" +
          std::string(kSound));

  const Outcome outcome = Run({"--json", "verify", "/data"}, /*terminal=*/true);

  EXPECT_THAT(outcome.out, HasSubstr(R"("damaged_contexts":0)"));
  EXPECT_EQ(outcome.out.find('\n'), outcome.out.size() - 1);
  EXPECT_THAT(outcome.err, IsEmpty());
}

TEST_F(OfflineCommandsTest, RestoreSaysWhatItDid) {
  Install(R"({"report":{"backup":"/b","directory":"/d","bytes":1048576}})");

  const Outcome outcome = Run({"restore", "/b", "/d"});

  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(arguments(), "restore /b /d");
  EXPECT_THAT(outcome.out, HasSubstr("1.0 MiB restored to /d"));
}

TEST_F(OfflineCommandsTest, ErrorsKeepTheirCode) {
  Install(R"({"error":{"code":"ALREADY_EXISTS","message":"directory /d is not empty"}})", "exit 1");

  const Outcome outcome = Run({"restore", "/b", "/d"});

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("directory /d is not empty (ALREADY_EXISTS)"));
}

TEST_F(OfflineCommandsTest, AProgramThatSaysNothingIsAnError) {
  Install("");

  const Outcome outcome = Run({"verify", "/data"});

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("without a report"));
}

}  // namespace
}  // namespace alaya::client
