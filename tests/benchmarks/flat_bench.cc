// The flat index against the memory floor and exact attention.
//
// One layer of the synthetic workload, one decode step per run, one thread per core over
// kv heads. The ways run in turns, so that other work on the machine disturbs all alike;
// in between, the floor reads all keys and values, which also leaves nothing of the
// codes in the caches. The table gives medians.
//
//   flat_bench [--tiny] [--runs N] [--layer L] [--csv FILE] [--way NAME] [--tokens N]...
//
// Columns: wall time of search and attention of all heads; the floor's over it; the same
// of the processor time of the busiest thread; processor time of all threads for search
// and for attention; share of the DIPR set that was found
// (recall); exact scores per token of the context and query; tokens attended per query;
// error of the output against exact attention, mean over heads.

#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "index/attention/cpu_backend.h"
#include "index/exact_index.h"
#include "index/flat/flat_builder.h"
#include "index/flat/flat_index.h"
#include "index/kernels/encoding.h"
#include "index/kernels/instruction_set.h"
#include "storage/types/check.h"
#include "tests/support/attention_workload.h"

namespace alaya {
namespace {

constexpr size_t kPageBytes = size_t{64} * 1024;
constexpr double kAlpha = 0.012;

// Memory in huge pages where the system grants them, as a server's page cache.
class Arena {
 public:
  explicit Arena(size_t bytes) : bytes_(bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ALAYA_CHECK(memory != MAP_FAILED);
    madvise(memory, bytes, MADV_HUGEPAGE);
    data_ = static_cast<std::byte*>(memory);
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { munmap(data_, bytes_); }

  std::byte* page(size_t index) const { return data_ + index * kPageBytes; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_;
};

// Keys and values of one kv head, in pages.
class HeadReader : public KvReader {
 public:
  HeadReader(const Model& model, size_t token_count)
      : model_(model), token_count_(token_count), arena_(2 * block_count() * kPageBytes) {}

  // `rows`: [tokens, num_kv_heads, head_dim] from position `first_token` on.
  void Fill(KvKind kind, std::span<const std::byte> rows, size_t kv_head, size_t first_token) {
    const size_t row_bytes = model_.row_bytes();
    const size_t stride = row_bytes * model_.num_kv_heads;
    for (size_t i = 0; i < rows.size() / stride; ++i) {
      const size_t token = first_token + i;
      std::memcpy(Page(kind, token / block_tokens()) + token % block_tokens() * row_bytes,
                  &rows[i * stride + kv_head * row_bytes], row_bytes);
    }
  }

  size_t token_count() const override { return token_count_; }
  size_t block_tokens() const override { return kPageBytes / model_.row_bytes() / 8 * 8; }
  size_t head_dim() const override { return model_.head_dim; }
  StatusOr<PinnedRows> ReadBlock(KvKind kind, size_t block_index) const override {
    PinnedRows pinned;
    const size_t first = block_index * block_tokens();
    pinned.rows = {Page(kind, block_index), std::min(block_tokens(), token_count_ - first),
                   model_.head_dim, model_.dtype};
    return pinned;
  }
  EncodedMatrixView rows(KvKind kind, size_t block_index) const {
    return ReadBlock(kind, block_index)->rows;
  }

 private:
  std::byte* Page(KvKind kind, size_t block_index) const {
    return arena_.page(2 * block_index + static_cast<size_t>(kind));
  }

  const Model model_;
  const size_t token_count_;
  Arena arena_;
};

// An index's blocks, one page each.
class IndexPages : public IndexBlockReader {
 public:
  explicit IndexPages(size_t page_count_max) : arena_(page_count_max * kPageBytes) {}

  IndexBlockSink Sink() {
    return [this](std::span<const std::byte> bytes) {
      std::ranges::copy(bytes, arena_.page(sizes_.size()));
      sizes_.push_back(bytes.size());
      return OkStatus();
    };
  }
  void Clear() { sizes_.clear(); }
  size_t block_count() const override { return sizes_.size(); }
  StatusOr<PinnedBytes> ReadBlock(size_t block_index) const override {
    PinnedBytes pinned;
    pinned.bytes = {arena_.page(block_index), sizes_[block_index]};
    return pinned;
  }
  size_t bytes() const {
    size_t total = 0;
    for (const size_t size : sizes_) total += size;
    return total;
  }

 private:
  Arena arena_;
  std::vector<size_t> sizes_;
};

double ThreadCpuMicroseconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) * 1e-3;
}

uint64_t ThreadCpuNanoseconds() { return static_cast<uint64_t>(1e3 * ThreadCpuMicroseconds()); }

// What a run took: until the last thread was done, and the processor time of the
// busiest thread, which other processes disturb less.
struct Times {
  double wall_us = 0;
  double cpu_us = 0;
};

// One thread per core; every Run is one task per kv head, in contiguous shares.
class Team {
 public:
  explicit Team(size_t size) : start_(Count(size + 1)), finish_(Count(size + 1)), cpu_us_(size) {
    for (size_t i = 0; i < size; ++i) {
      threads_.emplace_back([this, i, size] {
        for (start_.arrive_and_wait(); task_ != nullptr; start_.arrive_and_wait()) {
          const double begin_us = ThreadCpuMicroseconds();
          for (size_t j = count_ * i / size; j < count_ * (i + 1) / size; ++j) (*task_)(j);
          cpu_us_[i] = ThreadCpuMicroseconds() - begin_us;
          finish_.arrive_and_wait();
        }
      });
    }
  }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  ~Team() {
    task_ = nullptr;
    start_.arrive_and_wait();
    for (std::thread& thread : threads_) thread.join();
  }

