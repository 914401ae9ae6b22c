#include "server/engine/machine_costs.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
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
// 64 MiB of keys and values: more than most caches hold.
constexpr size_t kManyTokens = 131072;
// Those of arithmetic's share stay in the caches.
constexpr size_t kSomeTokens = 4096;
// So few that all of them are scanned finely where the rest is estimated, as of real keys most is:
// of made-up ones a coarse scan would leave nothing.
constexpr size_t kCodedTokens = 24576;
constexpr size_t kFewCodedTokens = 64;
constexpr size_t kHugePageBytes = size_t{2} << 20;
constexpr size_t kManyQueries = 16;
constexpr size_t kGroupQueries = 4;  // of a usual GQA group
constexpr int kRunsMax = 5;
constexpr auto kTimePerPoint = std::chrono::milliseconds(12);

// Noise in (-2, 2): the time of kernels does not depend on numbers, but a search's does. Lies in
// huge pages, as the pages of a store do.
class NoiseReader : public KvReader {
 public:
  explicit NoiseReader(size_t token_count)
      : token_count_(token_count), rows_(static_cast<std::byte*>(::operator new(bytes(), kAlign))) {
    madvise(rows_.get(), bytes(), MADV_HUGEPAGE);
    // Some noise, again and again.
    const size_t first_bytes = std::min(bytes(), kHugePageBytes);
    uint64_t state = 1;
    for (size_t i = 0; i < first_bytes; i += sizeof(uint16_t)) {
      state = state * 6364136223846793005 + 1442695040888963407;
      // Sign and mantissa at random, exponent 2^-1 or 2^0.
      const auto bits = static_cast<uint16_t>((state >> 48 & 0x80FFU) | 0x3F00U);
      std::memcpy(rows_.get() + i, &bits, sizeof(bits));
    }
    for (size_t i = first_bytes; i < bytes(); i += first_bytes) {
      std::memcpy(rows_.get() + i, rows_.get(), std::min(first_bytes, bytes() - i));
    }
  }

  size_t token_count() const override { return token_count_; }
  size_t block_tokens() const override { return kBlockTokens; }
  size_t head_dim() const override { return kHeadDim; }
  StatusOr<PinnedRows> ReadBlock(KvKind kind, size_t block_index) const override {
    const size_t first = block_index * kBlockTokens;
    const size_t rows = std::min(kBlockTokens, token_count_ - first);
    const size_t offset = (static_cast<size_t>(kind) * token_count_ + first) * kRowBytes;
    return PinnedRows{{rows_.get() + offset, rows, kHeadDim, DType::kBF16}, BlockPin()};
  }

  size_t bytes() const { return 2 * token_count_ * kRowBytes; }

 private:
  static constexpr std::align_val_t kAlign{kHugePageBytes};
  struct Delete {
    void operator()(std::byte* rows) const { ::operator delete(rows, kAlign); }
  };

  size_t token_count_;
  std::unique_ptr<std::byte, Delete> rows_;
};

// Returns tokens that lie apart, others for every query, without looking at them.
class ApartIndex : public TokenIndex {
 public:
  static constexpr uint32_t kDistance = 37;

  explicit ApartIndex(size_t token_count) : token_count_(token_count) {}
  IndexKind kind() const override { return IndexKind::kExact; }
  StatusOr<SearchResult> Search(const SearchRequest& request) const override {
    SearchResult result;
    result.queries.resize(request.queries.rows());
    uint32_t first = 0;
    for (QueryCandidates& found : result.queries) {
      for (uint32_t token = first; token < token_count_; token += kDistance) {
        found.tokens.push_back({token, 0});
      }
      found.best_score = 0;
      first += kDistance / kGroupQueries;
    }
    return result;
  }

 private:
  size_t token_count_;
};

// What is measured.
struct Workload {
  Target target = FullTarget{};
  size_t query_count = 1;
  bool estimate_rest = false;
};

class Meter {
 public:
  // `cold` is read before every run, so that caches forget what is measured; null: it is not.
  Meter(AttentionBackend* backend, const SequencePart* cold) : backend_(*backend), cold_(cold) {}

  // The fastest of a few runs, nanoseconds.
  StatusOr<double> Measure(const SequencePart& part, const Workload& workload) const {
    double best_ns = std::numeric_limits<double>::infinity();
    const auto begin = steady_clock::now();
    for (int run = 0; run < kRunsMax && steady_clock::now() - begin < kTimePerPoint; ++run) {
      if (cold_ != nullptr) ALAYA_RETURN_IF_ERROR(Run(*cold_, {}));
      const auto run_begin = steady_clock::now();
      ALAYA_RETURN_IF_ERROR(Run(part, workload));
      const std::chrono::duration<double, std::nano> taken = steady_clock::now() - run_begin;
      best_ns = std::min(best_ns, taken.count());
    }
    return best_ns;
  }

