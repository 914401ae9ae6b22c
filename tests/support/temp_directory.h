// A directory that lives as long as its object.

#ifndef ALAYA_TESTS_SUPPORT_TEMP_DIRECTORY_H_
#define ALAYA_TESTS_SUPPORT_TEMP_DIRECTORY_H_

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "storage/types/check.h"

namespace alaya {

class TempDirectory {
 public:
  TempDirectory() {
    std::string pattern = std::filesystem::temp_directory_path() / "alaya-test-XXXXXX";
    ALAYA_CHECK(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  ~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::filesystem::path& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_SUPPORT_TEMP_DIRECTORY_H_
