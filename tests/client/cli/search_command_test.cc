#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/cli/alayactl_fixture.h"

namespace alaya::client {
namespace {

using testing::HasSubstr;

using SearchCommandTest = AlayactlTest;

TEST_F(SearchCommandTest, SearchShowsTokensAndScores) {
  RegisterModel();
  ASSERT_EQ(Run({"context", "import", WriteContext(), "--model", "m", "--id", "c"}).exit_code, 0);

  const Outcome outcome = Run({"search", "c", "--k", "1"});

  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("7:2.500"));
}

}  // namespace
}  // namespace alaya::client