  Times Run(size_t count, const std::function<void(size_t)>& task) {
    count_ = count;
    task_ = &task;
    const auto begin = std::chrono::steady_clock::now();
    start_.arrive_and_wait();
    finish_.arrive_and_wait();
    const std::chrono::duration<double, std::micro> wall = std::chrono::steady_clock::now() - begin;
    return {wall.count(), *std::ranges::max_element(cpu_us_)};
  }

 private:
  static std::ptrdiff_t Count(size_t size) { return static_cast<std::ptrdiff_t>(size); }

  std::barrier<> start_;
  std::barrier<> finish_;
  const std::function<void(size_t)>* task_ = nullptr;
  size_t count_ = 0;
  std::vector<double> cpu_us_;
  std::vector<std::thread> threads_;
};

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// An index that is always asked for the same mode.
class InMode : public TokenIndex {
 public:
  InMode(const TokenIndex* index, bool sound) : index_(index), sound_(sound) {}
  IndexKind kind() const override { return index_->kind(); }
  StatusOr<SearchResult> Search(const SearchRequest& request) const override {
    SearchRequest changed = request;
    changed.sound = sound_;
    return index_->Search(changed);
  }

 private:
  const TokenIndex* index_;
  bool sound_;
};

// A way of computing the step's attention, and what it showed.
struct Way {
  const char* name;
  enum class Kind { kFloor, kFull, kFlat } kind = Kind::kFlat;
  bool sound = true;
  bool estimate_rest = false;

  std::vector<double> wall_us = {};
  std::vector<double> cpu_us = {};
  double found = 0;  // tokens of the DIPR set, and how many of them there are
  double wanted = 0;
  double scored = 0;
  double attended = 0;
  double search_us = 0;  // processor time of all threads
  double attend_us = 0;
  double error = 0;
  size_t queries = 0;
  double checksum = 0;
};

struct Settings {
  size_t runs = 21;
  uint32_t layer = 2;
  bool is_tiny = false;
  std::FILE* csv = nullptr;
  std::string way;  // only this one; empty: all
};

class Layer {
 public:
  Layer(const Model& model, size_t token_count, const Settings& settings, Team& team)
      : model_(model),
        token_count_(token_count),
        settings_(settings),
        team_(team),
        workload_(
            WorkloadOptions{.model = model, .token_count = token_count, .needle_count_max = 8}),
        visible_(model.group_size(), TokenRange{0, token_count}),
        outputs_(model.num_query_heads * model.head_dim),
        full_outputs_(outputs_.size()),
        log_sum_exp_(model.num_query_heads),
        reports_(model.num_kv_heads) {
    for (size_t h = 0; h < model.num_kv_heads; ++h) {
      readers_.push_back(std::make_unique<HeadReader>(model, token_count));
      pages_.push_back(std::make_unique<IndexPages>(token_count / 256 + 16));
    }
    constexpr uint64_t kChunk = 16384;
    for (uint64_t begin = 0; begin < token_count; begin += kChunk) {
      const LayerTokens tokens =
          workload_.Layer(settings.layer, {begin, std::min<uint64_t>(begin + kChunk, token_count)});
      for (size_t h = 0; h < model.num_kv_heads; ++h) {
        readers_[h]->Fill(KvKind::kKey, tokens.keys, h, begin);
        readers_[h]->Fill(KvKind::kValue, tokens.values, h, begin);
      }
    }
    Build();
  }

