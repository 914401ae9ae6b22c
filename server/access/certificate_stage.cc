#include "server/access/certificate_stage.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "server/access/key_files.h"

namespace alaya {
namespace {

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using PrivateKey = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;

Bio Open(const std::string& text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free};
}

// The file's first certificate; null: none.
Certificate ReadCertificate(const std::string& text) {
  return {PEM_read_bio_X509(Open(text).get(), nullptr, nullptr, nullptr), &X509_free};
}

// A key that needs a password is no key: nobody is there to type it.
PrivateKey ReadPrivateKey(const std::string& text) {
  const auto no_password = [](char*, int, int, void*) { return -1; };
  return {PEM_read_bio_PrivateKey(Open(text).get(), nullptr, no_password, nullptr), &EVP_PKEY_free};
}

std::chrono::system_clock::time_point ExpireTime(const X509& certificate) {
  int days = 0;
  int seconds = 0;
  if (ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(&certificate)) != 1) return {};
  return std::chrono::system_clock::now() + std::chrono::hours(24) * days +
         std::chrono::seconds(seconds);
}

std::string PathOf(int file) { return "/proc/self/fd/" + std::to_string(file); }

}  // namespace

StatusOr<std::unique_ptr<CertificateStage>> CertificateStage::Open(TlsFiles files) {
  std::unique_ptr<CertificateStage> stage(new CertificateStage(std::move(files)));
  ALAYA_RETURN_IF_ERROR(stage->Load().status());
  return stage;
}

CertificateStage::~CertificateStage() {
  for (const int file : {certificate_file_, private_key_file_, client_ca_file_}) {
    if (file >= 0) close(file);
  }
}

StatusOr<CertificateStage::Texts> CertificateStage::Read() const {
  Texts texts;
  ALAYA_ASSIGN_OR_RETURN(texts.certificate, ReadTextFile(files_.certificate));
  ALAYA_ASSIGN_OR_RETURN(texts.private_key, ReadTextFile(files_.private_key));
  if (!files_.client_ca.empty()) {
    ALAYA_ASSIGN_OR_RETURN(texts.client_ca, ReadTextFile(files_.client_ca));
  }
  return texts;
}

StatusOr<bool> CertificateStage::Load(bool again) {
  StatusOr<Texts> texts = Read();
  const std::string error = texts.ok() ? "" : std::string(Message(texts.status()));
  if (!again && error == read_error_ && (!texts.ok() || *texts == seen_)) return false;
  read_error_ = error;
  ALAYA_RETURN_IF_ERROR(texts.status());
  seen_ = *texts;
  const Certificate certificate = ReadCertificate(texts->certificate);
  const PrivateKey key = ReadPrivateKey(texts->private_key);
  const bool same = certificate && key && X509_check_private_key(certificate.get(), key.get()) == 1;
  const bool ca_missing = !files_.client_ca.empty() && !ReadCertificate(texts->client_ca);
  ERR_clear_error();  // OpenSSL keeps a list per thread
  if (!certificate) return InvalidArgument(files_.certificate + ": holds no PEM certificate");
  if (!key) {
    return InvalidArgument(files_.private_key + ": holds no PEM private key without a password");
  }
  if (!same) {
    return InvalidArgument(files_.private_key + ": is not the key of the certificate in " +
                           files_.certificate);
  }
  if (ca_missing) return InvalidArgument(files_.client_ca + ": holds no PEM certificate");
  ALAYA_RETURN_IF_ERROR(Stage(texts->private_key, &private_key_file_));
  ALAYA_RETURN_IF_ERROR(Stage(texts->certificate, &certificate_file_));
  if (!files_.client_ca.empty()) ALAYA_RETURN_IF_ERROR(Stage(texts->client_ca, &client_ca_file_));
  expire_time_ = ExpireTime(*certificate);
  return true;
}

Status CertificateStage::Stage(const std::string& text, int* file) {
  const int fresh = memfd_create("alaya-tls", MFD_CLOEXEC);
  if (fresh < 0) return Unavailable(std::string("memfd_create: ") + std::strerror(errno));
  const auto written = write(fresh, text.data(), text.size());
  if (written != static_cast<ssize_t>(text.size())) {
    close(fresh);
    return Unavailable("a certificate does not fit into memory");
  }
  if (*file < 0) {
    *file = fresh;
    return OkStatus();
  }
  const int replaced = dup3(fresh, *file, O_CLOEXEC);
  const int error = errno;
  close(fresh);
  if (replaced < 0) return Unavailable(std::string("dup3: ") + std::strerror(error));
  return OkStatus();
}

std::string CertificateStage::certificate_path() const { return PathOf(certificate_file_); }
std::string CertificateStage::private_key_path() const { return PathOf(private_key_file_); }
std::string CertificateStage::client_ca_path() const {
  return client_ca_file_ < 0 ? "" : PathOf(client_ca_file_);
}

}  // namespace alaya
