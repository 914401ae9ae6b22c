#include "client/credentials.h"

#include <algorithm>
#include <fstream>
#include <iterator>

namespace alaya::client {
namespace {

StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file.is_open() || file.bad() || text.empty()) {
    return InvalidArgument(path + ": cannot be read, or is empty");
  }
  return text;
}

}  // namespace

StatusOr<std::shared_ptr<grpc::ChannelCredentials>> TlsCredentials(const TlsOptions& options) {
  if (options.cert_file.empty() != options.key_file.empty()) {
    return InvalidArgument("a client's certificate and its key are needed together");
  }
  grpc::SslCredentialsOptions ssl;
  if (!options.ca_file.empty()) {
    ALAYA_ASSIGN_OR_RETURN(ssl.pem_root_certs, ReadFile(options.ca_file));
  }
  if (!options.cert_file.empty()) {
    ALAYA_ASSIGN_OR_RETURN(ssl.pem_cert_chain, ReadFile(options.cert_file));
    ALAYA_ASSIGN_OR_RETURN(ssl.pem_private_key, ReadFile(options.key_file));
  }
  return grpc::SslCredentials(ssl);
}

StatusOr<std::string> ReadApiKeyFile(const std::string& path) {
  ALAYA_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  constexpr char kBlanks[] = " \t\r";
  std::string line = text.substr(0, text.find('\n'));
  line.erase(line.find_last_not_of(kBlanks) + 1);
  line.erase(0, line.find_first_not_of(kBlanks));
  if (line.empty()) return InvalidArgument(path + ": its first line holds no key");
  return line;
}

StatusOr<Authorization> Authorization::FromApiKey(const std::string& api_key) {
  Authorization authorization;
  if (api_key.empty()) return authorization;
  const bool printable =
      std::all_of(api_key.begin(), api_key.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (!printable) return InvalidArgument("the API key has characters that no key has");
  authorization.header_ = std::make_shared<const std::string>("Bearer " + api_key);
  return authorization;
}

}  // namespace alaya::client
