// How connections are encrypted, and whose calls are not even read.

#ifndef ALAYA_SERVER_RPC_SERVER_CREDENTIALS_H_
#define ALAYA_SERVER_RPC_SERVER_CREDENTIALS_H_

#include <memory>

#include "grpcpp/security/server_credentials.h"
#include "server/access/certificate_stage.h"
#include "server/rpc/call_access.h"
#include "server/rpc/rpc_observer.h"

namespace alaya {

// TLS 1.2 or newer with the staged certificates, which are looked at every second. With
// a client CA, clients must show a certificate of it.
std::shared_ptr<grpc::ServerCredentials> TlsCredentials(const CertificateStage& stage);

// Plain text between processes of this machine. Unlike gRPC's insecure credentials they can
// check keys first.
std::shared_ptr<grpc::ServerCredentials> UnixSocketCredentials();

// Has calls of this API refused that come without a good key, before any of their message
// is read: who has no key cannot make the server hold one. gRPC passes no error details on
// from there, the text alone.
// `access` and `observer` must outlive the server. Requires: credentials of one of the above.
void CheckKeysFirst(const CallAccess* access, RpcObserver* observer,
                    grpc::ServerCredentials* credentials);

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_SERVER_CREDENTIALS_H_
