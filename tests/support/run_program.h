// Runs a program to its end, as a shell would.

#ifndef ALAYA_TESTS_SUPPORT_RUN_PROGRAM_H_
#define ALAYA_TESTS_SUPPORT_RUN_PROGRAM_H_

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

namespace alaya {

struct ProgramOutcome {
  int exit_code = -1;  // -1: ended by a signal
  std::string output;  // standard output and standard error
};

inline ProgramOutcome RunProgram(const std::string& command) {
  std::FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  ProgramOutcome outcome;
  std::array<char, 4096> buffer;
  while (const size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    outcome.output.append(buffer.data(), count);
  }
  const int status = pclose(pipe);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

}  // namespace alaya

#endif  // ALAYA_TESTS_SUPPORT_RUN_PROGRAM_H_
