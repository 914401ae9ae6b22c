#include "tests/support/server_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string_view>
#include <thread>
#include <utility>

namespace alaya {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPollInterval = std::chrono::milliseconds(2);

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Runs in the child between fork and exec, where only calls that are safe in a signal
// handler are allowed.
[[noreturn]] void BecomeServer(pid_t parent, int log, char* const* arguments,
                               char* const* environment) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // the parent died before the line above
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  execve(arguments[0], arguments, environment);
  constexpr std::string_view kMessage = "cannot execute the server\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kMessage.data(), kMessage.size());
  _exit(127);
}

}  // namespace

std::string DefaultServerBinary() { return ALAYA_SERVER_BINARY; }

StatusOr<std::unique_ptr<ServerProcess>> ServerProcess::Start(ServerProcessOptions options) {
  std::unique_ptr<ServerProcess> server(new ServerProcess(std::move(options)));
  ALAYA_RETURN_IF_ERROR(server->Launch());
  ALAYA_RETURN_IF_ERROR(server->WaitForAddresses());
  return server;
}

ServerProcess::ServerProcess(ServerProcessOptions options)
    : options_(std::move(options)),
      port_file_(run_directory_ / "ports"),
      log_file_(options_.log_file.empty() ? run_directory_ / "log" : options_.log_file) {}

ServerProcess::~ServerProcess() { Kill(); }

Status ServerProcess::Launch() {
  std::vector<std::string> words = {options_.binary, "--data-dir",         options_.data_directory,
                                    "--listen",      options_.grpc_listen, "--metrics-listen",
                                    "127.0.0.1:0",   "--port-file",        port_file_};
  words.insert(words.end(), options_.arguments.begin(), options_.arguments.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  // What stands first wins.
  std::vector<std::string> variables = options_.environment;
  std::vector<char*> environment;
  for (std::string& variable : variables) environment.push_back(variable.data());
  for (char** variable = environ; *variable != nullptr; ++variable) {
    environment.push_back(*variable);
  }
  environment.push_back(nullptr);

  const int log = open(log_file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) return Internal(fmt::format("cannot open {}: {}", log_file_, strerror(errno)));
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) BecomeServer(parent, log, arguments.data(), environment.data());
  const int fork_error = errno;
  close(log);
  if (child < 0) return Internal(fmt::format("cannot fork: {}", strerror(fork_error)));
  pid_ = child;
  reaped_ = false;
  return OkStatus();
}

Status ServerProcess::WaitForAddresses() {
  const auto deadline = Clock::now() + options_.start_timeout;
  while (!ReadAddresses()) {
    if (!running()) return EndedEarly();
    if (Clock::now() > deadline) {
      return MakeError(StatusCode::kDeadlineExceeded,
                       fmt::format("{} wrote no addresses within {} ms; its log:\n{}",
                                   options_.binary, options_.start_timeout.count(), Log()));
    }
    std::this_thread::sleep_for(kPollInterval);
  }
  return OkStatus();
}

bool ServerProcess::ReadAddresses() {
  std::ifstream file(port_file_);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("grpc=") && grpc_address_.empty()) grpc_address_ = line.substr(5);
    if (line.starts_with("metrics=")) metrics_address_ = line.substr(8);
    if (line.starts_with("health=")) health_address_ = line.substr(7);
  }
  if (options_.grpc_listen.starts_with("unix:")) grpc_address_ = options_.grpc_listen;
  return !grpc_address_.empty() && !metrics_address_.empty();
}

void ServerProcess::Kill() {
  if (!running()) return;
  kill(pid_, SIGKILL);
  Reap(/*block=*/true);
}

StatusOr<int> ServerProcess::Terminate(std::chrono::milliseconds timeout) {
  if (running()) kill(pid_, SIGTERM);
  const auto deadline = Clock::now() + timeout;
  while (running()) {
    if (Clock::now() > deadline) {
      return MakeError(StatusCode::kDeadlineExceeded,
                       fmt::format("the server still runs {} ms after SIGTERM; its log:\n{}",
                                   timeout.count(), Log()));
    }
    std::this_thread::sleep_for(kPollInterval);
  }
  if (!WIFEXITED(wait_status_)) return EndedEarly();
  return WEXITSTATUS(wait_status_);
}

bool ServerProcess::running() { return !Reap(/*block=*/false); }

bool ServerProcess::Reap(bool block) {
  if (reaped_) return true;
  pid_t ended = 0;
  do {
    ended = waitpid(pid_, &wait_status_, block ? 0 : WNOHANG);
  } while (ended < 0 && errno == EINTR);
  reaped_ = ended != 0;
  return reaped_;
}

Status ServerProcess::EndedEarly() const {
  const std::string how = WIFSIGNALED(wait_status_)
                              ? fmt::format("signal {}", WTERMSIG(wait_status_))
                              : fmt::format("exit status {}", WEXITSTATUS(wait_status_));
  return Internal(fmt::format("{} ended with {}; its log:\n{}", options_.binary, how, Log()));
}

std::string ServerProcess::Log() const { return ReadFile(log_file_); }

}  // namespace alaya
