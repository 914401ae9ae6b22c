// The real server as a child process: what integration tests and the demo talk to.
//
// Life: Start waits until the server has written its addresses; Terminate asks it to
// drain; Kill ends it as a power cut would. Destruction kills it. Starting again on
// the same data directory is a restart.

#ifndef ALAYA_TESTS_SUPPORT_SERVER_PROCESS_H_
#define ALAYA_TESTS_SUPPORT_SERVER_PROCESS_H_

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "storage/types/status.h"
#include "tests/support/process_memory.h"
#include "tests/support/temp_directory.h"

namespace alaya {

// The server of this build tree.
std::string DefaultServerBinary();

struct ServerProcessOptions {
  std::string binary = DefaultServerBinary();
  std::string data_directory = {};
  // More flags, for example {"--memory-budget", "64MiB"}.
  std::vector<std::string> arguments = {};
  // Set beside what this process has: {"LD_PRELOAD=/lib/faults.so"}.
  std::vector<std::string> environment = {};
  std::string grpc_listen = "127.0.0.1:0";
  // Where standard output and error go; empty: a file of the object's own.
  std::string log_file = {};
  std::chrono::milliseconds start_timeout{60'000};
};

class ServerProcess {
 public:
  // Errors: what ended the server, with the end of its log; DeadlineExceeded.
  // Threads: the child dies with the thread that started it (PR_SET_PDEATHSIG), so
  //   start from one that outlives the server.
  static StatusOr<std::unique_ptr<ServerProcess>> Start(ServerProcessOptions options);

  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;
  ~ServerProcess();

  // SIGKILL. Returns when the process is gone; nothing happens if it was.
  void Kill();
  // SIGTERM, then waits. Returns the exit status.
  // Errors: DeadlineExceeded if it still runs; Internal if a signal ended it.
  StatusOr<int> Terminate(std::chrono::milliseconds timeout = std::chrono::seconds(30));

  bool running();
  pid_t pid() const { return pid_; }
  // What a gRPC client connects to: "127.0.0.1:PORT", or the grpc_listen given if that
  // names a Unix socket.
  const std::string& grpc_address() const { return grpc_address_; }
  const std::string& metrics_address() const { return metrics_address_; }
  // "" without --health-listen.
  const std::string& health_address() const { return health_address_; }
  // Everything the server has printed so far.
  std::string Log() const;
  StatusOr<ProcessMemory> Memory() const { return ReadProcessMemory(pid_); }

 private:
  explicit ServerProcess(ServerProcessOptions options);

  Status Launch();
  Status WaitForAddresses();
  bool ReadAddresses();
  // Collects the child if it has ended (block: waits for that); true once it has.
  bool Reap(bool block);
  Status EndedEarly() const;

  const ServerProcessOptions options_;
  const TempDirectory run_directory_;
  const std::string port_file_;
  const std::string log_file_;
  pid_t pid_ = 0;
  bool reaped_ = true;
  int wait_status_ = 0;
  std::string grpc_address_;
  std::string metrics_address_;
  std::string health_address_;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_SUPPORT_SERVER_PROCESS_H_
