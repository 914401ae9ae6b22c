#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/cli/alayactl_fixture.h"

namespace alaya::client {
namespace {

using testing::HasSubstr;
using testing::Not;

using SessionCommandsTest = AlayactlTest;

TEST_F(SessionCommandsTest, SessionsAreOpenedListedAndClosed) {
  ASSERT_EQ(Run({"session", "create", "--model", "m", "--tokens", "1,2,3"}).exit_code, 0);
  ASSERT_EQ(Run({"session", "create", "--model", "m", "--tokens", "4"}).exit_code, 0);

  const Outcome list = Run({"session", "list"});
  const Outcome closing = Run({"session", "close", "session-0"});
  const Outcome rest = Run({"session", "list"});

  EXPECT_THAT(list.out, HasSubstr("session-0"));
  EXPECT_EQ(closing.out, "session 'session-0' closed\n");
  EXPECT_THAT(rest.out, Not(HasSubstr("session-0")));
  EXPECT_THAT(rest.out, HasSubstr("session-1"));
}

TEST_F(SessionCommandsTest, TheModelOfANamedContextIsLookedUp) {
  RegisterModel();
  ASSERT_EQ(Run({"context", "import", WriteContext(), "--model", "m", "--id", "c"}).exit_code, 0);

  ASSERT_EQ(Run({"session", "create", "--context", "c"}).exit_code, 0);

  EXPECT_EQ(server_.sessions.sessions().at("session-0").model(), "m");
  EXPECT_EQ(server_.sessions.sessions().at("session-0").context_id(), "c");
}

TEST_F(SessionCommandsTest, AContextAndTokensExcludeEachOther) {
  EXPECT_EQ(Run({"session", "create", "--context", "c", "--tokens", "1"}).exit_code, 2);
}

TEST_F(SessionCommandsTest, AnUnknownSessionIsRefused) {
  EXPECT_EQ(Run({"session", "close", "nosuch"}).exit_code, 1);
  EXPECT_EQ(Run({"session", "attend", "nosuch"}).exit_code, 1);
}

}  // namespace
}  // namespace alaya::client
