#include "server/access/method_roles.h"

#include <array>

namespace alaya {
namespace {

constexpr auto kMethodRoles = std::to_array<MethodRole>({
    // ContextService
    {"ImportContext", Role::kWrite},
    {"MatchContext", Role::kRead},
    {"ReadContext", Role::kRead},
    {"GetContext", Role::kRead},
    {"ListContexts", Role::kRead},
    {"UpdateContext", Role::kWrite},
    {"DeleteContext", Role::kWrite},
    {"SearchContext", Role::kRead},
    // SessionService: a session is scratch space that nobody else's data depends on.
    {"CreateSession", Role::kRead},
    {"Attend", Role::kRead},
    {"StoreSession", Role::kWrite},
    {"ForkSession", Role::kRead},
    {"TruncateSession", Role::kRead},
    {"CloseSession", Role::kRead},
    {"GetSession", Role::kRead},
    {"ListSessions", Role::kRead},
    // AdminService. All tenants share the models, so only an admin adds one; others may
    // ask for one that is there, as engines do when they start (the handler looks).
    {"RegisterModel", Role::kRead},
    {"ListModels", Role::kRead},
    {"GetServerInfo", Role::kRead},
    {"GetStats", Role::kAdmin},
    {"CreateBackup", Role::kAdmin},
    {"CompactStorage", Role::kAdmin},
    {"SetLogLevel", Role::kAdmin},
});

}  // namespace

std::span<const MethodRole> MethodRoles() { return kMethodRoles; }

std::optional<Role> RequiredRole(std::string_view method) {
  for (const MethodRole& entry : kMethodRoles) {
    if (entry.method == method) return entry.role;
  }
  return std::nullopt;
}

}  // namespace alaya
