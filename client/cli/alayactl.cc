#include <unistd.h>

#include <iostream>

#include "client/cli/command_line.h"

int main(int argc, char** argv) {
  return alaya::client::RunAlayactl({argv + 1, argv + argc}, std::cout, std::cerr,
                                    isatty(STDERR_FILENO) == 1);
}
