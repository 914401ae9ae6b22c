// A server with certificates and API keys, and clients that have some of them.

#ifndef ALAYA_TESTS_INTEGRATION_SECURED_SERVER_H_
#define ALAYA_TESTS_INTEGRATION_SECURED_SERVER_H_

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/integration/service_test.h"
#include "tests/support/run_program.h"
#include "tests/support/test_certificates.h"

namespace alaya {

class SecuredServerTest : public testing::Test {
 protected:
  void TearDown() override {
    if (HasFailure() && server_ != nullptr) ADD_FAILURE() << "the log:\n" << server_->Log();
  }

  std::string path(const std::string& name) const { return directory_ / name; }
  ServerProcess& server() { return *server_; }
  const TestAuthority& authority() const { return authority_; }

  // A key line for the server's file.
  static std::string KeyLine(const std::string& name, const std::string& tenant,
                             const std::string& role, const std::string& key) {
    const std::string hash = RunProgram("printf %s '" + key + "' | sha256sum").output.substr(0, 64);
    return name + " " + tenant + " " + role + " sha256:" + hash + "\n";
  }
  void WriteKeys(const std::string& lines) const {
    std::ofstream(path("keys.new"), std::ios::trunc) << lines;
    std::filesystem::rename(path("keys.new"), path("keys"));
  }
  // Makes this the server's certificate, at once for whoever looks.
  void InstallCertificate(const TestCertificate& certificate) const {
    Replace(certificate.private_key, path("server.key"));
    Replace(certificate.certificate, path("server.pem"));
  }
  static void Replace(const std::string& from, const std::string& to) {
    std::filesystem::copy_file(from, to + ".new");
    std::filesystem::rename(to + ".new", to);
  }

  std::vector<std::string> TlsArguments() const {
    return {"--tls-cert", path("server.pem"), "--tls-key", path("server.key")};
  }
  std::vector<std::string> KeyArguments() const { return {"--api-key-files", path("keys")}; }

  void Start(std::vector<std::string> arguments, const std::string& listen = "127.0.0.1:0") {
    ServerProcessOptions options;
    options.data_directory = path("data");
    options.arguments = std::move(arguments);
    options.grpc_listen = listen;
    auto server = ServerProcess::Start(options);
    ASSERT_OK(server);
    server_ = *std::move(server);
  }

  client::ClientOptions TlsOptions(const std::string& key = "") const {
    client::ClientOptions options;
    options.tls.emplace().ca_file = authority_.ca_file();
    options.api_key = key;
    return options;
  }
  static client::ClientOptions PlainOptions(const std::string& key = "") {
    client::ClientOptions options;
    options.api_key = key;
    return options;
  }
  StatusOr<client::Client> Connect(const client::ClientOptions& options) const {
    return client::Client::Connect(server_->grpc_address(), options);
  }
  // True if a client with these options gets an answer, tried for some seconds.
  bool ReachesInTime(client::ClientOptions options) const {
    options.connect_timeout = std::chrono::milliseconds(500);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (std::chrono::steady_clock::now() < deadline) {
      const auto client = Connect(options);
      if (client.ok() && client->GetServerInfo().ok()) return true;
    }
    return false;
  }

 private:
  const TempDirectory directory_;
  const TestAuthority authority_{directory_ / "authority"};
  std::unique_ptr<ServerProcess> server_;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_INTEGRATION_SECURED_SERVER_H_
