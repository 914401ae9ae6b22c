// alayactl run inside the test, against a fake server.

#ifndef ALAYA_TESTS_CLIENT_CLI_ALAYACTL_FIXTURE_H_
#define ALAYA_TESTS_CLIENT_CLI_ALAYACTL_FIXTURE_H_

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/command_line.h"
#include "tests/client/fake_server.h"
#include "tests/client/test_files.h"

namespace alaya::client {

struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string err;
};

class AlayactlTest : public testing::Test {
 protected:
  // Runs alayactl against the fake server.
  Outcome Run(std::vector<std::string> arguments, bool terminal = false) {
    arguments.insert(arguments.begin(), {"--server", server_.target()});
    std::ostringstream out;
    std::ostringstream err;
    const int exit_code = RunAlayactl(std::move(arguments), out, err, terminal);
    return {exit_code, out.str(), err.str()};
  }

  void RegisterModel(const std::string& dtype = "f16") {
    const Outcome outcome = Run({"model", "register", "m", "--layers", "2", "--query-heads", "4",
                                 "--kv-heads", "2", "--head-dim", "8", "--dtype", dtype});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }

  // A context of two layers and five tokens for that model; its keys are 'a', 'b'.
  std::string WriteContext() {
    const auto array = [](char fill) {
      return Npy("<f2", "(5, 2, 8)", std::string(size_t{5} * 2 * 8 * 2, fill));
    };
    return directory_.WriteZip(
        "context.npz",
        {{"key_0.npy", array('a')},
         {"value_0.npy", array('A')},
         {"key_1.npy", array('b')},
         {"value_1.npy", array('B')},
         {"query_0.npy", Npy("<f4", "(3, 4, 8)", std::string(size_t{3} * 4 * 8 * 4, 'q'))},
         {"tokens.npy", Npy("<i8", "(5,)", BytesOf(std::vector<int64_t>{1, 2, 3, 4, 5}))}},
        /*deflated=*/true);
  }

  FakeServer server_;
  TemporaryDirectory directory_;
};

}  // namespace alaya::client

#endif  // ALAYA_TESTS_CLIENT_CLI_ALAYACTL_FIXTURE_H_
