#include "server/engine/machine_costs.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

#include "index/kv_reader.h"

namespace alaya {
namespace {

using std::chrono::steady_clock;

constexpr size_t kHeadDim = 128;
constexpr size_t kBlockTokens = 256;
constexpr size_t kRowBytes = kHeadDim * ElementBytes(DType::kBF16);
// 16 MiB of keys and values, beyond most second-level caches.
constexpr size_t kManyTokens = 32768;
constexpr size_t kManyQueries = 16;
constexpr int kRunsMax = 5;
constexpr auto kTimePerPoint = std::chrono::milliseconds(25);

// Zeroes: kernels take equal time for all finite numbers.
class ZeroReader : public KvReader {
 public:
  explicit ZeroReader(size_t token_count)
      : token_count_(token_count), rows_(2 * token_count * kRowBytes) {}

  size_t token_count() const override { return token_count_; }
  size_t block_tokens() const override { return kBlockTokens; }
  size_t head_dim() const override { return kHeadDim; }
  StatusOr<PinnedRows> ReadBlock(KvKind kind, size_t block_index) const override {
    const size_t first = block_index * kBlockTokens;
    const size_t rows = std::min(kBlockTokens, token_count_ - first);
    const size_t offset = (static_cast<size_t>(kind) * token_count_ + first) * kRowBytes;
    return PinnedRows{{rows_.data() + offset, rows, kHeadDim, DType::kBF16}, BlockPin()};
  }

  size_t bytes() const { return rows_.size(); }

 private:
  size_t token_count_;
  std::vector<std::byte> rows_;
};

// The fastest of a few runs, nanoseconds.
StatusOr<double> MeasureFullAttention(AttentionBackend* backend, const ZeroReader& reader,
                                      size_t query_count) {
  const std::vector<float> queries(query_count * kHeadDim);
  const std::vector<TokenRange> visible(query_count, {0, reader.token_count()});
  const SequencePart part{.reader = &reader};
  AttentionTask task;
  task.queries = {queries.data(), query_count, kHeadDim};
  task.visible = visible;
  task.parts = {&part, 1};
  task.target = FullTarget{};
  std::vector<float> output(query_count * kHeadDim);
  std::vector<float> log_sum_exp(query_count);
  const AttentionPart total{{output.data(), query_count, kHeadDim}, log_sum_exp};

  double best_ns = 0;
  const auto begin = steady_clock::now();
  for (int run = 0; run < kRunsMax && steady_clock::now() - begin < kTimePerPoint; ++run) {
    const auto run_begin = steady_clock::now();
    const auto report = backend->Attend(task, total);
    if (!report.ok()) return report.status();
    const double ns =
        std::chrono::duration<double, std::nano>(steady_clock::now() - run_begin).count();
    best_ns = run == 0 ? ns : std::min(best_ns, ns);
  }
  return best_ns;
}

}  // namespace

StatusOr<MachineCosts> MeasureMachineCosts(AttentionBackend* backend) {
  const ZeroReader one_token(1);
  const ZeroReader many_tokens(kManyTokens);
  MachineCosts costs;
  ALAYA_ASSIGN_OR_RETURN(costs.call_ns, MeasureFullAttention(backend, one_token, 1));
  ALAYA_ASSIGN_OR_RETURN(const double one_ns, MeasureFullAttention(backend, many_tokens, 1));
  ALAYA_ASSIGN_OR_RETURN(const double many_ns,
                         MeasureFullAttention(backend, many_tokens, kManyQueries));
  // ns(queries) = call + bytes * read + queries * tokens * 2 * head_dim * multiply_add.
  const double multiply_adds_per_query = 2.0 * kHeadDim * kManyTokens;
  const double per_query_ns = std::max(0.0, (many_ns - one_ns) / (kManyQueries - 1));
  costs.ns_per_multiply_add = per_query_ns / multiply_adds_per_query;
  costs.read_ns_per_byte = std::max(0.0, one_ns - costs.call_ns - per_query_ns) /
                           static_cast<double>(many_tokens.bytes());
  return costs;
}

}  // namespace alaya
