#include "client/cli/terminal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace alaya::client {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

TEST(TerminalTest, BytesHaveBinaryUnits) {
  EXPECT_EQ(BytesText(0), "0 B");
  EXPECT_EQ(BytesText(1023), "1023 B");
  EXPECT_EQ(BytesText(1024), "1.0 KiB");
  EXPECT_EQ(BytesText(1536), "1.5 KiB");
  EXPECT_EQ(BytesText((uint64_t{1} << 20) - 1), "1.0 MiB");
  EXPECT_EQ(BytesText(uint64_t{5} << 30), "5.0 GiB");
  EXPECT_EQ(BytesText(UINT64_MAX), "16.0 EiB");
}

TEST(TerminalTest, CountsAreGroupedByThousands) {
  EXPECT_EQ(CountText(0), "0");
  EXPECT_EQ(CountText(999), "999");
  EXPECT_EQ(CountText(1000), "1,000");
  EXPECT_EQ(CountText(1234567), "1,234,567");
}

TEST(TerminalTest, TimesTakeTheFittingUnit) {
  EXPECT_EQ(SecondsText(0.35), "350 ms");
  EXPECT_EQ(SecondsText(42), "42.0 s");
  EXPECT_EQ(SecondsText(200), "3 min 20 s");
  EXPECT_EQ(SecondsText(7500), "2 h 5 min");
  EXPECT_EQ(SecondsText(90000), "1 d 1 h");
  EXPECT_EQ(MicrosecondsText(87.31), "87.3 us");
  EXPECT_EQ(MicrosecondsText(1520), "1.52 ms");
  EXPECT_EQ(MicrosecondsText(2.1e6), "2.10 s");
  EXPECT_EQ(TimeText(0), "1970-01-01 00:00:00Z");
}

TEST(TerminalTest, APercentageOfNothingIsADash) {
  EXPECT_EQ(PercentText(1, 8), "12.5 %");
  EXPECT_EQ(PercentText(0, 0), "-");
}

TEST(TableTest, ColumnsAreAlignedAndLinesEndWithoutSpaces) {
  Table table({"NAME", ">SIZE", "NOTE"});
  table.AddRow({"a", "10", ""});
  table.AddRow({"longer", "5", "x"});

  EXPECT_EQ(table.Text(),
            "NAME    SIZE  NOTE\n"
            "a         10\n"
            "longer     5  x\n");
}

TEST(TableTest, WithoutRowsTheHeadingStays) { EXPECT_EQ(Table({"A", "B"}).Text(), "A  B\n"); }

TEST(FieldsTest, ValuesAreAligned) {
  EXPECT_EQ(FieldsText({{"A", "1"}, {"Longer", "2"}}), "A:       1\nLonger:  2\n");
  EXPECT_EQ(FieldsText({{"Empty", ""}}), "Empty:\n");
}

TEST(ProgressTextTest, ShowsShareRateAndTimeToGo) {
  const std::string text = ProgressText("importing", 256 << 20, 1024 << 20, 2.0, 100);

  EXPECT_THAT(text, HasSubstr("[#####"));
  EXPECT_THAT(text, HasSubstr(" 25 %  256.0 MiB of 1.0 GiB  128.0 MiB/s  6.0 s left"));
}

TEST(ProgressTextTest, ADoneBarIsFullAndTellsHowLongItTook) {
  const std::string text = ProgressText("importing", 100, 100, 2.0, 100);

  EXPECT_THAT(text, HasSubstr("#]  100 %"));
  EXPECT_THAT(text, EndsWith("in 2.0 s"));
}

TEST(ProgressTextTest, AnythingFitsTheWidth) {
  for (size_t width = 0; width < 120; ++width) {
    EXPECT_LE(ProgressText("label", 1 << 20, 1 << 30, 3.5, width).size(), width);
  }
}

TEST(ProgressTextTest, OddTotalsDoNoHarm) {
  EXPECT_THAT(ProgressText("x", 0, 0, 0, 100), HasSubstr("100 %"));
  EXPECT_THAT(ProgressText("x", 200, 100, 1, 100), HasSubstr("100 %"));
}

TEST(ProgressBarTest, AnInvisibleBarPrintsNothing) {
  std::ostringstream terminal;
  {
    ProgressBar bar(terminal, /*visible=*/false, "x", 100);
    bar.Update(50);
  }
  EXPECT_EQ(terminal.str(), "");
}

TEST(ProgressBarTest, DrawsAtMostTenTimesASecondAndTheLastState) {
  std::ostringstream terminal;
  std::chrono::steady_clock::time_point now;
  {
    ProgressBar bar(terminal, /*visible=*/true, "x", 1000, [&now] { return now; });
    for (uint64_t step = 1; step <= 1000; ++step) {
      now += std::chrono::milliseconds(1);
      bar.Update(step);
    }
  }
  const std::string text = terminal.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\r'), 11);
  EXPECT_THAT(text, HasSubstr("100 %  1000 B of 1000 B"));
  EXPECT_THAT(text, EndsWith("\n"));
}

}  // namespace
}  // namespace alaya::client
