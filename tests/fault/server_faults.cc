#include "tests/fault/server_faults.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <new>
#include <thread>

#include "storage/types/check.h"
#include "tests/fault/raw_connection.h"

namespace alaya {
namespace {

namespace fs = std::filesystem;
using Random = std::mt19937_64;

size_t DescriptorCount(pid_t pid) {
  std::error_code ignored;
  const fs::directory_iterator files("/proc/" + std::to_string(pid) + "/fd", ignored);
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

void FailWrites(FaultControl& control, int error, uint32_t interval) {
  control.write_errno = error;
  control.write_error_interval = interval;
}

void ExhaustDescriptors(FaultyServer& server, Random& random) {
  server.LimitDescriptors(random() % 4);
  // Whoever comes now cannot be accepted.
  std::vector<RawConnection> connections;
  for (int i = 0; i < 8; ++i) connections.emplace_back(server.address());
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
}
void FailDiskWrites(FaultyServer& server, Random& random) {
  FailWrites(server.control(), EIO, static_cast<uint32_t>(1 + random() % 60));
}
void FailDiskReads(FaultyServer& server, Random& random) {
  server.control().read_error_interval = static_cast<uint32_t>(4 + random() % 20);
}
void FillDisk(FaultyServer& server, Random& /*random*/) { FailWrites(server.control(), ENOSPC, 1); }
void SlowDisk(FaultyServer& server, Random& random) {
  server.control().delay_us = static_cast<uint32_t>(1000 + random() % 20'000);
}
void JumpClock(FaultyServer& server, Random& random) {
  constexpr int64_t kDay = 86'400;
  server.control().clock_offset_s = static_cast<int64_t>(random() % (60 * kDay)) - 30 * kDay;
}
void Freeze(FaultyServer& server, Random& random) {
  kill(server.process().pid(), SIGSTOP);
  std::this_thread::sleep_for(std::chrono::milliseconds(random() % 300));
  kill(server.process().pid(), SIGCONT);
}
void Kill(FaultyServer& server, Random& /*random*/) { server.process().Kill(); }
void Terminate(FaultyServer& server, Random& /*random*/) {
  const StatusOr<int> exit_code = server.process().Terminate();
  ALAYA_CHECK(exit_code.ok() && *exit_code == 0);
}

constexpr ServerFault kFaults[] = {
    {"no file descriptors", ExhaustDescriptors},
    {"EIO on writes", FailDiskWrites},
    {"EIO on reads", FailDiskReads},
    {"disk full", FillDisk},
    {"slow disk", SlowDisk},
    {"clock jump", JumpClock},
    {"stopped server", Freeze},
    {"kill -9", Kill, /*ends_server=*/true},
    {"SIGTERM", Terminate, /*ends_server=*/true},
};

}  // namespace

FaultyServerFiles DefaultServerFiles() { return {DefaultServerBinary(), FAULT_SHIM_PATH}; }

FaultyServer::FaultyServer(std::string directory, std::vector<std::string> arguments,
                           FaultyServerFiles files)
    : directory_(std::move(directory)), arguments_(std::move(arguments)), files_(std::move(files)) {
  const std::string path = control_directory_ / "control";
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ALAYA_CHECK(file >= 0 && ftruncate(file, sizeof(FaultControl)) == 0);
  void* page = mmap(nullptr, sizeof(FaultControl), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  ALAYA_CHECK(page != MAP_FAILED);
  control_ = new (page) FaultControl();
}

FaultyServer::~FaultyServer() {
  process_.reset();
  munmap(control_, sizeof(FaultControl));
}

Status FaultyServer::Start() {
  process_.reset();
  ServerProcessOptions options;
  options.binary = files_.server;
  options.data_directory = directory_;
  options.arguments = arguments_;
  options.grpc_listen = grpc_listen_;
  options.environment = {
      "LD_PRELOAD=" + files_.shim,
      std::string(kFaultControlVariable) + "=" + (control_directory_ / "control"),
      std::string(kFaultDirectoryVariable) + "=" + directory_};
  options.log_file = control_directory_ / "log";
  ALAYA_ASSIGN_OR_RETURN(process_, ServerProcess::Start(options));
  grpc_listen_ = process_->grpc_address();
  return OkStatus();
}

void FaultyServer::LimitDescriptors(size_t spare_count) {
  const pid_t pid = process_->pid();
  rlimit limit{};
  if (prlimit(pid, RLIMIT_NOFILE, nullptr, &limit) != 0) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, DescriptorCount(pid) + spare_count);
  prlimit(pid, RLIMIT_NOFILE, &limit, nullptr);
}

void FaultyServer::Heal() {
  control_->write_error_interval = 0;
  control_->read_error_interval = 0;
  control_->delay_us = 0;
  control_->clock_offset_s = 0;
  if (process_ == nullptr || !process_->running()) return;
  rlimit limit{};
  if (prlimit(process_->pid(), RLIMIT_NOFILE, nullptr, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  prlimit(process_->pid(), RLIMIT_NOFILE, &limit, nullptr);
}

std::span<const ServerFault> ServerFaults() { return kFaults; }

}  // namespace alaya
