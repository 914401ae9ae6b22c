#include "tests/client/test_files.h"

#include <zip.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "storage/types/check.h"

namespace alaya::client {

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = std::filesystem::temp_directory_path() / "alaya-client-XXXXXX";
  ALAYA_CHECK(mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() { std::filesystem::remove_all(path_); }

std::string TemporaryDirectory::Path(std::string_view name) const {
  return path_ + "/" + std::string(name);
}

std::string TemporaryDirectory::Write(std::string_view name, std::string_view content) const {
  std::ofstream file(Path(name), std::ios::binary);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  file.close();
  ALAYA_CHECK(file.good());
  return Path(name);
}

std::string TemporaryDirectory::WriteZip(std::string_view name,
                                         const std::map<std::string, std::string>& entries,
                                         bool deflated) const {
  int error = 0;
  zip_t* archive = zip_open(Path(name).c_str(), ZIP_CREATE | ZIP_TRUNCATE, &error);
  ALAYA_CHECK(archive != nullptr);
  for (const auto& [entry_name, content] : entries) {
    zip_source_t* source = zip_source_buffer(archive, content.data(), content.size(), 0);
    const zip_int64_t index = zip_file_add(archive, entry_name.c_str(), source, ZIP_FL_ENC_UTF_8);
    ALAYA_CHECK(index >= 0);
    ALAYA_CHECK(zip_set_file_compression(archive, static_cast<zip_uint64_t>(index),
                                         deflated ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0) == 0);
  }
  ALAYA_CHECK(zip_close(archive) == 0);
  return Path(name);
}

std::string NpyWithDict(std::string_view dict, std::string_view data) {
  std::string file = "\x93NUMPY";
  file += '\x01';
  file += '\x00';
  file += static_cast<char>(dict.size() & 0xFF);
  file += static_cast<char>(dict.size() >> 8);
  file += dict;
  file += data;
  return file;
}

std::string Npy(std::string_view descriptor, std::string_view shape, std::string_view data) {
  return NpyWithDict("{'descr': '" + std::string(descriptor) +
                         "', 'fortran_order': False, 'shape': " + std::string(shape) + ", }\n",
                     data);
}

std::string Safetensors(std::string_view header_json, std::string_view data) {
  const uint64_t length = header_json.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) +
         std::string(header_json) + std::string(data);
}

}  // namespace alaya::client
