// alayactl and alayadb-offline together, on a store that is sound, damaged, or in use.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "store_fixture.h"
#include "tests/support/run_program.h"

namespace alaya {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

ProgramOutcome Alayactl(const std::string& arguments) {
  return RunProgram(std::string(ALAYACTL_PATH) + " " + arguments);
}

class OfflineTest : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    for (const uint32_t seed : {1U, 2U}) {
      ASSERT_OK(Import(*store_, {.id = "context-" + std::to_string(seed),
                                 .tokens = SomeTokens(size_t{1000} * seed, seed),
                                 .seed = seed})
                    .status());
    }
  }
};

TEST_F(OfflineTest, BackupVerifyRestoreVerifyGoTogether) {
  const std::string backup = directory_ / "backup";
  ASSERT_OK(store_->CreateBackup(backup).status());
  store_.reset();

  const ProgramOutcome verified = Alayactl("verify " + backup);
  EXPECT_EQ(verified.exit_code, 0) << verified.output;
  EXPECT_THAT(verified.output, HasSubstr("files as in the backup's manifest"));
  const std::string restored = directory_ / "restored";
  const ProgramOutcome done = Alayactl("restore " + backup + " " + restored);
  EXPECT_EQ(done.exit_code, 0) << done.output;
  const ProgramOutcome report = Alayactl("--json verify " + restored);

  ASSERT_EQ(report.exit_code, 0) << report.output;
  const auto json = nlohmann::json::parse(report.output);
  EXPECT_EQ(json["contexts"].size(), 2U);
  EXPECT_EQ(json["contexts"][0]["damages"].size(), 0U);
}

TEST_F(OfflineTest, VerifyNamesTheDamagedContextAndFails) {
  store_.reset();
  fs::path largest;
  for (const auto& entry : fs::directory_iterator(directory_ / "data/db")) {
    if (largest.empty() || entry.file_size() > fs::file_size(largest)) largest = entry.path();
  }
  std::fstream(largest, std::ios::in | std::ios::out | std::ios::binary).seekp(70'000).put('x');

  const ProgramOutcome outcome = Alayactl("--json verify " + std::string(directory_ / "data"));

  EXPECT_EQ(outcome.exit_code, 1);
  const std::string report = outcome.output.substr(0, outcome.output.find('\n'));
  const auto json = nlohmann::json::parse(report);
  EXPECT_EQ(json["damaged_contexts"], 1);
  for (const auto& context : json["contexts"]) {
    EXPECT_EQ(context["damages"].empty(), context["context_id"] == "context-1");
  }
}

TEST_F(OfflineTest, AStoreInUseIsLeftAlone) {
  const ProgramOutcome outcome = Alayactl("verify " + std::string(directory_ / "data"));

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.output, HasSubstr("in use"));
}

TEST_F(OfflineTest, WrongUsageHasItsOwnExitCode) {
  EXPECT_EQ(RunProgram(OFFLINE_PATH).exit_code, 2);
  EXPECT_EQ(RunProgram(std::string(OFFLINE_PATH) + " fly away").exit_code, 2);
  EXPECT_EQ(Alayactl("verify").exit_code, 2);
  EXPECT_EQ(Alayactl("verify /nowhere/at/all").exit_code, 1);
  EXPECT_EQ(Alayactl("restore /nowhere/at/all " + std::string(directory_ / "x")).exit_code, 1);
}

}  // namespace
}  // namespace alaya
