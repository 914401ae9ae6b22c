#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/cli/alayactl_fixture.h"

namespace alaya::client {
namespace {

using testing::HasSubstr;

using ContextImportCommandTest = AlayactlTest;

TEST_F(ContextImportCommandTest, ImportSendsTheWholeFile) {
  RegisterModel();

  const Outcome outcome = Run({"context", "import", "--label", "a=1", WriteContext(), "--model",
                               "m", "--id", "c", "--label", "b=2", "--ttl", "90s", "--pin"});

  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("context 'c' stored: 5 tokens"));
  EXPECT_EQ(outcome.err, "");
  const ImportedContext imported = server_.contexts.contexts().at("c");
  EXPECT_EQ(imported.header.tokens_size(), 5);
  EXPECT_EQ(imported.header.labels().at("a"), "1");
  EXPECT_EQ(imported.header.labels().at("b"), "2");
  EXPECT_EQ(imported.header.ttl().seconds(), 90);
  EXPECT_TRUE(imported.pinned);
  EXPECT_EQ(imported.keys.at(0), std::string(160, 'a'));
  EXPECT_EQ(imported.values.at(1), std::string(160, 'B'));
  EXPECT_EQ(imported.queries.at(0), std::string(384, 'q'));
}

TEST_F(ContextImportCommandTest, ImportLeavesOutWhatTheServerStores) {
  RegisterModel();
  server_.contexts.matched_tokens = 3;

  ASSERT_EQ(Run({"context", "import", WriteContext(), "--model", "m", "--id", "c"}).exit_code, 0);

  EXPECT_EQ(server_.contexts.contexts().at("c").token_counts.at(1), 2U);
}

TEST_F(ContextImportCommandTest, ImportConvertsOnlyWhenAsked) {
  RegisterModel("bf16");
  const std::string file = WriteContext();

  const Outcome refused = Run({"context", "import", file, "--model", "m"});
  const Outcome converted = Run({"context", "import", file, "--model", "m", "--convert"});

  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr("--convert"));
  EXPECT_EQ(converted.exit_code, 0) << converted.err;
}

TEST_F(ContextImportCommandTest, ImportIntoAnUnknownModelIsRefused) {
  const Outcome outcome = Run({"context", "import", WriteContext(), "--model", "other"});

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("'other'"));
}

TEST_F(ContextImportCommandTest, ImportDrawsItsProgressOnATerminalOnly) {
  RegisterModel();
  const std::string file = WriteContext();

  EXPECT_THAT(Run({"context", "import", file, "--model", "m"}, /*terminal=*/true).err,
              HasSubstr("100 %"));
  EXPECT_EQ(Run({"--json", "context", "import", file, "--model", "m"}, /*terminal=*/true).err, "");
}

}  // namespace
}  // namespace alaya::client
