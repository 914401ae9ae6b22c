#include "server/rpc/call_access.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <string>

#include "server/access/method_roles.h"
#include "server/rpc/status_details.h"

namespace alaya {
namespace {

constexpr std::string_view kScheme = "bearer ";

bool StartsWithScheme(std::string_view value) {
  return value.size() > kScheme.size() &&
         std::equal(kScheme.begin(), kScheme.end(), value.begin(), [](char a, char b) {
           return a == std::tolower(static_cast<unsigned char>(b));
         });
}

// Whether the bytes came through a unix socket: the transport knows, not the client.
bool CameThroughUnixSocket(const grpc::CallbackServerContext& call) {
  return call.peer().starts_with("unix:");
}

Status Unauthenticated(std::string_view reason, std::string_view message) {
  return ReasonedError(StatusCode::kUnauthenticated, reason, message);
}

using Metadata = std::multimap<grpc::string_ref, grpc::string_ref>;

StatusOr<std::string_view> KeyOf(const Metadata& metadata) {
  const auto [first, end] = metadata.equal_range("authorization");
  if (first == end) {
    return Unauthenticated("KEY_MISSING",
                           "this server needs an API key: metadata 'authorization: Bearer KEY'");
  }
  if (std::next(first) != end) {
    return Unauthenticated("KEY_REPEATED", "metadata 'authorization' is there more than once");
  }
  const std::string_view value(first->second.data(), first->second.size());
  if (!StartsWithScheme(value)) {
    return Unauthenticated("KEY_MISSING", "metadata 'authorization' is not 'Bearer KEY'");
  }
  return value.substr(kScheme.size());
}

}  // namespace

Status Caller::CheckRole(Role required, std::string_view what) const {
  if (role() >= required) return OkStatus();
  return ReasonedError(StatusCode::kPermissionDenied, "ROLE_TOO_LOW",
                       std::string(what) + " needs the role " + RoleName(required) + ", '" +
                           std::string(key_name()) + "' has " + RoleName(role()));
}

Status Caller::CheckStillValid() const {
  if (credential_ == nullptr || !credential_->revoked()) return OkStatus();
  return Unauthenticated("KEY_REVOKED", "the API key was taken away while the call ran");
}

StatusOr<Caller> CallAccess::Admit(const grpc::CallbackServerContext& call,
                                   std::string_view method) const {
  std::shared_ptr<const Credential> credential = everybody_;
  if (credential == nullptr) {
    if (keys_ == nullptr || (!unix_needs_key_ && CameThroughUnixSocket(call))) return Caller();
    ALAYA_ASSIGN_OR_RETURN(const std::string_view key, KeyOf(call.client_metadata()));
    auto found = keys_->Find(key);
    if (!found.ok()) return Unauthenticated("KEY_UNKNOWN", Message(found.status()));
    credential = *std::move(found);
  }
  Caller caller(std::move(credential));
  const auto required = RequiredRole(method);
  if (!required) return Internal("method " + std::string(method) + " is in no role's table");
  ALAYA_RETURN_IF_ERROR(caller.CheckRole(*required, method));
  return caller;
}

}  // namespace alaya
