#include "server/access/key_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "tests/support/temp_directory.h"

namespace alaya {
namespace {

using testing::HasSubstr;

class KeyFilesTest : public testing::Test {
 protected:
  static std::string Line(const std::string& name, const std::string& secret) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string line = name + " default write sha256:";
    for (const uint8_t byte : HashKey(secret)) {
      line += {kDigits[byte >> 4U], kDigits[byte & 15U]};
    }
    return line + "\n";
  }
  void Write(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::trunc) << text;
  }

  const TempDirectory directory_;
  const std::string first_ = directory_ / "first";
  const std::string second_ = directory_ / "second";
  KeyRing ring_;
  KeyFiles files_{{first_, second_}, &ring_};
};

TEST_F(KeyFilesTest, TakesTheKeysOfAllFiles) {
  Write(first_, Line("a", "1"));
  Write(second_, Line("b", "2") + Line("c", "3"));

  EXPECT_TRUE(files_.Load().value());

  EXPECT_EQ(ring_.size(), 3);
  EXPECT_EQ(ring_.Find("3").value()->name(), "c");
  EXPECT_FALSE(files_.Load().value()) << "nothing has changed";
}

TEST_F(KeyFilesTest, RotatesAKeyWithoutAMomentInWhichNeitherCounts) {
  Write(first_, Line("old", "1"));
  Write(second_, "");
  ASSERT_TRUE(files_.Load().value());

  Write(second_, Line("new", "2"));
  EXPECT_TRUE(files_.Load().value());
  EXPECT_TRUE(ring_.Find("1").ok());
  EXPECT_TRUE(ring_.Find("2").ok());

  Write(first_, "");
  EXPECT_TRUE(files_.Load().value());
  EXPECT_FALSE(ring_.Find("1").ok());
  EXPECT_TRUE(ring_.Find("2").ok());
}

TEST_F(KeyFilesTest, ABadFileLeavesTheKeysAndIsToldOnce) {
  Write(first_, Line("a", "1"));
  Write(second_, "");
  ASSERT_TRUE(files_.Load().value());

  Write(second_, "rubbish\n");
  const auto loaded = files_.Load();

  EXPECT_EQ(loaded.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(loaded.status())), HasSubstr(second_));
  EXPECT_TRUE(ring_.Find("1").ok());
  EXPECT_FALSE(files_.Load().value());
  EXPECT_FALSE(files_.Load(/*again=*/true).ok());
}

TEST_F(KeyFilesTest, AMissingFileOrOneWithoutKeysIsAnError) {
  Write(first_, Line("a", "1"));
  EXPECT_THAT(std::string(Message(files_.Load().status())), HasSubstr(second_));

  Write(first_, "# none\n");
  Write(second_, "");
  EXPECT_EQ(files_.Load().status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace alaya
