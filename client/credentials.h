// What a client shows: certificates and its API key.

#ifndef ALAYA_CLIENT_CREDENTIALS_H_
#define ALAYA_CLIENT_CREDENTIALS_H_

#include <grpcpp/client_context.h>
#include <grpcpp/security/credentials.h>

#include <memory>
#include <string>

#include "storage/types/status.h"

namespace alaya::client {

// PEM files.
struct TlsOptions {
  std::string ca_file;    // whose certificates are trusted; empty: the system's
  std::string cert_file;  // the client's own, where the server asks for one; empty: none
  std::string key_file;   // of that certificate
};

// Reads the files. Errors: InvalidArgument, naming the file.
StatusOr<std::shared_ptr<grpc::ChannelCredentials>> TlsCredentials(const TlsOptions& options);

// The key in a file: its first line, without blanks around it.
// Errors: InvalidArgument, naming the file, never what it holds.
StatusOr<std::string> ReadApiKeyFile(const std::string& path);

// The API key as it goes with every call. Copies share it.
class Authorization {
 public:
  Authorization() = default;  // no key
  // Errors: InvalidArgument if it has characters that no header can have.
  static StatusOr<Authorization> FromApiKey(const std::string& api_key);

  void AddTo(grpc::ClientContext& context) const {
    if (header_) context.AddMetadata("authorization", *header_);
  }

 private:
  std::shared_ptr<const std::string> header_;
};

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CREDENTIALS_H_
