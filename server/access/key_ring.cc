#include "server/access/key_ring.h"

#include <algorithm>
#include <set>

namespace alaya {
namespace {

bool SameKey(const Credential& credential, const ApiKey& key) {
  return credential.name() == key.name && credential.tenant() == key.tenant &&
         credential.role() == key.role && SameHash(credential.hash(), key.hash);
}

Status CheckUnique(const std::vector<ApiKey>& keys) {
  std::set<std::string> names;
  std::set<KeyHash> hashes;
  for (const ApiKey& key : keys) {
    if (!names.insert(key.name).second) {
      return InvalidArgument("two keys have the name '" + key.name + "'");
    }
    if (!hashes.insert(key.hash).second) {
      return InvalidArgument("the key '" + key.name + "' is listed before under another name");
    }
  }
  return OkStatus();
}

}  // namespace

Status KeyRing::Replace(std::vector<ApiKey> keys) {
  ALAYA_RETURN_IF_ERROR(CheckUnique(keys));
  const std::lock_guard lock(mutex_);
  auto replaced = std::make_shared<Credentials>();
  for (ApiKey& key : keys) {
    const auto same = std::find_if(credentials_->begin(), credentials_->end(),
                                   [&key](const auto& old) { return SameKey(*old, key); });
    replaced->push_back(same != credentials_->end() ? *same
                                                    : std::make_shared<Credential>(std::move(key)));
  }
  for (const auto& old : *credentials_) {
    if (std::find(replaced->begin(), replaced->end(), old) == replaced->end()) {
      old->revoked_.store(true, std::memory_order_relaxed);
    }
  }
  credentials_ = std::move(replaced);
  return OkStatus();
}

StatusOr<std::shared_ptr<const Credential>> KeyRing::Find(std::string_view key) const {
  const KeyHash hash = HashKey(key);
  std::shared_ptr<const Credential> found;
  const auto current = credentials();  // a temporary in the loop's head would die before its body
  for (const auto& credential : *current) {
    if (SameHash(credential->hash(), hash)) found = credential;
  }
  if (found == nullptr) {
    return MakeError(StatusCode::kUnauthenticated, "the API key is not one of this server's");
  }
  return found;
}

size_t KeyRing::size() const { return credentials()->size(); }

std::shared_ptr<const KeyRing::Credentials> KeyRing::credentials() const {
  const std::lock_guard lock(mutex_);
  return credentials_;
}

}  // namespace alaya
