#include "index/attention/cpu_backend.h"

#include <algorithm>
#include <cassert>
#include <variant>
#include <vector>

#include "index/attention/exact_attention.h"
#include "index/attention/sparse_attention.h"
#include "index/kernels/instruction_set.h"
#include "index/part_search.h"

namespace alaya {
namespace {

StatusOr<AttentionReport> FullAttention(const AttentionTask& task, AttentionPart output) {
  const auto now = [&] { return task.now_ns == nullptr ? 0 : task.now_ns(); };
  const size_t count = task.queries.rows();
  AttentionReport report;
  if (task.explain) {
    report.query_tokens_attended.resize(count);
    report.query_covered_mass.assign(count, 1.0F);
  }
  ClearAttention(output);
  std::vector<TokenRange> ranges(count);
  for (const SequencePart& part : task.parts) {
    for (size_t i = 0; i < count; ++i) {
      ranges[i] = InPart(task.visible[i], part);
      if (task.explain) report.query_tokens_attended[i] += ranges[i].size();
    }
    const uint64_t begin_ns = now();
    ALAYA_ASSIGN_OR_RETURN(
        const uint64_t scored,
        AddExactAttention({task.queries, ranges, part.reader, task.scale}, output, {}));
    const uint64_t part_ns = now() - begin_ns;
    report.tokens_scored += scored;
    report.tokens_attended += scored;
    report.attend_ns += part_ns;
    report.part_ns.push_back(part_ns);
  }
  return report;
}

}  // namespace

std::string CpuBackend::name() const { return "cpu"; }

std::string CpuBackend::description() const { return std::string(InstructionSet()); }

StatusOr<AttentionReport> CpuBackend::Attend(const AttentionTask& task, AttentionPart output) {
  assert(task.visible.size() == task.queries.rows());
  assert(output.output.rows() == task.queries.rows());
  if (std::holds_alternative<FullTarget>(task.target)) return FullAttention(task, output);
  return SparseAttention(task, output);
}

}  // namespace alaya
