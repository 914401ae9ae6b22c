#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/cli/alayactl_fixture.h"

namespace alaya::client {
namespace {

using testing::HasSubstr;

class HeatmapCommandTest : public AlayactlTest {
 protected:
  void SetUp() override {
    RegisterModel();
    ASSERT_EQ(Run({"context", "import", WriteContext(), "--model", "m", "--id", "c"}).exit_code, 0);
  }
};

TEST_F(HeatmapCommandTest, EveryHeadHasARow) {
  const Outcome outcome = Run({"heatmap", "c"});

  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const char* head : {"head   0 |", "head   3 |"}) EXPECT_THAT(outcome.out, HasSubstr(head));
}

TEST_F(HeatmapCommandTest, JsonHasTheNumbers) {
  const Outcome outcome = Run({"--json", "heatmap", "c"});

  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr(R"("token_count":5)"));
  EXPECT_THAT(outcome.out, HasSubstr(R"("shares":[)"));
}

TEST_F(HeatmapCommandTest, AFileThatCannotBeWrittenIsNamed) {
  const Outcome outcome = Run({"heatmap", "c", "--png", "/nowhere/picture.png"});

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("/nowhere/picture.png"));
}

}  // namespace
}  // namespace alaya::client
