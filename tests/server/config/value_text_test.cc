#include "server/config/value_text.h"

#include <gtest/gtest.h>

#include <string>

namespace alaya {
namespace {

TEST(ByteSizeTest, PlainBytesAndBinaryUnitsAreRead) {
  EXPECT_EQ(*ParseBytes("0"), 0U);
  EXPECT_EQ(*ParseBytes("1234"), 1234U);
  EXPECT_EQ(*ParseBytes("1KiB"), 1024U);
  EXPECT_EQ(*ParseBytes("512MiB"), uint64_t{512} << 20);
  EXPECT_EQ(*ParseBytes("8GiB"), uint64_t{8} << 30);
  EXPECT_EQ(*ParseBytes("2TiB"), uint64_t{2} << 40);
  EXPECT_EQ(*ParseBytes("18446744073709551615"), UINT64_MAX);
}

TEST(ByteSizeTest, AnythingElseIsRefused) {
  for (const char* text : {"", "8GB", "8G", "8 GiB", "8gib", "-1", "+1", "1.5GiB", "GiB", "8GiBx",
                           "0x10", "18446744073709551616", "16777216TiB", " 8GiB"}) {
    EXPECT_EQ(ParseBytes(text).status().code(), StatusCode::kInvalidArgument) << text;
  }
}

TEST(ByteSizeTest, TextReadsBackAsTheSameNumber) {
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}, uint64_t{1023}, uint64_t{1024},
                               uint64_t{3} << 20, (uint64_t{5} << 30) + 1, uint64_t{7} << 40}) {
    EXPECT_EQ(*ParseBytes(BytesText(bytes)), bytes);
  }
  EXPECT_EQ(BytesText(uint64_t{8} << 30), "8GiB");
}

TEST(DurationTest, NeedsAWholeNumberAndAUnit) {
  EXPECT_EQ(ParseDuration("30s")->count(), 30'000);
  EXPECT_EQ(ParseDuration("250ms")->count(), 250);
  EXPECT_EQ(ParseDuration("2m")->count(), 120'000);
  EXPECT_EQ(ParseDuration("1h")->count(), 3'600'000);
  for (const char* text : {"", "30", "s", "1.5s", "-1s", "30 s", "1d", "99999999h"}) {
    EXPECT_EQ(ParseDuration(text).status().code(), StatusCode::kInvalidArgument) << text;
  }
  EXPECT_EQ(DurationText(std::chrono::milliseconds(90'000)), "90s");
}

TEST(ListenAddressTest, KnowsWhatOtherMachinesReach) {
  for (const char* text : {"127.0.0.1:50600", "127.9.9.9:0", "localhost:1", "[::1]:50600",
                           "unix:/run/alayadb.sock", "unix:relative"}) {
    const auto address = ParseListenAddress(text);
    ASSERT_TRUE(address.ok()) << text;
    EXPECT_TRUE(address->is_local()) << text;
  }
  for (const char* text : {"0.0.0.0:50600", "[::]:50600", "192.168.1.1:1", "example.com:443",
                           "127.0.0.1.example.com:1", "[::ffff:8.8.8.8]:1"}) {
    const auto address = ParseListenAddress(text);
    ASSERT_TRUE(address.ok()) << text;
    EXPECT_FALSE(address->is_local()) << text;
  }
}

TEST(ListenAddressTest, MalformedAddressesAreRefused) {
  const std::string long_path = "unix:" + std::string(108, 'x');
  for (const char* text : {"", "50600", ":50600", "localhost", "localhost:", "localhost:x",
                           "localhost:65536", "localhost:-1", "::1:50600", "[::1]", "[nonsense]:1",
                           "unix:", "a b:1", long_path.c_str()}) {
    EXPECT_EQ(ParseListenAddress(text).status().code(), StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace alaya
