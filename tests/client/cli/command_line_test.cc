#include "client/cli/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "client/files/npy_header.h"
#include "tests/client/fake_server.h"
#include "tests/client/test_files.h"

namespace alaya::client {
namespace {

using testing::HasSubstr;
using testing::Not;

struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string err;
};

class CommandLineTest : public testing::Test {
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
      return Npy("<f2", "(5, 2, 8)", std::string(5 * 2 * 8 * 2, fill));
    };
    return directory_.WriteZip(
        "context.npz",
        {{"key_0.npy", array('a')},
         {"value_0.npy", array('A')},
         {"key_1.npy", array('b')},
         {"value_1.npy", array('B')},
         {"query_0.npy", Npy("<f4", "(3, 4, 8)", std::string(3 * 4 * 8 * 4, 'q'))},
         {"tokens.npy", Npy("<i8", "(5,)", BytesOf(std::vector<int64_t>{1, 2, 3, 4, 5}))}},
        /*deflated=*/true);
  }

  FakeServer server_;
  TemporaryDirectory directory_;
};

TEST_F(CommandLineTest, HelpNamesEveryCommandAndExitsWithZero) {
  const Outcome outcome = Run({"--help"});

  EXPECT_EQ(outcome.exit_code, 0);
  for (const char* command : {"model", "context", "session", "search", "info", "stats", "health",
                              "backup", "compact", "log-level", "bench"}) {
    EXPECT_THAT(outcome.out, HasSubstr(std::string("\n  ") + command)) << command;
  }
}

TEST_F(CommandLineTest, WrongUsageExitsWithTwo) {
  EXPECT_EQ(Run({}).exit_code, 2);
  EXPECT_EQ(Run({"fly"}).exit_code, 2);
  EXPECT_EQ(Run({"model", "register", "m"}).exit_code, 2);
  EXPECT_EQ(Run({"log-level", "loud"}).exit_code, 2);
  EXPECT_EQ(Run({"stats", "--unknown"}).exit_code, 2);
}

TEST_F(CommandLineTest, ARefusalExitsWithOneAndSaysWhy) {
  const Outcome outcome = Run({"context", "show", "x"});

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err, "alayactl: context 'x' does not exist (NOT_FOUND, CONTEXT_NOT_FOUND)\n");
}

TEST_F(CommandLineTest, ErrorsAreJsonWithJson) {
  const auto error = nlohmann::json::parse(Run({"--json", "context", "show", "x"}).err)["error"];

  EXPECT_EQ(error["code"], "NOT_FOUND");
  EXPECT_EQ(error["reason"], "CONTEXT_NOT_FOUND");
}

TEST_F(CommandLineTest, AnUnreachableServerExitsWithThree) {
  server_.Kill();

  EXPECT_EQ(Run({"--timeout", "50ms", "stats"}).exit_code, 3);
  EXPECT_EQ(Run({"--timeout", "50ms", "health"}).exit_code, 3);
}

TEST_F(CommandLineTest, ModelsAreRegisteredAndListed) {
  RegisterModel("bf16");

  EXPECT_THAT(Run({"model", "list"}).out,
              HasSubstr("m           2            4         2         8  bf16"));
  const auto models = nlohmann::json::parse(Run({"model", "list", "--json"}).out)["models"];
  EXPECT_EQ(models[0]["num_kv_heads"], 2);
  EXPECT_EQ(models[0]["dtype"], "DTYPE_BF16");
}

TEST_F(CommandLineTest, ImportSendsTheWholeFile) {
  RegisterModel();

  const Outcome outcome = Run({"context", "import", "--label", "a=1", WriteContext(), "--model",
                               "m", "--id", "c", "--label", "b=2", "--ttl", "90s", "--pin"});

  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("context 'c' stored: 5 tokens"));
  EXPECT_EQ(outcome.err, "");
  const ImportedContext imported = server_.contexts.contexts().at("c");
  EXPECT_EQ(imported.header.tokens_size(), 5);
  EXPECT_EQ(imported.header.labels().at("a"), "1");
  EXPECT_EQ(imported.header.labels().at("b"), "2");
  EXPECT_EQ(imported.header.ttl().seconds(), 90);
  EXPECT_TRUE(imported.pinned);
  EXPECT_EQ(imported.keys.at(0), std::string(160, 'a'));
  EXPECT_EQ(imported.values.at(1), std::string(160, 'B'));
  EXPECT_EQ(imported.queries.at(0), std::string(384, 'q'));
}

TEST_F(CommandLineTest, ImportLeavesOutWhatTheServerStores) {
  RegisterModel();
  server_.contexts.matched_tokens = 3;

  ASSERT_EQ(Run({"context", "import", WriteContext(), "--model", "m", "--id", "c"}).exit_code, 0);

  EXPECT_EQ(server_.contexts.contexts().at("c").token_counts.at(1), 2U);
}

TEST_F(CommandLineTest, ImportConvertsOnlyWhenAsked) {
  RegisterModel("bf16");
  const std::string file = WriteContext();

  const Outcome refused = Run({"context", "import", file, "--model", "m"});
  const Outcome converted = Run({"context", "import", file, "--model", "m", "--convert"});

  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr("--convert"));
  EXPECT_EQ(converted.exit_code, 0) << converted.err;
}

TEST_F(CommandLineTest, ImportIntoAnUnknownModelIsRefused) {
  const Outcome outcome = Run({"context", "import", WriteContext(), "--model", "other"});

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("'other'"));
}

