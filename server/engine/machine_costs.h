// What attention costs on this machine, measured when the engine opens.

#ifndef ALAYA_SERVER_ENGINE_MACHINE_COSTS_H_
#define ALAYA_SERVER_ENGINE_MACHINE_COSTS_H_

#include "index/attention/backend.h"
#include "storage/types/status.h"

namespace alaya {

// Share of a flat index that statistical searches read: upper halves of codes, their numbers.
inline constexpr double kUpperCodeShare = 0.5;

// Costs of one thread.
struct MachineCosts {
  double call_ns = 2000;              // one backend call, beside its reading and computing
  double search_ns = 4000;            // one that searches an index, the same
  double read_ns_per_byte = 0.1;      // keys and values from memory
  double ns_per_multiply_add = 0.05;  // per query, token and dimension, keys or values
  double gather_ns = 15;              // per query and picked row, keys or values
  // Per query and token of a flat scan, beside its bytes: statistically, soundly, and with an
  // estimate of the rest.
  double code_ns = 0.6;
  double sound_code_ns = 0.8;
  double rest_code_ns = 1.2;
  // What is on disk costs beyond memory: its bytes, and each of many scattered reads that are under
  // way together. Not measured, as an empty store has nothing to read, but those of a usual disk
  // (tests/benchmarks/RESULTS.md): 3.3 GB/s in order. Plans learn how far they are off.
  double disk_ns_per_byte = 0.3;
  double disk_read_ns = 16'000;
};

// Runs the backend on made-up keys and values that no cache holds, as those of a layer that was
// last read a decode step ago; for less than 200 ms.
// Errors: whatever the backend returns.
StatusOr<MachineCosts> MeasureMachineCosts(AttentionBackend* backend);

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_MACHINE_COSTS_H_
