#include "server/rpc/server_credentials.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "tests/server/rpc/rpc_fixture.h"
#include "tests/support/temp_directory.h"
#include "tests/support/test_certificates.h"

namespace alaya {
namespace {

std::string TextOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class ServerCredentialsTest : public RpcFixture {
 protected:
  ServerCredentialsTest() {
    const TestCertificate certificate = authority_.Issue("server");
    auto stage = CertificateStage::Open(
        {.certificate = certificate.certificate, .private_key = certificate.private_key});
    EXPECT_TRUE(stage.ok()) << stage.status();
    stage_ = *std::move(stage);
    security_.certificates = stage_.get();
  }

  bool Answers(const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    const auto stub =
        v1::AdminService::NewStub(grpc::CreateChannel(server_->addresses().front(), credentials));
    grpc::ClientContext context;
    v1::GetServerInfoResponse response;
    return stub->GetServerInfo(&context, {}, &response).ok();
  }

  const TempDirectory directory_;
  const TestAuthority authority_{directory_ / "authority"};
  std::unique_ptr<CertificateStage> stage_;
};

// The listener is ours and gRPC gets connections that are accepted: they are encrypted
// all the same.
TEST_F(ServerCredentialsTest, AcceptedConnectionsAreEncrypted) {
  grpc::SslCredentialsOptions trusting;
  trusting.pem_root_certs = TextOf(authority_.ca_file());

  EXPECT_TRUE(Answers(grpc::SslCredentials(trusting)));
  EXPECT_FALSE(Answers(grpc::InsecureChannelCredentials()));
}

}  // namespace
}  // namespace alaya
