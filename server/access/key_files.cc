#include "server/access/key_files.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

namespace alaya {

StatusOr<std::string> ReadTextFile(const std::string& path) {
  constexpr size_t kBytesMax = size_t{16} << 20;
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file.is_open() || file.bad()) {
    return InvalidArgument(path + ": cannot be read: " + std::strerror(errno));
  }
  if (text.size() > kBytesMax) return InvalidArgument(path + ": is larger than 16 MiB");
  return text;
}

StatusOr<bool> KeyFiles::Load(bool again) {
  std::vector<std::string> texts;
  Status status;
  for (const std::string& path : paths_) {
    StatusOr<std::string> text = ReadTextFile(path);
    if (!text.ok()) {
      // Kept as what was found there, so that it is told once.
      texts.push_back("\n" + std::string(Message(text.status())));
      status.Update(text.status());
    } else {
      texts.push_back(*std::move(text));
    }
  }
  if (texts == texts_ && !again) return false;
  texts_ = std::move(texts);
  ALAYA_RETURN_IF_ERROR(status);
  std::vector<ApiKey> keys;
  for (size_t i = 0; i < paths_.size(); ++i) {
    StatusOr<std::vector<ApiKey>> parsed = ParseKeyLines(texts_[i]);
    if (!parsed.ok()) return Annotate(parsed.status(), paths_[i]);
    std::move(parsed->begin(), parsed->end(), std::back_inserter(keys));
  }
  if (keys.empty()) return InvalidArgument("the key files hold no key: nobody could call");
  ALAYA_RETURN_IF_ERROR(ring_->Replace(std::move(keys)));
  return true;
}

}  // namespace alaya
