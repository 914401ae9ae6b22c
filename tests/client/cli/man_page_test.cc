#include "client/cli/man_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>

#include "client/cli/command_line.h"
#include "tests/client/test_files.h"

namespace alaya::client {
namespace {

using testing::HasSubstr;

std::string Page() {
  std::ostringstream out;
  CommandLine line{.out = out, .err = out};
  CLI::App app("Does things.", "alayactl");
  DeclareAlayactl(app, line);
  return ManPage(DescribeCommands(app));
}

TEST(ManPageTest, EveryCommandHasItsOptionsAndExamples) {
  const std::string page = Page();

  EXPECT_THAT(page, HasSubstr(".SS \"alayactl context import file\""));
  EXPECT_THAT(page, HasSubstr("\\fB\\-\\-model\\fR \\fITEXT\\fR (required)"));
  EXPECT_THAT(page, HasSubstr("alayactl context delete book draft"));
  EXPECT_THAT(page, HasSubstr(".SS \"alayactl bench\""));
}

TEST(ManPageTest, NoTextIsTakenForARequest) {
  const CommandDescription program{.text = ".begins with a dot\n'or a quote\nback\\slash"};

  EXPECT_THAT(ManPage({&program, 1}),
              HasSubstr("\\&.begins with a dot\n\\&'or a quote\nback\\eslash"));
}

TEST(ManPageTest, GroffRendersItWithoutAWarning) {
  if (std::system("command -v groff >/dev/null 2>&1") != 0) GTEST_SKIP() << "no groff";
  const TemporaryDirectory directory;
  const std::string file = directory.Write("alayactl.1", Page());

  std::FILE* pipe = popen(("groff -man -Tutf8 -ww -z " + file + " 2>&1").c_str(), "r");
  std::array<char, 4096> buffer{};
  std::string warnings;
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) warnings += buffer.data();

  EXPECT_EQ(pclose(pipe), 0);
  EXPECT_EQ(warnings, "");
}

}  // namespace
}  // namespace alaya::client
