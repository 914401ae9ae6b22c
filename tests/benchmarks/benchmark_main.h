// How the programs in this folder begin and end.
//
//   int main(int argc, char** argv) {
//     alaya::BenchPlan plan;
//     CLI::App app("What it measures.");
//     app.add_option("--runs", plan.runs, "Timed runs, in turns")->capture_default_str();
//     return alaya::BenchmarkMain(app, argc, argv, [&] { return alaya::Run(plan); });
//   }

#ifndef ALAYA_TESTS_BENCHMARKS_BENCHMARK_MAIN_H_
#define ALAYA_TESTS_BENCHMARKS_BENCHMARK_MAIN_H_

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "storage/types/status.h"

namespace alaya {

// For `--tiny`, which every program has.
inline constexpr char kTinyHelp[] = "A run of seconds, for the test suite";

// Reads the command line, runs, and says what went wrong.
inline int BenchmarkMain(CLI::App& app, int argc, char** argv, const std::function<Status()>& run) {
  CLI11_PARSE(app, argc, argv);
  const Status status = run();
  if (status.ok()) return EXIT_SUCCESS;
  std::fprintf(stderr, "%s: %s\n", argv[0], status.ToString().c_str());
  return EXIT_FAILURE;
}

}  // namespace alaya

#endif  // ALAYA_TESTS_BENCHMARKS_BENCHMARK_MAIN_H_
