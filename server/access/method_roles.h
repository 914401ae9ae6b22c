// Which role a method needs: one table for the whole API.

#ifndef ALAYA_SERVER_ACCESS_METHOD_ROLES_H_
#define ALAYA_SERVER_ACCESS_METHOD_ROLES_H_

#include <optional>
#include <span>
#include <string_view>

#include "server/access/api_key.h"

namespace alaya {

struct MethodRole {
  std::string_view method;  // short: "GetContext"
  Role role;
};

// Every method of the API once; a test compares it with the protos.
std::span<const MethodRole> MethodRoles();

// The least role that may call the method; none: nobody may.
std::optional<Role> RequiredRole(std::string_view method);

}  // namespace alaya

#endif  // ALAYA_SERVER_ACCESS_METHOD_ROLES_H_
