// The measured part of alayactl bench: decode steps of many sessions, timed at the
// client.

#ifndef ALAYA_CLIENT_CLI_BENCH_RUN_H_
#define ALAYA_CLIENT_CLI_BENCH_RUN_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "client/client.h"
#include "storage/types/status.h"

namespace alaya::client {

struct BenchPlan {
  pb::Model model;
  std::vector<std::string> session_ids;
  uint32_t layer_count = 0;   // layers 0 .. layer_count - 1 of each step
  uint32_t thread_count = 1;  // each with a stream of its own; sessions are dealt out evenly
  uint32_t step_count = 64;
  uint32_t warmup_step_count = 4;
  float query_deviation = 1;  // standard deviation of the queries' elements
  pb::AttendOptions options;
  uint64_t seed = 1;
};

// One Attend of one layer of one session, microseconds.
struct AttendSample {
  double client = 0;  // from Send to the answer
  double engine = 0;  // the server's own figures
  double queue = 0;
  double search = 0;
  double attend = 0;
  double tokens_attended = 0;  // per query head
  double tokens_scored = 0;

  // Conversions, gRPC and the kernel's network stack on both sides.
  double transport() const { return client - engine; }
};

struct BenchResult {
  std::vector<AttendSample> samples;  // without those of the warm-up
  double wall_seconds = 0;            // of the slowest thread, without the warm-up
};

// Decodes: each step sends one query with its new key and value for every session,
// layer by layer; the sessions of a thread are in flight together.
StatusOr<BenchResult> RunBench(const Client& client, const BenchPlan& plan);

// The value that the given share of the samples does not exceed; 0 without samples.
// Sorts them.
double Percentile(std::vector<double>& samples, double share);

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CLI_BENCH_RUN_H_
