#include "server/rpc/server_credentials.h"

#include <chrono>
#include <string>
#include <string_view>

#include "grpcpp/security/auth_metadata_processor.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "server/access/method_roles.h"

namespace alaya {
namespace {

// Health checks and reflection need no key.
constexpr std::string_view kPathPrefix = "/alaya.v1.";

class KeyCheck final : public grpc::AuthMetadataProcessor {
 public:
  KeyCheck(const CallAccess* access, RpcObserver* observer)
      : access_(access), observer_(observer) {}

  // On the thread that reads the connection: it takes a microsecond.
  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* /*context*/,
                       OutputMetadata* /*consumed*/, OutputMetadata* /*response*/) override {
    const auto found = metadata.find(":path");
    const std::string_view path =
        found == metadata.end() ? std::string_view()
                                : std::string_view(found->second.data(), found->second.size());
    if (!path.empty() && !path.starts_with(kPathPrefix)) return {};
    const auto credential = access_->Authenticate(metadata);
    if (credential.ok()) return {};
    CountRefusal(path.substr(path.rfind('/') + 1), credential.status());
    return {grpc::StatusCode::UNAUTHENTICATED, std::string(Message(credential.status()))};
  }

 private:
  // No handler will do it. Of names that are no method's, which anybody can make up, nobody
  // is told.
  void CountRefusal(std::string_view method, const Status& status) const {
    if (!RequiredRole(method)) return;
    const CallInfo call{.method = method == "Attend" ? "AttendStream" : method, .traceparent = {}};
    observer_->CallStarted(call);
    observer_->CallFinished(call, status, std::chrono::nanoseconds(0));
  }

  const CallAccess* const access_;
  RpcObserver* const observer_;
};

}  // namespace

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

std::shared_ptr<grpc::ServerCredentials> UnixSocketCredentials() {
  return grpc::experimental::LocalServerCredentials(UDS);
}

void CheckKeysFirst(const CallAccess* access, RpcObserver* observer,
                    grpc::ServerCredentials* credentials) {
  credentials->SetAuthMetadataProcessor(std::make_shared<KeyCheck>(access, observer));
}

}  // namespace alaya
