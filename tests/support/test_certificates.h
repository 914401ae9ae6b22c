// Certificates for tests, made by the program `openssl`.

#ifndef ALAYA_TESTS_SUPPORT_TEST_CERTIFICATES_H_
#define ALAYA_TESTS_SUPPORT_TEST_CERTIFICATES_H_

#include <filesystem>
#include <string>
#include <utility>

#include "storage/types/check.h"
#include "tests/support/run_program.h"

namespace alaya {

// Paths of PEM files.
struct TestCertificate {
  std::string certificate;
  std::string private_key;
};

// A certificate authority that keeps its files in a directory of its own.
class TestAuthority {
 public:
  explicit TestAuthority(std::string directory) : directory_(std::move(directory)) {
    std::filesystem::create_directories(directory_);
    Run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        "-subj '/CN=test authority' -keyout ca.key -out ca.pem");
  }

  // What peers trust.
  std::string ca_file() const { return directory_ + "/ca.pem"; }

  // A certificate for localhost and 127.0.0.1, for servers and clients.
  TestCertificate Issue(const std::string& name) const {
    Run("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=" + name +
        " -keyout " + name + ".key -out " + name + ".csr");
    Run("echo subjectAltName=DNS:localhost,IP:127.0.0.1 > " + name +
        ".ext; openssl x509 -req -in " + name +
        ".csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile " + name + ".ext -out " +
        name + ".pem");
    return {.certificate = directory_ + "/" + name + ".pem",
            .private_key = directory_ + "/" + name + ".key"};
  }

 private:
  void Run(const std::string& command) const {
    const ProgramOutcome outcome = RunProgram("cd " + directory_ + " && (" + command + ")");
    ALAYA_CHECK(outcome.exit_code == 0);
  }

  const std::string directory_;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_SUPPORT_TEST_CERTIFICATES_H_
