// Certificates that were looked at before gRPC sees them.
//
// gRPC can watch certificate files, but takes what it finds: a half-written file, or a key
// without its certificate, and no client can connect until somebody repairs it. So it
// watches a stage of ours: files in memory, which are replaced only by a certificate
// and key that belong together.

#ifndef ALAYA_SERVER_ACCESS_CERTIFICATE_STAGE_H_
#define ALAYA_SERVER_ACCESS_CERTIFICATE_STAGE_H_

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "server/access/access_options.h"
#include "storage/types/status.h"

namespace alaya {

// Not thread-safe, but for expire_time().
class CertificateStage {
 public:
  // Loads the files. Errors: InvalidArgument, naming the file.
  static StatusOr<std::unique_ptr<CertificateStage>> Open(TlsFiles files);
  ~CertificateStage();
  CertificateStage(const CertificateStage&) = delete;
  CertificateStage& operator=(const CertificateStage&) = delete;

  // Looks at the files again; true if they changed and are staged. On an error the
  // stage stays as it is, and the same error is reported once only, unless `again`.
  StatusOr<bool> Load(bool again = false);

  // What gRPC watches; only this process can read them.
  std::string certificate_path() const;
  std::string private_key_path() const;
  std::string client_ca_path() const;  // empty: clients need no certificate

  // When the staged certificate ends. Threads: any.
  std::chrono::system_clock::time_point expire_time() const { return expire_time_.load(); }

 private:
  struct Texts {
    std::string certificate, private_key, client_ca;
    bool operator==(const Texts&) const = default;
  };
  explicit CertificateStage(TlsFiles files) : files_(std::move(files)) {}

  StatusOr<Texts> Read() const;
  // Replaces the file in memory that has this number, atomically; -1: makes one.
  static Status Stage(const std::string& text, int* file);

  const TlsFiles files_;
  Texts seen_;
  std::string read_error_;  // of the last look
  int certificate_file_ = -1;
  int private_key_file_ = -1;
  int client_ca_file_ = -1;
  std::atomic<std::chrono::system_clock::time_point> expire_time_{};
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ACCESS_CERTIFICATE_STAGE_H_
