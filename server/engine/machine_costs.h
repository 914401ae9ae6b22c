// What attention costs on this machine, measured when the engine opens.

#ifndef ALAYA_SERVER_ENGINE_MACHINE_COSTS_H_
#define ALAYA_SERVER_ENGINE_MACHINE_COSTS_H_

#include "index/attention/backend.h"
#include "storage/types/status.h"

namespace alaya {

// Costs of one thread.
struct MachineCosts {
  double call_ns = 2000;              // one backend call, beside its reading and computing
  double read_ns_per_byte = 0.1;      // keys and values from memory
  double ns_per_multiply_add = 0.05;  // per query, token and dimension, keys or values
  double gather_ns = 15;              // per query and picked row, keys or values
  double code_ns = 0.6;               // per query and token of a flat scan, beside its bytes
  // What a page costs beyond memory; not measured (an empty store has nothing to
  // read), but a guess of a good disk: 1 GB/s.
  double disk_ns_per_byte = 1;
};

// Runs the backend on made-up keys and values, for less than 200 ms.
// Errors: whatever the backend returns.
StatusOr<MachineCosts> MeasureMachineCosts(AttentionBackend* backend);

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_MACHINE_COSTS_H_