TEST_F(CommandLineTest, ImportDrawsItsProgressOnATerminalOnly) {
  RegisterModel();
  const std::string file = WriteContext();

  EXPECT_THAT(Run({"context", "import", file, "--model", "m"}, /*terminal=*/true).err,
              HasSubstr("100 %"));
  EXPECT_EQ(Run({"--json", "context", "import", file, "--model", "m"}, /*terminal=*/true).err, "");
}

TEST_F(CommandLineTest, ContextsAreListedPageByPageAndDeleted) {
  RegisterModel();
  const std::string file = WriteContext();
  for (const char* id : {"one", "three", "two"}) {
    ASSERT_EQ(Run({"context", "import", file, "--model", "m", "--id", id}).exit_code, 0);
  }

  const Outcome list = Run({"context", "list"});
  const Outcome deletion = Run({"context", "delete", "one", "two"});
  const Outcome rest = Run({"context", "list"});

  EXPECT_THAT(list.out, testing::AllOf(HasSubstr("one"), HasSubstr("two"), HasSubstr("three")));
  EXPECT_EQ(deletion.exit_code, 0);
  EXPECT_THAT(deletion.out, HasSubstr("2.0 KiB"));
  EXPECT_THAT(rest.out, testing::AllOf(Not(HasSubstr("one")), HasSubstr("three")));
}

TEST_F(CommandLineTest, ContextsAreUpdated) {
  RegisterModel();
  ASSERT_EQ(Run({"context", "import", WriteContext(), "--model", "m", "--id", "c"}).exit_code, 0);

  ASSERT_EQ(Run({"context", "update", "c", "--pin", "--label", "x=y"}).exit_code, 0);

  EXPECT_TRUE(server_.contexts.contexts().at("c").pinned);
  EXPECT_EQ(server_.contexts.contexts().at("c").header.labels().at("x"), "y");
  ASSERT_EQ(Run({"context", "update", "c", "--unpin"}).exit_code, 0);
  EXPECT_FALSE(server_.contexts.contexts().at("c").pinned);
  EXPECT_EQ(server_.contexts.contexts().at("c").header.labels().size(), 1U);
}

TEST_F(CommandLineTest, ASessionAttendsAndWritesItsOutput) {
  RegisterModel();
  ASSERT_EQ(Run({"session", "create", "--model", "m", "--tokens", "1,2,3"}).exit_code, 0);
  const std::string output = directory_.Path("o.npy");

  const Outcome outcome = Run({"session", "attend", "session-0", "--random", "2", "--target",
                               "dipr", "--alpha", "0.1", "--output", output});

  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, testing::AllOf(HasSubstr("NORM MEAN"), HasSubstr("Tokens attended:"),
                                          HasSubstr("Round trip:")));
  const auto file = ArrayFile::Open(output);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT((*file)->arrays()[0].shape, testing::ElementsAre(2U, 4U, 8U));
}

TEST_F(CommandLineTest, SearchShowsTokensAndScores) {
  RegisterModel();
  ASSERT_EQ(Run({"context", "import", WriteContext(), "--model", "m", "--id", "c"}).exit_code, 0);

  const Outcome outcome = Run({"search", "c", "--k", "1"});

  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("7:2.500"));
}

TEST_F(CommandLineTest, StatsAreReadableAndJson) {
  EXPECT_THAT(Run({"stats"}).out,
              testing::AllOf(HasSubstr("memory"), HasSubstr("3.0 GiB"), HasSubstr("75.0 %")));
  EXPECT_EQ(nlohmann::json::parse(Run({"stats", "--json"}).out)["tiers"][0]["hits"], "3");
  EXPECT_THAT(Run({"info"}).out, HasSubstr("1.2.3"));
}

TEST_F(CommandLineTest, HealthFollowsTheServer) {
  EXPECT_EQ(Run({"health"}).out, "serving\n");
  server_.SetServing(false);
  EXPECT_EQ(Run({"health"}).exit_code, 3);
}

TEST_F(CommandLineTest, LogLevelTellsThePreviousOne) {
  EXPECT_EQ(Run({"log-level", "debug"}).out, "log level debug, was info\n");
}

TEST_F(CommandLineTest, BenchMeasuresAndCleansUp) {
  const Outcome outcome =
      Run({"bench", "--json", "--sessions", "3", "--threads", "2", "--steps", "5", "--layers", "2",
           "--tokens", "64", "--query-heads", "4", "--kv-heads", "2", "--head-dim", "16"});

  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto result = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(result["attends"], 3 * 5 * 2);
  EXPECT_GE(result["client_microseconds"]["p99"], result["client_microseconds"]["p50"]);
  EXPECT_EQ(result["tokens_attended"]["mean"], 640 / 4);
  EXPECT_TRUE(server_.contexts.contexts().empty());
  EXPECT_TRUE(server_.sessions.sessions().empty());
}

TEST_F(CommandLineTest, BenchCleansUpAfterAFailure) {
  server_.sessions.attend_script = [](grpc::ServerContext*, FakeSessionService::AttendCall*) {
    return grpc::Status(grpc::INTERNAL, "broken");
  };

  const Outcome outcome = Run({"bench", "--tokens", "64", "--layers", "1", "--head-dim", "16"});

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("broken"));
  EXPECT_TRUE(server_.contexts.contexts().empty());
  EXPECT_TRUE(server_.sessions.sessions().empty());
}

}  // namespace
}  // namespace alaya::client
