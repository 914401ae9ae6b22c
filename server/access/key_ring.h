// The keys that are valid now.

#ifndef ALAYA_SERVER_ACCESS_KEY_RING_H_
#define ALAYA_SERVER_ACCESS_KEY_RING_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/access/api_key.h"
#include "storage/types/status.h"

namespace alaya {

// A caller who proved to own a key. Long calls hold it and look whether it still counts.
class Credential {
 public:
  explicit Credential(ApiKey key) : key_(std::move(key)) {}

  const std::string& name() const { return key_.name; }
  const std::string& tenant() const { return key_.tenant; }
  Role role() const { return key_.role; }
  const KeyHash& hash() const { return key_.hash; }
  // True once the key was taken out of the files, or has another tenant or role there.
  bool revoked() const { return revoked_.load(std::memory_order_relaxed); }

 private:
  friend class KeyRing;
  const ApiKey key_;
  std::atomic<bool> revoked_{false};
};

// Threads: any.
class KeyRing {
 public:
  // Makes these the valid keys. Callers with a key that stays the same notice nothing.
  // Errors: InvalidArgument if two have the same name or the same hash; then nothing changes.
  Status Replace(std::vector<ApiKey> keys);

  // Errors: Unauthenticated. Cost: one SHA-256 and a comparison with every key, whichever
  //   it is.
  StatusOr<std::shared_ptr<const Credential>> Find(std::string_view key) const;

  size_t size() const;

 private:
  using Credentials = std::vector<std::shared_ptr<Credential>>;

  std::shared_ptr<const Credentials> credentials() const;

  mutable std::mutex mutex_;
  std::shared_ptr<const Credentials> credentials_ = std::make_shared<Credentials>();
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ACCESS_KEY_RING_H_
