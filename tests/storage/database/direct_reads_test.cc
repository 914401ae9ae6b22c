// Bytes read past the system's cache are those of the file, wherever they lie and however
// they are asked for.

#include "storage/database/direct_reads.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <initializer_list>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/temp_directory.h"

namespace alaya {
namespace {

constexpr size_t kMebibyte = size_t{1} << 20;
// No multiple of anything, and longer than a buffer.
constexpr size_t kFileBytes = 5 * kMebibyte + 12'345;

class DirectReadsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::mt19937_64 random(3);
    content_.resize(kFileBytes);
    for (char& c : content_) c = static_cast<char>(random());
    std::ofstream(path_, std::ios::binary) << content_;
    DropFromCache();
    ASSERT_TRUE(files_.NewRandomAccessFile(path_, {}, &file_, nullptr).ok());
  }

  void DropFromCache() const {
    const int file = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_GE(file, 0);
    fsync(file);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    close(file);
  }

  std::string Read(uint64_t offset, size_t bytes) const {
    std::string scratch(bytes, '\0');
    rocksdb::Slice result;
    const rocksdb::IOStatus status =
        file_->Read(offset, bytes, {}, &result, scratch.data(), nullptr);
    return status.ok() ? result.ToString() : status.ToString();
  }
  void ExpectSame(uint64_t offset, size_t bytes) const {
    // Too long to print.
    EXPECT_TRUE(Read(offset, bytes) == content_.substr(offset, bytes)) << offset << ", " << bytes;
  }

  TempDirectory directory_;
  const std::string path_ = directory_ / "000001.sst";
  std::string content_;
  DirectReadFileSystem files_{rocksdb::FileSystem::Default(), 32 * kMebibyte};
  std::unique_ptr<rocksdb::FSRandomAccessFile> file_;
};

