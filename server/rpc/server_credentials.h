// How connections are encrypted.

#ifndef ALAYA_SERVER_RPC_SERVER_CREDENTIALS_H_
#define ALAYA_SERVER_RPC_SERVER_CREDENTIALS_H_

#include <memory>

#include "grpcpp/security/server_credentials.h"
#include "server/access/certificate_stage.h"

namespace alaya {

// TLS 1.2 or newer with the staged certificates, which are looked at every second. With
// a client CA, clients must show a certificate of it.
std::shared_ptr<grpc::ServerCredentials> TlsCredentials(const CertificateStage& stage);

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_SERVER_CREDENTIALS_H_
