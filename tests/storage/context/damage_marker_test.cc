#include "storage/context/damage_marker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

#include "tests/support/temp_directory.h"

namespace alaya {
namespace {

using testing::HasSubstr;

class DamageMarkerTest : public testing::Test {
 protected:
  Status Check(bool accept = false) { return CheckDamageMarker(path_, accept, nullptr); }

  const TempDirectory directory_;
  const std::string path_ = directory_.path();
};

TEST_F(DamageMarkerTest, ADirectoryWithoutDamageMayBeOpened) {
  EXPECT_TRUE(Check().ok());
  EXPECT_TRUE(Check(/*accept=*/true).ok());
}

TEST_F(DamageMarkerTest, DamageIsRefusedUntilItIsAcceptedOnce) {
  DamageMarker(path_, nullptr).Record("page 7 has a wrong checksum");

  const Status refused = Check();
  EXPECT_EQ(refused.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(refused)), HasSubstr("page 7 has a wrong checksum"));
  EXPECT_THAT(std::string(Message(refused)), HasSubstr("--accept-damage"));
  EXPECT_EQ(Check().code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Check(/*accept=*/true).ok());
  EXPECT_TRUE(Check().ok());
}

TEST_F(DamageMarkerTest, TheFirstDamageIsKeptAlsoByTheNextProcess) {
  DamageMarker marker(path_, nullptr);
  marker.Record("first");
  marker.Record("second");
  DamageMarker(path_, nullptr).Record("third");

  std::ifstream stream(directory_ / kDamageMarker);
  std::stringstream text;
  text << stream.rdbuf();
  EXPECT_EQ(text.str(), "first\n");
}

TEST_F(DamageMarkerTest, ADirectoryThatTakesNoFileIsToldToTheLog) {
  std::string logged;
  DamageMarker(path_ + "/missing", [&logged](StorageLogLevel, std::string_view message) {
    logged = message;
  }).Record("page 7");

  EXPECT_THAT(logged, HasSubstr("could not be marked"));
}

}  // namespace
}  // namespace alaya
