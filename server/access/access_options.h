// Where certificates and keys come from.

#ifndef ALAYA_SERVER_ACCESS_ACCESS_OPTIONS_H_
#define ALAYA_SERVER_ACCESS_ACCESS_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/access/api_key.h"

namespace alaya {

// PEM files; all may be replaced while the server runs.
struct TlsFiles {
  std::string certificate = {};  // with the chain that leads to its root; empty: no TLS
  std::string private_key = {};
  std::string client_ca = {};  // clients must have a certificate of one of these; empty: need none

  bool enabled() const { return !certificate.empty(); }
};

// Who a user of this machine is when it comes through a unix socket: the kernel vouches for
// it, so it needs no key.
struct UnixIdentity {
  uint32_t user = 0;
  std::string tenant;
  Role role = Role::kRead;

  friend bool operator==(const UnixIdentity&, const UnixIdentity&) = default;
};

struct AccessOptions {
  TlsFiles tls;
  std::vector<std::string> key_files = {};  // none: callers need no key
  std::vector<UnixIdentity> unix_identities = {};

  bool encrypted_and_authenticated() const { return tls.enabled() && !key_files.empty(); }
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ACCESS_ACCESS_OPTIONS_H_
