#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/cli/alayactl_fixture.h"

namespace alaya::client {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

using DocumentationCommandsTest = AlayactlTest;

TEST_F(DocumentationCommandsTest, CompletionIsOfTheShellThatWasNamed) {
  EXPECT_THAT(Run({"completion", "bash"}).out, HasSubstr("complete -o default -F _alayactl"));
  EXPECT_THAT(Run({"completion", "zsh"}).out, StartsWith("#compdef alayactl\n"));
  EXPECT_THAT(Run({"completion", "fish"}).out, HasSubstr("complete -c alayactl"));
  EXPECT_EQ(Run({"completion", "csh"}).exit_code, 2);
}

TEST_F(DocumentationCommandsTest, TheManualPageIsPrinted) {
  EXPECT_THAT(Run({"man"}).out, HasSubstr(".TH ALAYACTL 1\n"));
}

}  // namespace
}  // namespace alaya::client
