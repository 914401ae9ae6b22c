#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/cli/alayactl_fixture.h"

namespace alaya::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

using ContextCommandsTest = AlayactlTest;

TEST_F(ContextCommandsTest, ContextsAreListedPageByPageAndDeleted) {
  RegisterModel();
  const std::string file = WriteContext();
  for (const char* id : {"one", "three", "two"}) {
    ASSERT_EQ(Run({"context", "import", file, "--model", "m", "--id", id}).exit_code, 0);
  }

  const Outcome list = Run({"context", "list"});
  const Outcome deletion = Run({"context", "delete", "one", "two"});
  const Outcome rest = Run({"context", "list"});

  EXPECT_THAT(list.out, AllOf(HasSubstr("one"), HasSubstr("two"), HasSubstr("three")));
  EXPECT_EQ(deletion.exit_code, 0);
  EXPECT_THAT(deletion.out, HasSubstr("2.0 KiB"));
  EXPECT_THAT(rest.out, AllOf(Not(HasSubstr("one")), HasSubstr("three")));
}

TEST_F(ContextCommandsTest, ContextsAreUpdated) {
  RegisterModel();
  ASSERT_EQ(Run({"context", "import", WriteContext(), "--model", "m", "--id", "c"}).exit_code, 0);

  ASSERT_EQ(Run({"context", "update", "c", "--pin", "--label", "x=y"}).exit_code, 0);

  EXPECT_TRUE(server_.contexts.contexts().at("c").pinned);
  EXPECT_EQ(server_.contexts.contexts().at("c").header.labels().at("x"), "y");
  ASSERT_EQ(Run({"context", "update", "c", "--unpin"}).exit_code, 0);
  EXPECT_FALSE(server_.contexts.contexts().at("c").pinned);
  EXPECT_EQ(server_.contexts.contexts().at("c").header.labels().size(), 1U);
}

}  // namespace
}  // namespace alaya::client
