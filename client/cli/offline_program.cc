#include "client/cli/offline_program.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <system_error>

namespace alaya::client {
namespace {

namespace fs = std::filesystem;

constexpr char kProgram[] = "alayadb-offline";

std::string FindProgram() {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  for (const fs::path& candidate :
       {self.parent_path() / kProgram, self.parent_path().parent_path() / "server" / kProgram}) {
    if (fs::exists(candidate, error)) return candidate.string();
  }
  return kProgram;  // looked for in PATH
}

std::string ErrorText(int number) {
  return std::error_code(number, std::generic_category()).message();
}

// Both ends close when this program becomes another one.
struct Pipe {
  int read_end = -1;
  int write_end = -1;
};
StatusOr<Pipe> OpenPipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Internal("cannot make a pipe: " + ErrorText(errno));
  return Pipe{ends[0], ends[1]};
}

int Spawn(const std::string& program, const std::vector<std::string>& arguments, int output,
          pid_t* process) {
  std::vector<std::string> words = {program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  const int failed =
      posix_spawnp(process, program.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return failed;
}

void ReadLines(int descriptor, const std::function<void(const std::string&)>& take_line) {
  std::FILE* const stream = fdopen(descriptor, "r");
  char* buffer = nullptr;
  size_t capacity = 0;
  for (ssize_t length = 0; (length = getline(&buffer, &capacity, stream)) > 0;) {
    std::string line(buffer, static_cast<size_t>(length));
    if (line.back() == '\n') line.pop_back();
    take_line(line);
  }
  std::free(buffer);
  std::fclose(stream);
}

}  // namespace

Status RunOfflineProgram(const std::vector<std::string>& arguments,
                         const std::function<void(const std::string&)>& take_line) {
  const std::string program = FindProgram();
  ALAYA_ASSIGN_OR_RETURN(const Pipe pipe, OpenPipe());
  pid_t process = 0;
  const int failed = Spawn(program, arguments, pipe.write_end, &process);
  close(pipe.write_end);
  if (failed != 0) {
    close(pipe.read_end);
    return NotFound("cannot run " + program +
                    ", which is installed with the server: " + ErrorText(failed));
  }
  ReadLines(pipe.read_end, take_line);
  int status = 0;
  while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) return OkStatus();
  return Internal(program + " was ended by signal " + std::to_string(WTERMSIG(status)));
}

}  // namespace alaya::client
