#include "client/files/npy_header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/test_files.h"

namespace alaya::client {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

StatusOr<NpyHeader> Parse(const std::string& file) {
  ALAYA_ASSIGN_OR_RETURN(const size_t bytes, NpyHeaderBytes(Bytes(file).first(kNpyPreambleBytes)));
  if (bytes > file.size()) return DataLoss("the file is shorter than its header");
  return ParseNpyHeader(Bytes(file).first(bytes));
}

TEST(NpyHeaderTest, ReadsWhatNumpyWrites) {
  const auto header = Parse(Npy("<f4", "(3, 4)", ""));

  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->type, ElementType::kF32);
  EXPECT_THAT(header->shape, ElementsAre(3U, 4U));
  EXPECT_EQ(header->data_bytes, 48U);
}

TEST(NpyHeaderTest, ReadsScalarsAndVectors) {
  EXPECT_THAT(Parse(Npy("<f2", "()", ""))->shape, IsEmpty());
  EXPECT_EQ(Parse(Npy("<f2", "()", ""))->data_bytes, 2U);
  EXPECT_THAT(Parse(Npy("<f2", "(7,)", ""))->shape, ElementsAre(7U));
  EXPECT_EQ(Parse(Npy("<i8", "(0, 5)", ""))->data_bytes, 0U);
}

TEST(NpyHeaderTest, KeysMayComeInAnyOrderAndEitherQuotes) {
  const auto header =
      Parse(NpyWithDict("{\"shape\":(2,2),\"descr\":\"<u2\",\"fortran_order\":False}", ""));

  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->type, ElementType::kU16);
}

TEST(NpyHeaderTest, ReadsVersionTwo) {
  std::string file = Npy("<f4", "(1,)", "");
  file[6] = '\x02';
  file.insert(10, 2, '\0');

  EXPECT_TRUE(Parse(file).ok());
}

TEST(NpyHeaderTest, AVectorInFortranOrderIsAVector) {
  EXPECT_TRUE(
      Parse(NpyWithDict("{'descr': '<f4', 'fortran_order': True, 'shape': (3,), }", "")).ok());
}

TEST(NpyHeaderTest, ItsOwnHeadersAreReadBackAndAligned) {
  for (const std::vector<uint64_t>& shape :
       {std::vector<uint64_t>{}, {5}, {1, 2, 3}, {123456789, 1, 1, 1, 1, 1, 1, 1}}) {
    const std::string file = MakeNpyHeader(shape);

    const auto header = Parse(file);

    ASSERT_TRUE(header.ok()) << header.status();
    EXPECT_EQ(header->shape, shape);
    EXPECT_EQ(file.size() % 64, 0U);
  }
}

struct MalformedCase {
  const char* name;
  std::string file;
};

class MalformedNpyTest : public testing::TestWithParam<MalformedCase> {};

TEST_P(MalformedNpyTest, IsRefused) {
  EXPECT_EQ(Parse(GetParam().file).status().code(), StatusCode::kInvalidArgument);
}

std::string WithByte(std::string file, size_t position, char byte) {
  file[position] = byte;
  return file;
}

std::string Good() { return Npy("<f4", "(3, 4)", ""); }

INSTANTIATE_TEST_SUITE_P(
    Headers, MalformedNpyTest,
    testing::Values(
        MalformedCase{"OtherMagic", WithByte(Good(), 1, 'M')},
        MalformedCase{"VersionZero", WithByte(Good(), 6, '\x00')},
        MalformedCase{"VersionFour", WithByte(Good(), 6, '\x04')},
        MalformedCase{"HugeHeader", WithByte(WithByte(Good(), 6, '\x02'), 11, '\x7F')},
        MalformedCase{"EmptyHeader", NpyWithDict("", "xx")},
        MalformedCase{"OneByteHeader", NpyWithDict("{", "x")},
        MalformedCase{"NoDict", NpyWithDict("                ", "")},
        MalformedCase{"UnclosedDict", NpyWithDict("{'descr': '<f4', ", "")},
        MalformedCase{"UnclosedString", NpyWithDict("{'descr: <f4}      ", "")},
        MalformedCase{"NoShape", NpyWithDict("{'descr': '<f4', 'fortran_order': False}", "")},
        MalformedCase{"ShapeTwice",
                      NpyWithDict("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), "
                                  "'shape': (2,)}",
                                  "")},
        MalformedCase{"UnknownKey", NpyWithDict("{'descr': '<f4', 'fortran_order': False, "
                                                "'shape': (1,), 'x': 1}",
                                                "")},
        MalformedCase{"WordsAfterTheDict",
                      NpyWithDict("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", "")},
        MalformedCase{"NegativeSize", Npy("<f4", "(-1, 4)", "")},
        MalformedCase{"SizeOverflow", Npy("<f4", "(99999999999999999999,)", "")},
        MalformedCase{"ProductOverflow", Npy("<f8", "(4294967296, 4294967296)", "")},
        MalformedCase{"NoTuple", Npy("<f4", "(3)", "")},
        MalformedCase{"OpenTuple", Npy("<f4", "(3, 4", "")},
        MalformedCase{"BigEndian", Npy(">f4", "(3,)", "")},
        MalformedCase{"Object", Npy("|O", "(3,)", "")},
        MalformedCase{"Escapes", Npy("<f4\\'", "(3,)", "")},
        MalformedCase{
            "ColumnMajor",
            NpyWithDict("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 4), }", "")},
        MalformedCase{"TooManyDimensions",
                      Npy("<f4",
                          "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"
                          "1,1)",
                          "")}),
    [](const auto& value) { return value.param.name; });

TEST(NpyHeaderTest, NoPrefixOfAHeaderIsTakenForOne) {
  const std::string dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }";
  for (size_t length = 2; length < dict.size(); ++length) {
    EXPECT_FALSE(Parse(NpyWithDict(dict.substr(0, length), "")).ok()) << length;
  }
  EXPECT_TRUE(Parse(NpyWithDict(dict, "")).ok());
}

}  // namespace
}  // namespace alaya::client