  double build_ms_per_32k() const { return build_ms_per_32k_; }
  size_t index_bytes() const {
    size_t total = 0;
    for (const auto& pages : pages_) total += pages->bytes();
    return total;
  }
  size_t kv_bytes() const { return token_count_ * model_.token_bytes() / model_.num_layers; }

  void Measure(std::vector<Way>& ways) {
    constexpr size_t kWarmUpRuns = 1;
    for (size_t run = 0; run < settings_.runs + kWarmUpRuns; ++run) {
      SetQueries(token_count_ + run);
      for (Way& way : ways) {
        // The floor first, every time: it leaves the caches the same for all.
        if (way.kind != Way::Kind::kFloor) RunOnce({"", Way::Kind::kFloor});
        const Times times = RunOnce(way);
        if (run < kWarmUpRuns) continue;
        way.wall_us.push_back(times.wall_us);
        way.cpu_us.push_back(times.cpu_us);
        if (way.kind == Way::Kind::kFull) full_outputs_ = outputs_;
        if (way.kind == Way::Kind::kFlat) Judge(way);
      }
    }
  }

 private:
  void Build() {
    const Times times = team_.Run(model_.num_kv_heads, [&](size_t h) {
      ALAYA_CHECK(BuildFlatIndex(*readers_[h], pages_[h]->Sink()).ok());
    });
    build_ms_per_32k_ = times.cpu_us / 1e3 * 32768 / static_cast<double>(token_count_) /
                        static_cast<double>((model_.num_kv_heads + 1) / 2);
    for (size_t h = 0; h < model_.num_kv_heads; ++h) {
      auto index = FlatIndex::Open(pages_[h].get(), readers_[h].get());
      ALAYA_CHECK(index.ok());
      indexes_.push_back(*std::move(index));
    }
  }

  void SetQueries(uint64_t position) {
    queries_ = workload_.Queries(settings_.layer, position);
    // Engines send queries in the model's type.
    std::vector<std::byte> encoded(queries_.size() * ElementBytes(model_.dtype));
    EncodeElements(queries_, model_.dtype, encoded);
    DecodeElements(model_.dtype, encoded, queries_);
  }

  MatrixView<const float> HeadQueries(size_t head) const {
    const size_t group = model_.group_size();
    return {&queries_[head * group * model_.head_dim], group, model_.head_dim};
  }

  Times RunOnce(const Way& way) {
    if (way.kind == Way::Kind::kFloor) {
      return team_.Run(model_.num_kv_heads, [&](size_t h) {
        for (size_t b = 0; b < readers_[h]->block_count(); ++b) {
          for (const KvKind kind : {KvKind::kKey, KvKind::kValue}) {
            ALAYA_CHECK(AllFinite(model_.dtype, readers_[h]->rows(kind, b).bytes()));
          }
        }
      });
    }
    return team_.Run(model_.num_kv_heads, [&](size_t h) { Attend(way, h); });
  }

  void Attend(const Way& way, size_t head) {
    const size_t group = model_.group_size();
    const InMode index(indexes_[head].get(), way.sound);
    const SequencePart part = {readers_[head].get(), &index, 0};
    AttentionTask task;
    task.queries = HeadQueries(head);
    task.visible = visible_;
    task.parts = {&part, 1};
    task.target = way.kind == Way::Kind::kFull ? Target(FullTarget{}) : Target(DiprTarget{kAlpha});
    task.scale = Scale();
    task.estimate_rest = way.estimate_rest;
    task.now_ns = ThreadCpuNanoseconds;
    const StatusOr<AttentionReport> report = CpuBackend().Attend(
        task, {{&outputs_[head * group * model_.head_dim], group, model_.head_dim},
               std::span(log_sum_exp_).subspan(head * group, group)});
    ALAYA_CHECK(report.ok());
    reports_[head] = *report;
  }

