// The attention backend of every machine: SIMD kernels chosen at run time.

#ifndef ALAYA_INDEX_ATTENTION_CPU_BACKEND_H_
#define ALAYA_INDEX_ATTENTION_CPU_BACKEND_H_

#include <string>

#include "index/attention/backend.h"

namespace alaya {

// Stateless; a call runs on its caller's thread alone, so the caller decides on
// parallelism (kv heads are independent).
class CpuBackend : public AttentionBackend {
 public:
  std::string name() const override;         // "cpu"
  std::string description() const override;  // the instruction set: "AVX-512"
  StatusOr<AttentionReport> Attend(const AttentionTask& task, AttentionPart output) override;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_ATTENTION_CPU_BACKEND_H_
