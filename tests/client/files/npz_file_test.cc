#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/client/files/malformed_file.h"

namespace alaya::client {
namespace {

using testing::HasSubstr;

std::vector<float> Six() { return {1, 2, 3, 4, 5, 6}; }

class MalformedNpzFileTest : public testing::TestWithParam<MalformedFile> {};

TEST_P(MalformedNpzFileTest, IsRefused) { ExpectRefused(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Files, MalformedNpzFileTest,
                         testing::Values(MalformedFile{"EmptyNpz", "a.npz", ""},
                                         MalformedFile{"NpzThatIsNoZip", "a.npz",
                                                       std::string(1000, 'z')}),
                         [](const auto& value) { return value.param.name; });

TEST(NpzFileTest, ADamagedEntryIsDataLoss) {
  const TemporaryDirectory directory;
  const std::string good = Npy("<f4", "(2, 3)", BytesOf(Six()));
  const std::string path = directory.WriteZip("a.npz", {{"six.npy", good}}, /*deflated=*/false);
  // Flips a bit of the last element, behind the header and in front of the central directory.
  std::FILE* raw = std::fopen(path.c_str(), "r+b");
  ASSERT_NE(raw, nullptr);
  std::string content(4096, '\0');
  content.resize(std::fread(content.data(), 1, content.size(), raw));
  const size_t position = content.find(BytesOf(Six())) + 5 * sizeof(float);
  ASSERT_EQ(std::fseek(raw, static_cast<long>(position), SEEK_SET), 0);
  ASSERT_NE(std::fputc(content[position] ^ 1, raw), EOF);
  std::fclose(raw);

  const auto file = ArrayFile::Open(path);

  ASSERT_TRUE(file.ok()) << file.status();
  const auto reader = (*file)->OpenArray((*file)->arrays()[0]);
  ASSERT_TRUE(reader.ok()) << reader.status();
  std::vector<std::byte> bytes(24);
  EXPECT_EQ((*reader)->Read(bytes).code(), StatusCode::kDataLoss);
}

TEST(NpzFileTest, AnArchiveWithAMalformedArrayIsRefusedByName) {
  const TemporaryDirectory directory;
  const std::string path =
      directory.WriteZip("a.npz", {{"bad.npy", Npy("<f4", "(2, 2)", "short")}}, /*deflated=*/true);

  const auto file = ArrayFile::Open(path);

  EXPECT_EQ(file.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(file.status())), HasSubstr("bad.npy"));
}

}  // namespace
}  // namespace alaya::client
