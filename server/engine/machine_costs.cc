#include "server/engine/machine_costs.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "index/flat/flat_builder.h"
#include "index/flat/flat_index.h"
#include "index/kv_reader.h"
#include "index/memory_index_blocks.h"
#include "index/sequence_part.h"

namespace alaya {
namespace {

using std::chrono::steady_clock;

constexpr size_t kHeadDim = 128;
constexpr size_t kBlockTokens = 256;
constexpr size_t kRowBytes = kHeadDim * ElementBytes(DType::kBF16);
// 16 MiB of keys and values, beyond most second-level caches.
constexpr size_t kManyTokens = 32768;
constexpr size_t kManyQueries = 16;
constexpr size_t kGroupQueries = 4;  // of a usual GQA group
constexpr int kRunsMax = 5;
constexpr auto kTimePerPoint = std::chrono::milliseconds(25);

// Noise in (-2, 2): the time of kernels does not depend on numbers, but a search's does.
class NoiseReader : public KvReader {
 public:
  explicit NoiseReader(size_t token_count)
      : token_count_(token_count), rows_(2 * token_count * kRowBytes) {
    uint64_t state = 1;
    for (size_t i = 0; i + 1 < rows_.size(); i += 2) {
      state = state * 6364136223846793005 + 1442695040888963407;
      // Sign and mantissa at random, exponent 2^-1 or 2^0.
      const auto bits = static_cast<uint16_t>((state >> 48 & 0x80FFU) | 0x3F00U);
      std::memcpy(&rows_[i], &bits, sizeof(bits));
    }
  }

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

// Returns tokens that lie apart, without looking at them.
class ApartIndex : public TokenIndex {
 public:
  static constexpr uint32_t kDistance = 37;

  explicit ApartIndex(size_t token_count) : token_count_(token_count) {}
  IndexKind kind() const override { return IndexKind::kExact; }
  StatusOr<SearchResult> Search(const SearchRequest& request) const override {
    SearchResult result;
    result.queries.resize(request.queries.rows());
    for (QueryCandidates& found : result.queries) {
      for (uint32_t token = 0; token < token_count_; token += kDistance) {
        found.tokens.push_back({token, 0});
      }
      found.best_score = 0;
    }
    return result;
  }

 private:
  size_t token_count_;
};

// The fastest of a few runs, nanoseconds.
StatusOr<double> MeasureAttention(AttentionBackend* backend, const SequencePart& part,
                                  const Target& target, size_t query_count) {
  std::vector<float> queries(query_count * kHeadDim);
  for (size_t i = 0; i < queries.size(); ++i) queries[i] = i % 7 == 0 ? -2.0F : 1.0F;
  const std::vector<TokenRange> visible(query_count, part.range());
  AttentionTask task;
  task.queries = {queries.data(), query_count, kHeadDim};
  task.visible = visible;
  task.parts = {&part, 1};
  task.target = target;
  task.window = {.sink = 0, .recent = 0};
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
  const NoiseReader one_token(1);
  const NoiseReader many_tokens(kManyTokens);
  const SequencePart one{.reader = &one_token};
  const SequencePart many{.reader = &many_tokens};
  MachineCosts costs;
  ALAYA_ASSIGN_OR_RETURN(costs.call_ns, MeasureAttention(backend, one, FullTarget{}, 1));
  ALAYA_ASSIGN_OR_RETURN(const double one_ns, MeasureAttention(backend, many, FullTarget{}, 1));
  ALAYA_ASSIGN_OR_RETURN(const double many_ns,
                         MeasureAttention(backend, many, FullTarget{}, kManyQueries));
  // ns(queries) = call + bytes * read + queries * tokens * 2 * head_dim * multiply_add.
  const double multiply_adds_per_query = 2.0 * kHeadDim * kManyTokens;
  const double per_query_ns = std::max(0.0, (many_ns - one_ns) / (kManyQueries - 1));
  costs.ns_per_multiply_add = per_query_ns / multiply_adds_per_query;
  costs.read_ns_per_byte = std::max(0.0, one_ns - costs.call_ns - per_query_ns) /
                           static_cast<double>(many_tokens.bytes());

  // Values of tokens that lie apart.
  const ApartIndex apart(kManyTokens);
  const SequencePart picked{.reader = &many_tokens, .index = &apart};
  ALAYA_ASSIGN_OR_RETURN(const double picked_ns,
                         MeasureAttention(backend, picked, DiprTarget{}, kGroupQueries));
  constexpr size_t kPicked = kManyTokens / ApartIndex::kDistance + 1;
  costs.gather_ns =
      std::max(0.0, picked_ns - costs.call_ns) / static_cast<double>(kGroupQueries * kPicked);

  // A scan of codes whose target is next to nothing.
  MemoryIndexBlocks blocks;
  ALAYA_RETURN_IF_ERROR(BuildFlatIndex(many_tokens, blocks.Sink()));
  ALAYA_ASSIGN_OR_RETURN(const auto flat, FlatIndex::Open(&blocks, &many_tokens));
  const SequencePart coded{.reader = &many_tokens, .index = flat.get()};
  ALAYA_ASSIGN_OR_RETURN(const double coded_ns,
                         MeasureAttention(backend, coded, DiprTarget{.alpha = 1}, kGroupQueries));
  const double bytes_ns = static_cast<double>(blocks.bytes()) * costs.read_ns_per_byte;
  costs.code_ns = std::max(0.0, coded_ns - costs.call_ns - bytes_ns) /
                  static_cast<double>(kGroupQueries * kManyTokens);
  return costs;
}

}  // namespace alaya