  float Scale() const { return 1 / std::sqrt(static_cast<float>(model_.head_dim)); }

  // Figures of the run that was, and the DIPR set that its index finds.
  void Judge(Way& way) {
    const size_t group = model_.group_size();
    for (size_t h = 0; h < model_.num_kv_heads; ++h) {
      way.scored += static_cast<double>(reports_[h].tokens_scored);
      way.attended += static_cast<double>(reports_[h].tokens_attended);
      way.search_us += static_cast<double>(reports_[h].search_ns) / 1e3;
      way.attend_us += static_cast<double>(reports_[h].attend_ns) / 1e3;
    }
    for (size_t q = 0; q < model_.num_query_heads; ++q) {
      double difference = 0;
      double norm = 0;
      for (size_t e = 0; e < model_.head_dim; ++e) {
        const double exact = double{full_outputs_[q * model_.head_dim + e]};
        const double off = double{outputs_[q * model_.head_dim + e]} - exact;
        difference += off * off;
        norm += exact * exact;
      }
      way.error += std::sqrt(difference / norm);
      way.checksum += double{log_sum_exp_[q]};
    }
    way.queries += model_.num_query_heads;
    if (++judged_ % 4 != 1) return;  // The exact sets take a while.
    for (size_t h = 0; h < model_.num_kv_heads; ++h) {
      SearchRequest request;
      request.queries = HeadQueries(h);
      request.visible = visible_;
      request.target = DiprTarget{kAlpha};
      request.scale = Scale();
      request.sound = way.sound;
      const auto exact = ExactIndex(readers_[h].get()).Search(request);
      const auto found = indexes_[h]->Search(request);
      ALAYA_CHECK(exact.ok() && found.ok());
      for (size_t q = 0; q < group; ++q) {
        const auto& all = exact->queries[q].tokens;
        way.wanted += static_cast<double>(all.size());
        for (const ScoredToken& token : found->queries[q].tokens) {
          // What is found must belong to the set.
          ALAYA_CHECK(std::ranges::binary_search(all, token.token, {}, &ScoredToken::token));
        }
        way.found += static_cast<double>(found->queries[q].tokens.size());
      }
    }
  }

