#include "client/files/array_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/client/test_files.h"

namespace alaya::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<float> Six() { return {1, 2, 3, 4, 5, 6}; }

template <typename T>
std::vector<T> ReadAll(const ArrayFile& file, const ArrayInfo& info) {
  const auto reader = file.OpenArray(info);
  EXPECT_TRUE(reader.ok()) << reader.status();
  std::vector<T> values(info.bytes / sizeof(T));
  const Status status = (*reader)->Read(std::as_writable_bytes(std::span(values)));
  EXPECT_TRUE(status.ok()) << status;
  return values;
}

struct GoodFile {
  const char* name;
  // Writes a file with the array "six" (unnamed in .npy), [2, 3] of float32: 1 .. 6.
  std::string (*write)(const TemporaryDirectory& directory);
  const char* array;
};

std::string WriteNpz(const TemporaryDirectory& directory, bool deflated) {
  return directory.WriteZip(deflated ? "deflated.npz" : "stored.npz",
                            {{"six.npy", Npy("<f4", "(2, 3)", BytesOf(Six()))},
                             {"other.npy", Npy("<i4", "(1,)", std::string(4, '\x07'))},
                             {"readme.txt", "no array"}},
                            deflated);
}

class GoodFileTest : public testing::TestWithParam<GoodFile> {
 protected:
  TemporaryDirectory directory_;
};

TEST_P(GoodFileTest, ArraysAreReadWholeAndInPieces) {
  const auto file = ArrayFile::Open(GetParam().write(directory_));
  ASSERT_TRUE(file.ok()) << file.status();
  const ArrayInfo* info = (*file)->Find(GetParam().array);
  ASSERT_NE(info, nullptr);
  EXPECT_EQ(info->type, ElementType::kF32);
  EXPECT_THAT(info->shape, ElementsAre(2U, 3U));
  EXPECT_EQ(ReadAll<float>(**file, *info), Six());

  const auto reader = (*file)->OpenArray(*info);
  ASSERT_TRUE(reader.ok());
  float third = 0;
  ASSERT_TRUE((*reader)->Skip(2 * sizeof(float)).ok());
  ASSERT_TRUE((*reader)->Read(std::as_writable_bytes(std::span(&third, 1))).ok());
  EXPECT_EQ(third, 3.0F);
  EXPECT_EQ((*reader)->Skip(4 * sizeof(float)).code(), StatusCode::kDataLoss);
}

TEST_P(GoodFileTest, SeveralReadersDoNotDisturbEachOther) {
  const auto file = ArrayFile::Open(GetParam().write(directory_));
  ASSERT_TRUE(file.ok()) << file.status();
  const ArrayInfo& info = *(*file)->Find(GetParam().array);
  const auto first = (*file)->OpenArray(info);
  const auto second = (*file)->OpenArray(info);

  for (const float expected : Six()) {
    for (const auto* reader : {&first, &second}) {
      float value = 0;
      ASSERT_TRUE((**reader)->Read(std::as_writable_bytes(std::span(&value, 1))).ok());
      EXPECT_EQ(value, expected);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Formats, GoodFileTest,
    testing::Values(
        GoodFile{"Npy",
                 [](const TemporaryDirectory& directory) {
                   return directory.Write("six.npy", Npy("<f4", "(2, 3)", BytesOf(Six())));
                 },
                 ""},
        GoodFile{"StoredNpz",
                 [](const TemporaryDirectory& directory) { return WriteNpz(directory, false); },
                 "six"},
        GoodFile{"DeflatedNpz",
                 [](const TemporaryDirectory& directory) { return WriteNpz(directory, true); },
                 "six"},
        GoodFile{"Safetensors",
                 [](const TemporaryDirectory& directory) {
                   return directory.Write(
                       "six.safetensors",
                       Safetensors(R"({"__metadata__":{"format":"pt"},)"
                                   R"("pad":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                                   R"("six":{"dtype":"F32","shape":[2,3],"data_offsets":[3,27]}})",
                                   "pad" + BytesOf(Six())));
                 },
                 "six"}),
    [](const auto& value) { return value.param.name; });

TEST(ArrayFileTest, AMissingFileIsNotFoundAndNamed) {
  for (const char* path : {"/nowhere/a.npy", "/nowhere/a.npz", "/nowhere/a.safetensors"}) {
    const auto file = ArrayFile::Open(path);
    EXPECT_EQ(file.status().code(), StatusCode::kNotFound) << file.status();
    EXPECT_THAT(std::string(Message(file.status())), HasSubstr(path));
  }
}

TEST(ArrayFileTest, AnUnknownExtensionIsRefused) {
  EXPECT_EQ(ArrayFile::Open("a.pt").status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace alaya::client
