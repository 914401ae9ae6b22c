// Exact attention against the memory floor.
//
// Exact attention reads every key and value once, so the time to merely read those
// bytes with all cores is what no implementation can beat. Both are measured in
// turns, in one process, on the same bytes; the table gives medians and, since other
// work on the machine disturbs single runs, the best of both.
//
//   exact_attention_bench [--tiny] [--runs N] [--first]     (--first: one shape only)
//
// google-benchmark measures one function after the other; a ratio of neighbours in
// time needs this loop of its own.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "index/attention/cpu_backend.h"
#include "index/exact_index.h"
#include "index/kernels/encoding.h"
#include "index/kernels/instruction_set.h"
#include "storage/page/page.h"
#include "storage/types/check.h"
#include "tests/benchmarks/arena.h"
#include "tests/benchmarks/benchmark_main.h"
#include "tests/benchmarks/team.h"

namespace alaya {
namespace {

constexpr size_t kPageBytes = kKvPagePayloadBytesMax;

struct Shape {
  const char* name;
  size_t token_count;
  size_t query_heads;
  size_t kv_heads;
  size_t head_dim;
  DType dtype;

  size_t group_size() const { return query_heads / kv_heads; }
  size_t row_bytes() const { return head_dim * ElementBytes(dtype); }
  // As the server chooses it: the largest multiple of 8 whose rows fit.
  size_t page_tokens() const { return kPageBytes / row_bytes() / 8 * 8; }
  size_t page_count() const { return (token_count + page_tokens() - 1) / page_tokens(); }
  // Of keys and values in one layer.
  size_t kv_bytes() const { return 2 * kv_heads * token_count * row_bytes(); }
};

// One layer's keys and values: pages of one head and kind, in the order in which an
// import writes them.
class Layer {
 public:
  explicit Layer(const Shape& shape)
      : shape_(shape), arena_(shape.page_count() * shape.kv_heads * 2 * kPageBytes) {
    // A pool of noise, repeated from a new offset in every page.
    constexpr size_t kPoolElements = size_t{1} << 20;
    std::mt19937 random(/*seed=*/7);
    std::normal_distribution<float> normal;
    std::vector<float> noise(kPoolElements);
    for (float& element : noise) element = normal(random);
    std::vector<std::byte> pool(kPoolElements * ElementBytes(shape.dtype));
    EncodeElements(noise, shape.dtype, pool);
    for (size_t frame = 0; frame < shape.page_count() * shape.kv_heads * 2; ++frame) {
      const size_t offset = random() % (pool.size() - kPageBytes) / 64 * 64;
      std::memcpy(arena_.data() + frame * kPageBytes, &pool[offset], kPageBytes);
    }
  }

  const Shape& shape() const { return shape_; }
  EncodedMatrixView page(size_t page_index, size_t head, KvKind kind) const {
    const size_t frame = (page_index * shape_.kv_heads + head) * 2 + static_cast<size_t>(kind);
    const size_t first = page_index * shape_.page_tokens();
    return {arena_.data() + frame * kPageBytes,
            std::min(shape_.page_tokens(), shape_.token_count - first), shape_.head_dim,
            shape_.dtype};
  }

 private:
  const Shape shape_;
  Arena arena_;
};

class HeadReader : public KvReader {
 public:
  HeadReader(const Layer* layer, size_t head) : layer_(layer), head_(head) {}
  size_t token_count() const override { return layer_->shape().token_count; }
  size_t block_tokens() const override { return layer_->shape().page_tokens(); }
  size_t head_dim() const override { return layer_->shape().head_dim; }
  StatusOr<PinnedRows> ReadBlock(KvKind kind, size_t block_index) const override {
    PinnedRows rows;
    rows.rows = layer_->page(block_index, head_, kind);
    return rows;
  }

 private:
  const Layer* layer_;
  size_t head_;
};

// One decode step of one layer: a query per query head.
class Step {
 public:
  explicit Step(const Shape& shape)
      : layer_(shape),
        queries_(shape.query_heads * shape.head_dim),
        outputs_(shape.query_heads * shape.head_dim),
        log_sum_exp_(shape.query_heads),
        tokens_attended_(shape.kv_heads),
        visible_(shape.group_size(), TokenRange{0, shape.token_count}) {
    // Logits with a standard deviation of 3.3 nats: a typical head (keys have 1).
    std::mt19937 random(/*seed=*/9);
    std::normal_distribution<float> normal(0.0F, 3.3F);
    for (float& element : queries_) element = normal(random);
    // Engines send queries in the model's type.
    std::vector<std::byte> encoded(queries_.size() * ElementBytes(shape.dtype));
    EncodeElements(queries_, shape.dtype, encoded);
    DecodeElements(shape.dtype, encoded, queries_);
    for (size_t head = 0; head < shape.kv_heads; ++head) {
      readers_.emplace_back(&layer_, head);
    }
    for (const HeadReader& reader : readers_) indexes_.emplace_back(&reader);
  }

  // Reads every page of a head, and does nothing else with it.
  void Read(size_t head) const {
    const Shape& shape = layer_.shape();
    for (size_t page = 0; page < shape.page_count(); ++page) {
      for (const KvKind kind : {KvKind::kKey, KvKind::kValue}) {
        ALAYA_CHECK(AllFinite(shape.dtype, layer_.page(page, head, kind).bytes()));
      }
    }
  }