 private:
  Status Run(const SequencePart& part, const Workload& workload) const {
    std::vector<float> queries(workload.query_count * kHeadDim);
    for (size_t i = 0; i < queries.size(); ++i) queries[i] = i % 7 == 0 ? -2.0F : 1.0F;
    const std::vector<TokenRange> visible(workload.query_count, part.range());
    AttentionTask task;
    task.queries = {queries.data(), workload.query_count, kHeadDim};
    task.visible = visible;
    task.parts = {&part, 1};
    task.target = workload.target;
    task.window = {.sink = 0, .recent = 0};
    task.estimate_rest = workload.estimate_rest;
    std::vector<float> output(workload.query_count * kHeadDim);
    std::vector<float> log_sum_exp(workload.query_count);
    return backend_.Attend(task, {{output.data(), workload.query_count, kHeadDim}, log_sum_exp})
        .status();
  }

  AttentionBackend& backend_;
  const SequencePart* cold_;
};

// A flat index of made-up tokens.
struct Coded {
  explicit Coded(size_t token_count) : reader(token_count) {}
  Status Build() {
    ALAYA_RETURN_IF_ERROR(BuildFlatIndex(reader, {}, blocks.Sink()));
    ALAYA_ASSIGN_OR_RETURN(index, FlatIndex::Open(&blocks, &reader));
    return OkStatus();
  }
  SequencePart part() const { return {.reader = &reader, .index = index.get()}; }

  NoiseReader reader;
  MemoryIndexBlocks blocks;
  std::unique_ptr<FlatIndex> index = nullptr;
};

// Sets what searches cost.
Status MeasureSearches(AttentionBackend* backend, const SequencePart& many, MachineCosts* costs) {
  // Next to nothing is found.
  constexpr Target kStatistical = DiprTarget{.alpha = 1};
  constexpr Target kSound = DiprTarget{.alpha = 1, .sound = true};
  Coded few(kFewCodedTokens);
  ALAYA_RETURN_IF_ERROR(few.Build());
  ALAYA_ASSIGN_OR_RETURN(
      costs->search_ns, Meter(backend, nullptr).Measure(few.part(), {kStatistical, kGroupQueries}));

  Coded coded(kCodedTokens);
  ALAYA_RETURN_IF_ERROR(coded.Build());
  const Meter meter(backend, &many);
  const auto per_code = [&](double ns, double byte_share) {
    const double bytes = static_cast<double>(coded.blocks.bytes()) * byte_share;
    return std::max(0.0, ns - costs->search_ns - bytes * costs->read_ns_per_byte) /
           static_cast<double>(kGroupQueries * kCodedTokens);
  };
  ALAYA_ASSIGN_OR_RETURN(const double statistical_ns,
                         meter.Measure(coded.part(), {kStatistical, kGroupQueries}));
  ALAYA_ASSIGN_OR_RETURN(const double sound_ns,
                         meter.Measure(coded.part(), {kSound, kGroupQueries}));
  ALAYA_ASSIGN_OR_RETURN(const double rest_ns,
                         meter.Measure(coded.part(), {kStatistical, kGroupQueries, true}));
  costs->code_ns = per_code(statistical_ns, kUpperCodeShare);
  costs->sound_code_ns = per_code(sound_ns, 1);
  costs->rest_code_ns = per_code(rest_ns, 1);
  return OkStatus();
}

}  // namespace

StatusOr<MachineCosts> MeasureMachineCosts(AttentionBackend* backend) {
  const NoiseReader one_token(1);
  const NoiseReader some_tokens(kSomeTokens);
  const NoiseReader many_tokens(kManyTokens);
  const SequencePart one{.reader = &one_token};
  const SequencePart some{.reader = &some_tokens};
  const SequencePart many{.reader = &many_tokens};
  const Meter meter(backend, nullptr);
  MachineCosts costs;
  ALAYA_ASSIGN_OR_RETURN(costs.call_ns, meter.Measure(one, {}));
  // ns(queries) = call + bytes * read + queries * tokens * 2 * head_dim * multiply_add.
  ALAYA_ASSIGN_OR_RETURN(const double few_ns, meter.Measure(some, {}));
  ALAYA_ASSIGN_OR_RETURN(const double many_ns, meter.Measure(some, {FullTarget{}, kManyQueries}));
  constexpr double kMultiplyAdds = 2.0 * kHeadDim;  // per query and token
  costs.ns_per_multiply_add =
      std::max(0.0, (many_ns - few_ns) / ((kManyQueries - 1) * kMultiplyAdds * kSomeTokens));
  ALAYA_ASSIGN_OR_RETURN(const double read_ns, meter.Measure(many, {}));
  const double arithmetic_ns = costs.ns_per_multiply_add * kMultiplyAdds * kManyTokens;
  costs.read_ns_per_byte = std::max(0.0, read_ns - costs.call_ns - arithmetic_ns) /
                           static_cast<double>(many_tokens.bytes());

  // Values of tokens that lie apart.
  const ApartIndex apart(kManyTokens);
  const SequencePart picked{.reader = &many_tokens, .index = &apart};
  ALAYA_ASSIGN_OR_RETURN(const double picked_ns,
                         meter.Measure(picked, {DiprTarget{}, kGroupQueries}));
  constexpr size_t kPicked = kManyTokens / ApartIndex::kDistance + 1;
  costs.gather_ns =
      std::max(0.0, picked_ns - costs.call_ns) / static_cast<double>(kGroupQueries * kPicked);

  ALAYA_RETURN_IF_ERROR(MeasureSearches(backend, many, &costs));
  return costs;
}

}  // namespace alaya
