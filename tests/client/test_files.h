// Files of arrays, good and bad, for tests.

#ifndef ALAYA_TESTS_CLIENT_TEST_FILES_H_
#define ALAYA_TESTS_CLIENT_TEST_FILES_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace alaya::client {

// A directory that is gone with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  std::string Path(std::string_view name) const;
  // Writes a file; returns its path.
  std::string Write(std::string_view name, std::string_view content) const;
  // Entries are name -> content; stored or deflated.
  std::string WriteZip(std::string_view name, const std::map<std::string, std::string>& entries,
                       bool deflated) const;

 private:
  std::string path_;
};

// An .npy file of version 1.0 with this dict literal.
std::string NpyWithDict(std::string_view dict, std::string_view data);
// With the usual dict; shape as in Python, for example "(2, 3)".
std::string Npy(std::string_view descriptor, std::string_view shape, std::string_view data);
std::string Safetensors(std::string_view header_json, std::string_view data);

template <typename T>
std::string BytesOf(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

}  // namespace alaya::client

#endif  // ALAYA_TESTS_CLIENT_TEST_FILES_H_