  void Attend(size_t head, const Target& target) {
    const Shape& shape = layer_.shape();
    const size_t group = shape.group_size();
    const SequencePart part = {&readers_[head], &indexes_[head], 0};
    AttentionTask task;
    task.queries = {&queries_[head * group * shape.head_dim], group, shape.head_dim};
    task.visible = visible_;
    task.parts = {&part, 1};
    task.target = target;
    task.scale = 1 / std::sqrt(static_cast<float>(shape.head_dim));
    const StatusOr<AttentionReport> report = CpuBackend().Attend(
        task, {{&outputs_[head * group * shape.head_dim], group, shape.head_dim},
               std::span(log_sum_exp_).subspan(head * group, group)});
    ALAYA_CHECK(report.ok());
    tokens_attended_[head] = report->tokens_attended;
  }

  double checksum() const {
    double sum = 0;
    for (const float element : outputs_) sum += std::fabs(double{element});
    return sum;
  }
  // Mean over query heads, of the last step.
  double tokens_attended() const {
    double sum = 0;
    for (const uint64_t tokens : tokens_attended_) sum += static_cast<double>(tokens);
    return sum / static_cast<double>(layer_.shape().query_heads);
  }

 private:
  Layer layer_;
  std::vector<float> queries_;
  std::vector<float> outputs_;
  std::vector<float> log_sum_exp_;
  std::vector<uint64_t> tokens_attended_;
  std::vector<TokenRange> visible_;
  std::vector<HeadReader> readers_;
  std::vector<ExactIndex> indexes_;
};

void Measure(const Shape& shape, size_t runs, Team& team) {
  Step step(shape);
  Timing floor;
  Timing full;
  Timing dipr;
  double checksum = 0;
  constexpr size_t kWarmUpRuns = 2;  // page tables, scratch memory
  for (size_t run = 0; run < runs + kWarmUpRuns; ++run) {
    const Times read = team.Run(shape.kv_heads, [&](size_t head) { step.Read(head); });
    const Times exact =
        team.Run(shape.kv_heads, [&](size_t head) { step.Attend(head, FullTarget{}); });
    checksum = step.checksum();
    const Times sparse =
        team.Run(shape.kv_heads, [&](size_t head) { step.Attend(head, DiprTarget{}); });
    if (run < kWarmUpRuns) continue;
    floor.Add(read);
    full.Add(exact);
    dipr.Add(sparse);
  }
  const auto bytes = static_cast<double>(shape.kv_bytes());
  std::printf(
      "| %-22s | %6.1f | %8.0f | %5.1f | %8.0f | %4.0f %% | %4.0f %% | %4.0f %% | %8.0f | %6.0f | "
      "%.6g |\n",
      shape.name, bytes / (1 << 20), floor.wall_us(), bytes / floor.best_us() / 1e3, full.wall_us(),
      100 * floor.wall_us() / full.wall_us(), 100 * floor.best_us() / full.best_us(),
      100 * floor.cpu_us() / full.cpu_us(), dipr.wall_us(), step.tokens_attended(), checksum);
  std::fflush(stdout);
}

struct BenchPlan {
  size_t runs = 41;
  bool is_tiny = false;
  bool is_first_only = false;
};

Status Run(const BenchPlan& plan) {
  const size_t cores = std::max(1U, std::thread::hardware_concurrency());
  Team team(cores);
  std::printf("%zu threads, %s, medians of %zu runs in turns\n\n", cores,
              std::string(InstructionSet()).c_str(), plan.is_tiny ? 3 : plan.runs);
  std::printf(
      "| shape | MiB | floor us | best GB/s | exact us | floor / exact | of best | of CPU time "
      "| dipr us | attended | checksum |\n|---|---|---|---|---|---|---|---|---|---|---|\n");
  if (plan.is_tiny) {
    Measure({"tiny GQA bf16", 2000, 8, 2, 128, DType::kBF16}, 3, team);
    Measure({"tiny MHA f32", 500, 4, 4, 96, DType::kF32}, 3, team);
    return OkStatus();
  }
  constexpr size_t kTokens = size_t{128} * 1024;
  const Shape shapes[] = {
      {"GQA 128K bf16 d128", kTokens, 32, 8, 128, DType::kBF16},
      {"GQA 32K bf16 d128", kTokens / 4, 32, 8, 128, DType::kBF16},
      {"GQA 16K bf16 d128", kTokens / 8, 32, 8, 128, DType::kBF16},
      {"GQA 4K bf16 d128", kTokens / 32, 32, 8, 128, DType::kBF16},
      {"MHA 128K bf16 d128", kTokens, 8, 8, 128, DType::kBF16},
      {"group 8 128K bf16 d128", kTokens, 64, 8, 128, DType::kBF16},
      {"GQA 128K bf16 d64", kTokens, 32, 8, 64, DType::kBF16},
      {"GQA 128K bf16 d96", kTokens, 32, 8, 96, DType::kBF16},
      {"GQA 128K f16 d128", kTokens, 32, 8, 128, DType::kF16},
      {"GQA 128K f32 d128", kTokens, 32, 8, 128, DType::kF32},
  };
  for (const Shape& shape : shapes) {
    Measure(shape, plan.runs, team);
    if (plan.is_first_only) break;
  }
  return OkStatus();
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  alaya::BenchPlan plan;
  CLI::App app("Exact attention against reading its bytes with all cores.");
  app.add_flag("--tiny", plan.is_tiny, alaya::kTinyHelp);
  app.add_flag("--first", plan.is_first_only, "The first shape only");
  app.add_option("--runs", plan.runs, "Of each, in turns")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  return alaya::BenchmarkMain(app, argc, argv, [&] { return alaya::Run(plan); });
}
