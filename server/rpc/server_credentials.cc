#include "server/rpc/server_credentials.h"

#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"

namespace alaya {

// gRPC's own least version is TLS 1.2; a test holds it to that.
std::shared_ptr<grpc::ServerCredentials> TlsCredentials(const CertificateStage& stage) {
  constexpr unsigned kLookIntervalSeconds = 1;
  grpc::experimental::TlsServerCredentialsOptions options(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
          stage.private_key_path(), stage.certificate_path(), stage.client_ca_path(),
          kLookIntervalSeconds));
  options.watch_identity_key_cert_pairs();
  if (stage.client_ca_path().empty()) {
    options.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  } else {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

}  // namespace alaya
