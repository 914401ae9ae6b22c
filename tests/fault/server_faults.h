// Faults of the machine under a server: descriptors, disk, clock, scheduling, death.

#ifndef ALAYA_TESTS_FAULT_SERVER_FAULTS_H_
#define ALAYA_TESTS_FAULT_SERVER_FAULTS_H_

#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "storage/types/status.h"
#include "tests/fault/fault_control.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_directory.h"

namespace alaya {

// The programs of this build tree; copies of them for runs that builds must not disturb.
struct FaultyServerFiles {
  std::string server;
  std::string shim;
};
FaultyServerFiles DefaultServerFiles();

// A server under the shim, on a data directory and an address that outlive it.
class FaultyServer {
 public:
  // `directory` is the server's data directory.
  FaultyServer(std::string directory, std::vector<std::string> arguments,
               FaultyServerFiles files = DefaultServerFiles());
  ~FaultyServer();
  FaultyServer(const FaultyServer&) = delete;
  FaultyServer& operator=(const FaultyServer&) = delete;

  // Starts it, or starts it again after it ended, at the address that it had.
  // Threads: always the same one.
  Status Start();

  ServerProcess& process() { return *process_; }
  FaultControl& control() { return *control_; }
  const std::string& address() const { return process_->grpc_address(); }
  // Nothing is wrong from now on, what was lowered is raised again. The server may be dead.
  void Heal();

  // Lets the server open no more than `spare_count` more files.
  void LimitDescriptors(size_t spare_count);

 private:
  const TempDirectory control_directory_;
  const std::string directory_;
  const std::vector<std::string> arguments_;
  const FaultyServerFiles files_;
  std::string grpc_listen_ = "127.0.0.1:0";
  FaultControl* control_ = nullptr;
  std::unique_ptr<ServerProcess> process_;
};

struct ServerFault {
  const char* name;
  // What holds until Heal; some do all of it at once.
  void (*begin)(FaultyServer& server, std::mt19937_64& random);
  bool ends_server = false;  // Start it again after Heal
};
std::span<const ServerFault> ServerFaults();

}  // namespace alaya

#endif  // ALAYA_TESTS_FAULT_SERVER_FAULTS_H_
