#include "client/files/array_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/client/test_files.h"

namespace alaya::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<float> kSix = {1, 2, 3, 4, 5, 6};

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
                            {{"six.npy", Npy("<f4", "(2, 3)", BytesOf(kSix))},
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
  EXPECT_EQ(ReadAll<float>(**file, *info), kSix);

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

  for (const float expected : kSix) {
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
                   return directory.Write("six.npy", Npy("<f4", "(2, 3)", BytesOf(kSix)));
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
                                   "pad" + BytesOf(kSix)));
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

TEST(ArrayFileTest, ADirectoryIsNoFile) {
  const TemporaryDirectory directory;
  const std::string path = directory.Path("x.npy");
  ASSERT_EQ(std::rename(directory.Write("x", "").c_str(), path.c_str()), 0);

  EXPECT_FALSE(ArrayFile::Open(path).ok());
}

TEST(ArrayFileTest, ADamagedNpzEntryIsDataLoss) {
  const TemporaryDirectory directory;
  const std::string good = Npy("<f4", "(2, 3)", BytesOf(kSix));
  const std::string path = directory.WriteZip("a.npz", {{"six.npy", good}}, /*deflated=*/false);
  // Flips a bit of the last element, behind the header and in front of the central directory.
  std::FILE* raw = std::fopen(path.c_str(), "r+b");
  ASSERT_NE(raw, nullptr);
  std::string content(4096, '\0');
  content.resize(std::fread(content.data(), 1, content.size(), raw));
  const size_t position = content.find(BytesOf(kSix)) + 5 * sizeof(float);
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

struct MalformedFile {
  const char* name;
  const char* file_name;
  std::string content;
};

class MalformedFileTest : public testing::TestWithParam<MalformedFile> {};

TEST_P(MalformedFileTest, IsRefused) {
  const TemporaryDirectory directory;

  const auto file = ArrayFile::Open(directory.Write(GetParam().file_name, GetParam().content));

  EXPECT_TRUE(file.status().code() == StatusCode::kInvalidArgument ||
              file.status().code() == StatusCode::kDataLoss)
      << file.status();
}

std::string OneTensor(std::string_view fields) {
  return Safetensors(R"({"a":{)" + std::string(fields) + "}}", std::string(16, 'x'));
}

INSTANTIATE_TEST_SUITE_P(
    Files, MalformedFileTest,
    testing::Values(
        MalformedFile{"EmptyNpy", "a.npy", ""},
        MalformedFile{"NpyCutInTheHeader", "a.npy", Npy("<f4", "(1,)", "").substr(0, 30)},
        MalformedFile{"NpyCutInTheData", "a.npy", Npy("<f4", "(2,)", "1234567")},
        MalformedFile{"NpyWithTrailingBytes", "a.npy", Npy("<f4", "(2,)", "123456789")},
        MalformedFile{"EmptyNpz", "a.npz", ""},
        MalformedFile{"NpzThatIsNoZip", "a.npz", std::string(1000, 'z')},
        MalformedFile{"EmptySafetensors", "a.safetensors", ""},
        MalformedFile{"HeaderBeyondTheFile", "a.safetensors", std::string(8, '\x7F') + "{}"},
        MalformedFile{"NoJson", "a.safetensors", Safetensors("{", "")},
        MalformedFile{"JsonArray", "a.safetensors", Safetensors("[]", "")},
        MalformedFile{"DeeplyNestedJson", "a.safetensors",
                      Safetensors(std::string(100000, '['), "")},
        MalformedFile{"NoObject", "a.safetensors", Safetensors(R"({"a":1})", "")},
        MalformedFile{"NoDtype", "a.safetensors",
                      OneTensor(R"("shape":[4],"data_offsets":[0,16])")},
        MalformedFile{"UnknownDtype", "a.safetensors",
                      OneTensor(R"("dtype":"F8","shape":[4],"data_offsets":[0,16])")},
        MalformedFile{"NumberAsDtype", "a.safetensors",
                      OneTensor(R"("dtype":1,"shape":[4],"data_offsets":[0,16])")},
        MalformedFile{"NegativeShape", "a.safetensors",
                      OneTensor(R"("dtype":"F32","shape":[-4],"data_offsets":[0,16])")},
        MalformedFile{"FractionalShape", "a.safetensors",
                      OneTensor(R"("dtype":"F32","shape":[4.0],"data_offsets":[0,16])")},
        MalformedFile{"OneOffset", "a.safetensors",
                      OneTensor(R"("dtype":"F32","shape":[4],"data_offsets":[0])")},
        MalformedFile{"OffsetsReversed", "a.safetensors",
                      OneTensor(R"("dtype":"F32","shape":[0],"data_offsets":[8,4])")},
        MalformedFile{"OffsetsBeyondTheData", "a.safetensors",
                      OneTensor(R"("dtype":"F32","shape":[4],"data_offsets":[4,20])")},
        MalformedFile{"OffsetsUnlikeShape", "a.safetensors",
                      OneTensor(R"("dtype":"F32","shape":[4],"data_offsets":[0,12])")},
        MalformedFile{"ShapeOverflow", "a.safetensors",
                      OneTensor(R"("dtype":"F32","shape":[4294967296,4294967296,4],)"
                                R"("data_offsets":[0,16])")}),
    [](const auto& value) { return value.param.name; });

TEST(ArrayFileTest, AnNpzWithAMalformedArrayIsRefusedByName) {
  const TemporaryDirectory directory;
  const std::string path =
      directory.WriteZip("a.npz", {{"bad.npy", Npy("<f4", "(2, 2)", "short")}}, /*deflated=*/true);

  const auto file = ArrayFile::Open(path);

  EXPECT_EQ(file.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(file.status())), HasSubstr("bad.npy"));
}

}  // namespace
}  // namespace alaya::client