TEST_F(DirectReadsTest, AnyRangeIsRead) {
  for (const uint64_t offset : {uint64_t{0}, uint64_t{1}, uint64_t{4095}, uint64_t{4096},
                                uint64_t{70'001}, uint64_t{2 * kMebibyte - 7}}) {
    for (const size_t bytes : {size_t{1}, size_t{53}, size_t{8191}, size_t{8192}, size_t{8193},
                               size_t{16'476}, kMebibyte, 2 * kMebibyte, 3 * kMebibyte + 1}) {
      ExpectSame(offset, bytes);
    }
  }
}

TEST_F(DirectReadsTest, TheEndOfTheFileCutsARangeShort) {
  ExpectSame(kFileBytes - 20'000, 20'000);
  ExpectSame(kFileBytes - 20'000, 30'000);
  ExpectSame(kFileBytes - 1, 10'000);
  EXPECT_EQ(Read(kFileBytes, 10'000), "");
  EXPECT_EQ(Read(kFileBytes + 100'000, 10'000), "");
}

TEST_F(DirectReadsTest, WhatIsCachedIsTheSame) {
  std::string whole(kFileBytes, '\0');
  std::ifstream(path_, std::ios::binary)
      .read(whole.data(), static_cast<std::streamsize>(kFileBytes));
  ExpectSame(0, kFileBytes);
  ExpectSame(123'456, 1'000'000);
}

TEST_F(DirectReadsTest, AScopeReadsAheadWithoutChangingABit) {
  constexpr size_t kBlockBytes = 16'500;
  for (const bool is_cached : {false, true}) {
    if (is_cached) std::ifstream(path_, std::ios::binary).ignore(kFileBytes);
    for (const uint64_t first : {uint64_t{0}, uint64_t{777}, kFileBytes - 10 * kBlockBytes - 3}) {
      const ReadAheadScope scope(9 * kBlockBytes);
      // In order, some of them twice, one that is not ahead; then up to the end.
      for (const size_t block : std::initializer_list<size_t>{0, 1, 2, 2, 5, 3, 9, 10}) {
        ExpectSame(std::min<uint64_t>(first + block * kBlockBytes, kFileBytes - kBlockBytes),
                   kBlockBytes);
      }
      ExpectSame(first + 1, 5);
      ExpectSame(first, 3 * kMebibyte / 2);
    }
  }
}

TEST_F(DirectReadsTest, AScopeTellsFilesApart) {
  const std::string other_path = directory_ / "000002.sst";
  const std::string other_content(content_.rbegin(), content_.rend());
  std::ofstream(other_path, std::ios::binary) << other_content;
  std::unique_ptr<rocksdb::FSRandomAccessFile> other;
  ASSERT_TRUE(files_.NewRandomAccessFile(other_path, {}, &other, nullptr).ok());

  const ReadAheadScope scope(kMebibyte / 2);
  ExpectSame(0, 20'000);
  std::string scratch(20'000, '\0');
  rocksdb::Slice result;
  ASSERT_TRUE(other->Read(20'000, 20'000, {}, &result, scratch.data(), nullptr).ok());

  EXPECT_TRUE(result.ToString() == other_content.substr(20'000, 20'000));
  // A file of another time at the same address.
  for (int i = 0; i < 20; ++i) {
    other.reset();
    const bool is_first = i % 2 == 0;
    const std::string& path = is_first ? path_ : other_path;
    const std::string& content = is_first ? content_ : other_content;
    ASSERT_TRUE(files_.NewRandomAccessFile(path, {}, &other, nullptr).ok());
    ASSERT_TRUE(other->Read(40'000, 20'000, {}, &result, scratch.data(), nullptr).ok());
    EXPECT_TRUE(result.ToString() == content.substr(40'000, 20'000));
  }
}

TEST_F(DirectReadsTest, TheEndOfTheFileCutsAScopeShort) {
  const ReadAheadScope scope(kMebibyte);
  ExpectSame(kFileBytes - 20'000, 20'000);
  ExpectSame(kFileBytes - 20'000, 30'000);
  EXPECT_EQ(Read(kFileBytes, 10'000), "");
}

TEST_F(DirectReadsTest, MoreScopesThanBuffersReadAtOnce) {
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 40; ++seed) {
    threads.emplace_back([this, seed] {
      std::mt19937_64 random(seed);
      for (int i = 0; i < 10; ++i) {
        const ReadAheadScope scope(random() % kMebibyte);
        uint64_t offset = random() % (kFileBytes / 2);
        for (int block = 0; block < 8; ++block, offset += 70'000) ExpectSame(offset, 65'000);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(DirectReadsTest, MoreThreadsThanBuffersReadAtOnce) {
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 40; ++seed) {
    threads.emplace_back([this, seed] {
      std::mt19937_64 random(seed);
      for (int i = 0; i < 20; ++i) {
        const size_t bytes = 1 + random() % kMebibyte;
        ExpectSame(random() % (kFileBytes - bytes), bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(DirectReadsTest, OnlyBuffersThatWereUsedCount) {
  EXPECT_EQ(files_.buffer_bytes(), 0);

  ExpectSame(0, 10'000);
  EXPECT_LE(files_.buffer_bytes(), 2 * kMebibyte);
  for (int i = 0; i < 10; ++i) ExpectSame(0, kMebibyte);

  EXPECT_LE(files_.buffer_bytes(), 4 * kMebibyte) << "one of each size, in huge pages";
}

TEST_F(DirectReadsTest, FewBuffersServeMany) {
  DirectReadFileSystem few(rocksdb::FileSystem::Default(), 0);
  std::unique_ptr<rocksdb::FSRandomAccessFile> file;
  ASSERT_TRUE(few.NewRandomAccessFile(path_, {}, &file, nullptr).ok());
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 20; ++seed) {
    threads.emplace_back([&, seed] {
      std::string scratch(kMebibyte, '\0');
      rocksdb::Slice result;
      for (size_t i = 0; i < 4; ++i) {
        const size_t offset = seed * 100'000 + i;
        ASSERT_TRUE(file->Read(offset, kMebibyte, {}, &result, scratch.data(), nullptr).ok());
        EXPECT_TRUE(result == rocksdb::Slice(content_.data() + offset, kMebibyte));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_LE(few.buffer_bytes(), 6 * kMebibyte);
}

TEST_F(DirectReadsTest, AMissingFileIsTheSystemsError) {
  std::unique_ptr<rocksdb::FSRandomAccessFile> file;
  EXPECT_TRUE(files_.NewRandomAccessFile(directory_ / "none", {}, &file, nullptr).IsPathNotFound());
}

}  // namespace
}  // namespace alaya
