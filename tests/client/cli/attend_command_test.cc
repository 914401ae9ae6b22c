#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/files/array_file.h"
#include "tests/client/cli/alayactl_fixture.h"

namespace alaya::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

using AttendCommandTest = AlayactlTest;

TEST_F(AttendCommandTest, ASessionAttendsAndWritesItsOutput) {
  RegisterModel();
  ASSERT_EQ(Run({"session", "create", "--model", "m", "--tokens", "1,2,3"}).exit_code, 0);
  const std::string output = directory_.Path("o.npy");

  const Outcome outcome = Run({"session", "attend", "session-0", "--random", "2", "--target",
                               "dipr", "--alpha", "0.1", "--output", output});

  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("NORM MEAN"), HasSubstr("Tokens attended:"),
                                 HasSubstr("Round trip:")));
  const auto file = ArrayFile::Open(output);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT((*file)->arrays()[0].shape, ElementsAre(2U, 4U, 8U));
}

TEST_F(AttendCommandTest, ExplainShowsThePlanOfASession) {
  RegisterModel();
  ASSERT_EQ(Run({"session", "create", "--model", "m", "--tokens", "1,2,3"}).exit_code, 0);

  const Outcome outcome = Run({"explain", "session-0", "--layer", "1"});

  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("Layer 1 of session 'session-0'"), HasSubstr("STAGE")));
  EXPECT_EQ(Run({"explain", "unknown"}).exit_code, 1);
}

}  // namespace
}  // namespace alaya::client
