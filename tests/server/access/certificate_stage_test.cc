#include "server/access/certificate_stage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/support/temp_directory.h"
#include "tests/support/test_certificates.h"

namespace alaya {
namespace {

using testing::HasSubstr;

std::string TextOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class CertificateStageTest : public testing::Test {
 protected:
  const TempDirectory directory_;
  const TestAuthority authority_{directory_ / "ca"};
  const TestCertificate first_ = authority_.Issue("first");
  const TestCertificate second_ = authority_.Issue("second");
  const TlsFiles files_{.certificate = directory_ / "cert", .private_key = directory_ / "key"};

  void Install(const std::string& certificate, const std::string& key) const {
    constexpr auto kOverwrite = std::filesystem::copy_options::overwrite_existing;
    std::filesystem::copy_file(certificate, files_.certificate, kOverwrite);
    std::filesystem::copy_file(key, files_.private_key, kOverwrite);
  }
};

TEST_F(CertificateStageTest, StagesWhatTheFilesHold) {
  Install(first_.certificate, first_.private_key);

  const auto stage = CertificateStage::Open(files_);

  ASSERT_TRUE(stage.ok()) << stage.status();
  EXPECT_EQ(TextOf((*stage)->certificate_path()), TextOf(first_.certificate));
  EXPECT_EQ(TextOf((*stage)->private_key_path()), TextOf(first_.private_key));
  EXPECT_EQ((*stage)->client_ca_path(), "");
  const auto left = (*stage)->expire_time() - std::chrono::system_clock::now();
  EXPECT_GT(left, std::chrono::hours(1));
  EXPECT_LT(left, std::chrono::hours(24 * 366));
}

TEST_F(CertificateStageTest, FollowsTheFiles) {
  Install(first_.certificate, first_.private_key);
  const auto stage = CertificateStage::Open(files_).value();
  EXPECT_FALSE(stage->Load().value());

  Install(second_.certificate, second_.private_key);

  EXPECT_TRUE(stage->Load().value());
  EXPECT_EQ(TextOf(stage->certificate_path()), TextOf(second_.certificate));
}

TEST_F(CertificateStageTest, AKeyOfAnotherCertificateIsNotStaged) {
  Install(first_.certificate, first_.private_key);
  const auto stage = CertificateStage::Open(files_).value();

  Install(second_.certificate, first_.private_key);
  const auto loaded = stage->Load();

  EXPECT_THAT(std::string(Message(loaded.status())), HasSubstr(files_.private_key));
  EXPECT_EQ(TextOf(stage->certificate_path()), TextOf(first_.certificate));
  EXPECT_FALSE(stage->Load().value()) << "told once";
  EXPECT_FALSE(stage->Load(/*again=*/true).ok());
}

TEST_F(CertificateStageTest, RubbishAndMissingFilesAreNotStaged) {
  Install(first_.certificate, first_.private_key);
  const auto stage = CertificateStage::Open(files_).value();

  std::ofstream(files_.certificate, std::ios::trunc) << "half a cert";
  EXPECT_THAT(std::string(Message(stage->Load().status())), HasSubstr(files_.certificate));
  std::filesystem::remove(files_.certificate);
  EXPECT_THAT(std::string(Message(stage->Load().status())), HasSubstr(files_.certificate));

  EXPECT_EQ(TextOf(stage->certificate_path()), TextOf(first_.certificate));
  Install(second_.certificate, second_.private_key);
  EXPECT_TRUE(stage->Load().value());
}

TEST_F(CertificateStageTest, WithoutGoodFilesThereIsNoStage) {
  EXPECT_FALSE(CertificateStage::Open(files_).ok());
  Install(first_.certificate, second_.private_key);
  EXPECT_FALSE(CertificateStage::Open(files_).ok());
  Install(first_.certificate, first_.private_key);
  TlsFiles with_ca = files_;
  with_ca.client_ca = first_.private_key;
  EXPECT_THAT(std::string(Message(CertificateStage::Open(with_ca).status())),
              HasSubstr(first_.private_key));
}

}  // namespace
}  // namespace alaya
