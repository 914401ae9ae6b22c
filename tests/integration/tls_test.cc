// Encrypted connections: whom they let in, certificates that change meanwhile, and what
// they read of whom they do not let in.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "alaya/v1/context_service.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "tests/integration/secured_server.h"

namespace alaya {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

class TlsTest : public SecuredServerTest {
 protected:
  static client::ClientOptions Impatient(client::ClientOptions options) {
    options.connect_timeout = milliseconds(1'500);
    return options;
  }
};

TEST_F(TlsTest, ServesThoseWhoTrustItAndNobodyInPlainText) {
  InstallCertificate(authority().Issue("server"));
  ASSERT_NO_FATAL_FAILURE(Start(TlsArguments()));
  const TestAuthority stranger(path("stranger"));

  EXPECT_TRUE(ReachesInTime(TlsOptions()));
  EXPECT_FALSE(Connect(Impatient(PlainOptions())).ok());
  client::ClientOptions distrustful = TlsOptions();
  distrustful.tls->ca_file = stranger.ca_file();
  EXPECT_FALSE(Connect(Impatient(distrustful)).ok());
  client::ClientOptions elsewhere = TlsOptions();
  elsewhere.tls_server_name = "another.example";
  EXPECT_FALSE(Connect(Impatient(elsewhere)).ok());
}

TEST_F(TlsTest, RefusesVersionsBefore12) {
  InstallCertificate(authority().Issue("server"));
  ASSERT_NO_FATAL_FAILURE(Start(TlsArguments()));
  const auto handshake = [this](const std::string& version) {
    return RunProgram("openssl s_client -connect " + server().grpc_address() + " -" + version +
                      " -cipher DEFAULT@SECLEVEL=0 -alpn h2 </dev/null")
        .output;
  };

  EXPECT_THAT(handshake("tls1_2"), HasSubstr("Protocol  : TLSv1.2"));
  EXPECT_THAT(handshake("tls1_2"), HasSubstr("ALPN protocol: h2"));
  for (const char* version : {"tls1", "tls1_1"}) {
    EXPECT_THAT(handshake(version), HasSubstr("Cipher is (NONE)")) << version;
  }
}

TEST_F(TlsTest, WithAClientAuthorityOnlyItsCertificatesGetIn) {
  InstallCertificate(authority().Issue("server"));
  const TestAuthority stranger(path("stranger"));
  auto arguments = TlsArguments();
  arguments.insert(arguments.end(), {"--tls-client-ca", authority().ca_file()});
  ASSERT_NO_FATAL_FAILURE(Start(arguments));
  const auto with = [this](const TestCertificate& certificate) {
    client::ClientOptions options = TlsOptions();
    options.tls->cert_file = certificate.certificate;
    options.tls->key_file = certificate.private_key;
    return options;
  };

  EXPECT_TRUE(ReachesInTime(with(authority().Issue("client"))));
  const auto without = Connect(Impatient(TlsOptions()));
  EXPECT_FALSE(without.ok() && without->GetServerInfo().ok());
  const auto forged = Connect(Impatient(with(stranger.Issue("client"))));
  EXPECT_FALSE(forged.ok() && forged->GetServerInfo().ok());
}

TEST_F(TlsTest, ANewCertificateCountsWithoutARestart) {
  InstallCertificate(authority().Issue("server"));
  ASSERT_NO_FATAL_FAILURE(Start(TlsArguments()));
  ASSERT_OK_AND_ASSIGN(const client::Client old_client, Connect(TlsOptions()));
  ASSERT_OK(old_client.GetServerInfo());
  const TestAuthority successor(path("successor"));
  client::ClientOptions new_trust = TlsOptions();
  new_trust.tls->ca_file = successor.ca_file();
  ASSERT_FALSE(Connect(Impatient(new_trust)).ok());

  InstallCertificate(successor.Issue("server"));

  EXPECT_TRUE(ReachesInTime(new_trust));
  EXPECT_OK(old_client.GetServerInfo()) << "connections that are open stay";
}

TEST_F(TlsTest, ABadCertificateIsReportedAndTheOldOneStays) {
  InstallCertificate(authority().Issue("server"));
  ASSERT_NO_FATAL_FAILURE(Start(TlsArguments()));
  ASSERT_TRUE(ReachesInTime(TlsOptions()));

  std::ofstream(path("server.pem"), std::ios::trunc) << "half a certificate";
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (server().Log().find("reload_failed") == std::string::npos &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_THAT(server().Log(), HasSubstr("server.pem"));
  // gRPC looks once a second.
  std::this_thread::sleep_for(milliseconds(2'500));
  EXPECT_TRUE(ReachesInTime(TlsOptions()));

  const TestAuthority successor(path("successor"));
  InstallCertificate(successor.Issue("server"));
  client::ClientOptions new_trust = TlsOptions();
  new_trust.tls->ca_file = successor.ca_file();
  EXPECT_TRUE(ReachesInTime(new_trust));
}

TEST_F(TlsTest, HealthHasAPlainPortOfItsOwnThatAnswersNothingElse) {
  InstallCertificate(authority().Issue("server"));
  WriteKeys(KeyLine("one", "default", "admin", "alaya_one"));
  auto arguments = TlsArguments();
  arguments.insert(arguments.end(), {"--tls-client-ca", authority().ca_file(), "--api-key-files",
                                     path("keys"), "--health-listen", "127.0.0.1:0"});
  ASSERT_NO_FATAL_FAILURE(Start(arguments));

  ASSERT_FALSE(server().health_address().empty());
  ASSERT_OK_AND_ASSIGN(
      const client::Client probe,
      client::Client::Connect(server().health_address(), PlainOptions("alaya_one")));

  EXPECT_TRUE(probe.CheckServing().value());
  EXPECT_EQ(probe.GetServerInfo().status().code(), StatusCode::kUnimplemented);
}

TEST_F(TlsTest, UnusableFilesStopTheStart) {
  InstallCertificate(authority().Issue("server"));
  const TestCertificate other = authority().Issue("other");
  const std::string command =
      DefaultServerBinary() + " --check-config --tls-cert " + path("server.pem") + " --tls-key ";

  EXPECT_EQ(RunProgram(command + path("server.key")).exit_code, 0);
  const ProgramOutcome outcome = RunProgram(command + other.private_key);
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.output, HasSubstr(other.private_key));
}

// What comes without a good key is refused before its message is read.
TEST_F(TlsTest, WhoHasNoKeyCannotMakeTheServerHoldMessages) {
  InstallCertificate(authority().Issue("server"));
  WriteKeys(KeyLine("one", "default", "admin", "alaya_one"));
  auto arguments = KeyArguments();
  const auto tls = TlsArguments();
  arguments.insert(arguments.end(), tls.begin(), tls.end());
  arguments.insert(arguments.end(), {"--listen", "unix:" + path("socket")});
  // The server touches all of it meanwhile.
  arguments.insert(arguments.end(), {"--memory-budget", "16MiB"});
  ASSERT_NO_FATAL_FAILURE(Start(arguments));
  std::ifstream ca(authority().ca_file());
  grpc::SslCredentialsOptions trusting;
  trusting.pem_root_certs.assign(std::istreambuf_iterator<char>(ca), {});
  const std::vector<std::shared_ptr<grpc::Channel>> channels = {
      grpc::CreateChannel(server().grpc_address(), grpc::SslCredentials(trusting)),
      grpc::CreateChannel("unix:" + path("socket"), grpc::InsecureChannelCredentials())};
  constexpr size_t kCallsAtOnce = 6;
  constexpr int kTokens = 4'000'000;
  pb::MatchContextRequest request;
  request.set_model("none");
  request.mutable_tokens()->Reserve(kTokens);
  for (int i = 0; i < kTokens; ++i) request.add_tokens(0x7FFFFFFF);
  ASSERT_OK_AND_ASSIGN(const ProcessMemory before, server().Memory());

  for (const auto& channel : channels) {
    std::vector<std::thread> callers;
    for (size_t i = 0; i < kCallsAtOnce; ++i) {
      callers.emplace_back([&] {
        grpc::ClientContext context;
        context.AddMetadata("authorization", "Bearer alaya_nobody");
        pb::MatchContextResponse response;
        const auto status =
            pb::ContextService::NewStub(channel)->MatchContext(&context, request, &response);
        EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << status.error_message();
      });
    }
    for (std::thread& caller : callers) caller.join();
  }

  ASSERT_OK_AND_ASSIGN(const ProcessMemory after, server().Memory());
  const uint64_t grown_bytes = after.resident_bytes_max - before.resident_bytes_max;
  // Flow control lets some megabytes of each in; held messages would be four times this.
  EXPECT_LT(grown_bytes, kCallsAtOnce * request.ByteSizeLong());
}

}  // namespace
}  // namespace alaya
