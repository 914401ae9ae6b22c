// A file that Open must refuse, in any format.

#ifndef ALAYA_TESTS_CLIENT_FILES_MALFORMED_FILE_H_
#define ALAYA_TESTS_CLIENT_FILES_MALFORMED_FILE_H_

#include <gtest/gtest.h>

#include <string>

#include "client/files/array_file.h"
#include "tests/client/test_files.h"

namespace alaya::client {

struct MalformedFile {
  const char* name;
  const char* file_name;
  std::string content;
};

inline void ExpectRefused(const MalformedFile& malformed) {
  const TemporaryDirectory directory;

  const auto file = ArrayFile::Open(directory.Write(malformed.file_name, malformed.content));

  EXPECT_TRUE(file.status().code() == StatusCode::kInvalidArgument ||
              file.status().code() == StatusCode::kDataLoss)
      << file.status();
}

}  // namespace alaya::client

#endif  // ALAYA_TESTS_CLIENT_FILES_MALFORMED_FILE_H_
