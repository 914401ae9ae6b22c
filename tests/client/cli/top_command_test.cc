#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/client/cli/alayactl_fixture.h"

namespace alaya::client {
namespace {

using testing::HasSubstr;
using testing::Not;

using TopCommandTest = AlayactlTest;

TEST_F(TopCommandTest, EachLookShowsTheTiers) {
  const Outcome outcome = Run({"top", "--count", "2", "--interval", "1ms"});

  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const size_t first = outcome.out.find("TIER");
  EXPECT_NE(outcome.out.find("TIER", first + 1), std::string::npos);
  EXPECT_THAT(outcome.out, HasSubstr("0/s"));
}

TEST_F(TopCommandTest, OnlyATerminalIsCleared) {
  EXPECT_THAT(Run({"top", "--count", "1"}).out, Not(HasSubstr("\x1b")));
  EXPECT_THAT(Run({"top", "--count", "1"}, /*terminal=*/true).out, HasSubstr("\x1b[2J"));
}

TEST_F(TopCommandTest, JsonIsALinePerLook) {
  const std::string out = Run({"top", "--count", "3", "--interval", "1ms", "--json"}).out;

  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 3);
}

}  // namespace
}  // namespace alaya::client
