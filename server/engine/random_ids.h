// Names for sessions and contexts that the caller did not name.

#ifndef ALAYA_SERVER_ENGINE_RANDOM_IDS_H_
#define ALAYA_SERVER_ENGINE_RANDOM_IDS_H_

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

namespace alaya {

class RandomIds {
 public:
  // `random_bits` returns 64 fresh random bits per call; null: the system's entropy.
  explicit RandomIds(std::function<uint64_t()> random_bits);

  // 32 hexadecimal digits, 128 random bits: ids neither collide nor can be guessed.
  // Threads: any.
  std::string Next();

 private:
  std::mutex mutex_;
  std::function<uint64_t()> random_bits_;  // guarded by mutex_
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_RANDOM_IDS_H_