  const Model model_;
  const size_t token_count_;
  const Settings& settings_;
  Team& team_;
  const AttentionWorkload workload_;
  const std::vector<TokenRange> visible_;
  std::vector<std::unique_ptr<HeadReader>> readers_;
  std::vector<std::unique_ptr<IndexPages>> pages_;
  std::vector<std::unique_ptr<FlatIndex>> indexes_;
  double build_ms_per_32k_ = 0;
  std::vector<float> queries_;
  std::vector<float> outputs_;
  std::vector<float> full_outputs_;
  std::vector<float> log_sum_exp_;
  std::vector<AttentionReport> reports_;
  size_t judged_ = 0;
};

void Report(size_t token_count, const Layer& layer, const std::vector<Way>& ways,
            const Settings& settings) {
  const double floor_us = Median(ways[0].wall_us);
  const double floor_cpu_us = Median(ways[0].cpu_us);
  for (const Way& way : ways) {
    const double queries = static_cast<double>(std::max<size_t>(way.queries, 1));
    const double wall_us = Median(way.wall_us);
    const double share = way.scored / queries / static_cast<double>(token_count);
    const double recall = way.wanted > 0 ? way.found / way.wanted : 1;
    const double runs = static_cast<double>(way.wall_us.size());
    std::printf(
        "| %7zu | %-18s | %8.0f | %5.2f | %8.0f | %5.2f | %6.0f | %6.0f | %.5f | %7.3f %% | %8.0f "
        "| %6.2f %% | %.7g |\n",
        token_count, way.name, wall_us, floor_us / wall_us, Median(way.cpu_us),
        floor_cpu_us / Median(way.cpu_us), way.search_us / runs, way.attend_us / runs, recall,
        100 * share, way.attended / queries, 100 * way.error / queries, way.checksum);
    if (settings.csv == nullptr) continue;
    std::fprintf(settings.csv, "%zu,%u,%s,%.1f,%.3f,%.6f,%.6f,%.1f,%.6f,%.3f,%zu\n", token_count,
                 settings.layer, way.name, wall_us, floor_us / wall_us, recall, share,
                 way.attended / queries, way.error / queries, layer.build_ms_per_32k(),
                 layer.index_bytes());
  }
  std::printf(
      "build %.1f ms per 32K keys and core; index %.1f MiB, %.1f %% of keys and values\n\n",
      layer.build_ms_per_32k(), static_cast<double>(layer.index_bytes()) / (1 << 20),
      100 * static_cast<double>(layer.index_bytes()) / static_cast<double>(layer.kv_bytes()));
  std::fflush(stdout);
}

int Main(std::span<char*> arguments) {
  Settings settings;
  std::vector<size_t> lengths;
  for (size_t i = 1; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    const bool has_value = i + 1 < arguments.size();
    if (argument == "--tiny") {
      settings.is_tiny = true;
    } else if (argument == "--runs" && has_value) {
      settings.runs = std::max<size_t>(1, std::strtoul(arguments[++i], nullptr, 10));
    } else if (argument == "--layer" && has_value) {
      settings.layer = static_cast<uint32_t>(std::strtoul(arguments[++i], nullptr, 10));
    } else if (argument == "--tokens" && has_value) {
      lengths.push_back(std::strtoul(arguments[++i], nullptr, 10));
    } else if (argument == "--way" && has_value) {
      settings.way = arguments[++i];
    } else if (argument == "--csv" && has_value) {
      settings.csv = std::fopen(arguments[++i], "w");
      if (settings.csv == nullptr) return 2;
    } else {
      std::fprintf(stderr,
                   "usage: flat_bench [--tiny] [--runs N] [--layer L] [--csv FILE] "
                   "[--way NAME] [--tokens N]...\n");
      return 2;
    }
  }
  Model model = StandardModel(/*num_layers=*/settings.layer + 1);
  if (settings.is_tiny) {
    settings.runs = 1;
    lengths = {3000};
    model.num_kv_heads = 2;
    model.num_query_heads = 8;
  }
  if (lengths.empty()) lengths = {4096, 16384, 32768, 131072};
  const size_t cores = std::max(1U, std::thread::hardware_concurrency());
  Team team(cores);
  std::printf("%zu threads, %s, layer %u, medians of %zu runs in turns\n\n", cores,
              std::string(InstructionSet()).c_str(), settings.layer, settings.runs);
  std::printf(
      "| tokens | way | us | floor / way | CPU us | floor / way | search | attend | recall | "
      "scored "
      "| attended | error | checksum |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
  if (settings.csv != nullptr) {
    std::fprintf(settings.csv,
                 "tokens,layer,way,us,floor_ratio,recall,scored_share,attended,error,"
                 "build_ms_per_32k,index_bytes\n");
  }
  for (const size_t token_count : lengths) {
    Layer layer(model, token_count, settings, team);
    std::vector<Way> ways = {{"floor", Way::Kind::kFloor},
                             {"exact", Way::Kind::kFull},
                             {"sound", Way::Kind::kFlat, true, false},
                             {"statistical", Way::Kind::kFlat, false, false},
                             {"sound + rest", Way::Kind::kFlat, true, true},
                             {"statistical + rest", Way::Kind::kFlat, false, true}};
    std::erase_if(ways, [&](const Way& way) {
      return way.kind == Way::Kind::kFlat && !settings.way.empty() && way.name != settings.way;
    });
    layer.Measure(ways);
    Report(token_count, layer, ways, settings);
  }
  if (settings.csv != nullptr) std::fclose(settings.csv);
  return 0;
}

}  // namespace
}  // namespace alaya

int main(int argument_count, char** arguments) {
  return alaya::Main({arguments, static_cast<size_t>(argument_count)});
}
