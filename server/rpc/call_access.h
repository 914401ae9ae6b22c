// Who makes a call, and whether it may.

#ifndef ALAYA_SERVER_RPC_CALL_ACCESS_H_
#define ALAYA_SERVER_RPC_CALL_ACCESS_H_

#include <memory>
#include <string_view>
#include <utility>

#include "grpcpp/server_context.h"
#include "server/access/key_ring.h"
#include "storage/types/status.h"

namespace alaya {

// The one who calls.
class Caller {
 public:
  Caller() = default;  // without a key, where none is needed: tenant "default", admin
  explicit Caller(std::shared_ptr<const Credential> credential)
      : credential_(std::move(credential)) {}

  std::string_view tenant() const {
    return credential_ ? std::string_view(credential_->tenant()) : "default";
  }
  Role role() const { return credential_ ? credential_->role() : Role::kAdmin; }
  // The name of the key, for the log; empty: none.
  std::string_view key_name() const {
    return credential_ ? std::string_view(credential_->name()) : std::string_view();
  }

  // Errors: PermissionDenied, with a reason.
  Status CheckRole(Role required, std::string_view what) const;
  // Errors: Unauthenticated once the key was taken away.
  Status CheckStillValid() const;

 private:
  std::shared_ptr<const Credential> credential_;
};

// Threads: any.
class CallAccess {
 public:
  CallAccess() = default;  // nobody needs a key
  // `keys` outlives it; null: nobody needs a key. `unix_needs_key`: also those who come
  // through a unix socket.
  CallAccess(const KeyRing* keys, bool unix_needs_key)
      : keys_(keys), unix_needs_key_(unix_needs_key) {}
  // Everybody is this one, whatever key comes along.
  explicit CallAccess(std::shared_ptr<const Credential> everybody)
      : everybody_(std::move(everybody)) {}

  // The caller, who may call the method (its short name).
  // Errors: Unauthenticated, PermissionDenied; both with a reason.
  StatusOr<Caller> Admit(const grpc::CallbackServerContext& call, std::string_view method) const;

 private:
  const KeyRing* keys_ = nullptr;
  bool unix_needs_key_ = true;
  std::shared_ptr<const Credential> everybody_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_CALL_ACCESS_H_
