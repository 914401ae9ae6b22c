#include "client/files/file_reader.h"

#include <gtest/gtest.h>

#include <array>

#include "tests/client/test_files.h"

namespace alaya::client {
namespace {

std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(FileReaderTest, ReadsAtAnyPosition) {
  const TemporaryDirectory directory;
  const auto file = FileReader::Open(directory.Write("f", "0123456789"));
  ASSERT_TRUE(file.ok()) << file.status();
  std::array<std::byte, 3> buffer;

  EXPECT_EQ(file->size_bytes(), 10U);
  ASSERT_TRUE(file->ReadAt(7, buffer).ok());
  EXPECT_EQ(Text(buffer), "789");
  ASSERT_TRUE(file->ReadAt(0, buffer).ok());
  EXPECT_EQ(Text(buffer), "012");
}

TEST(FileReaderTest, ReadingBeyondTheEndIsDataLoss) {
  const TemporaryDirectory directory;
  const auto file = FileReader::Open(directory.Write("f", "0123456789"));
  std::array<std::byte, 3> buffer;

  EXPECT_EQ(file->ReadAt(8, buffer).code(), StatusCode::kDataLoss);
  EXPECT_TRUE(file->ReadAt(100, {}).ok());
}

TEST(FileReaderTest, ARangeEndsWhereItWasSetTo) {
  const TemporaryDirectory directory;
  const auto file = FileReader::Open(directory.Write("f", "0123456789"));
  FileRangeReader range(&*file, 2, 4);
  std::array<std::byte, 2> buffer;

  ASSERT_TRUE(range.Skip(1).ok());
  ASSERT_TRUE(range.Read(buffer).ok());
  EXPECT_EQ(Text(buffer), "34");
  EXPECT_EQ(range.Read(buffer).code(), StatusCode::kDataLoss);
  EXPECT_EQ(range.Skip(2).code(), StatusCode::kDataLoss);
  EXPECT_TRUE(range.Skip(1).ok());
}

TEST(FileReaderTest, WhatIsNoFileIsRefused) {
  const TemporaryDirectory directory;

  EXPECT_EQ(FileReader::Open(directory.Path("none")).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(FileReader::Open(directory.Path("")).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace alaya::client
