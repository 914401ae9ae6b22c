// Import through ContextWriter against raw sequential writing.
//
// Both write the same number of bytes to the same directory, in turns: raw with
// write() of 1 MiB blocks and one fsync, import with chunks of 1 MiB (keys and values
// of 256 tokens of one layer), durable at Commit. The table gives medians.
//
//   import_bench [--tiny] [--runs=N] [--directory=D]
//
// google-benchmark measures one function after the other; a ratio of neighbours in
// time needs this loop of its own.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "storage/context/context_store.h"
#include "storage/page/page.h"
#include "storage/types/check.h"
#include "tests/benchmarks/benchmark_main.h"
#include "tests/support/process_memory.h"
#include "tests/support/temp_directory.h"

namespace alaya {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kChunkTokens = 256;  // of one layer: 512 KiB of keys, as many of values
constexpr uint64_t kBudgetBytes = 64 * kMiB;
constexpr uint64_t kBeyondBudgetBytesMax = 256 * kMiB;

struct BenchPlan {
  uint64_t bytes = 1024 * kMiB;
  int run_count = 5;
  std::string directory;  // empty: a temporary one
};

Model StandardShape() { return {"llama-3-8b", 4, 32, 8, 128, DType::kBF16}; }

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::vector<std::byte> RandomBytes(size_t count) {
  std::mt19937_64 random(1);
  std::vector<std::byte> bytes(count);
  std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<std::byte>(random()); });
  return bytes;
}

void WriteRaw(const std::string& path, uint64_t bytes, std::span<const std::byte> block) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  ALAYA_CHECK(file >= 0);
  for (uint64_t written = 0; written < bytes; written += block.size()) {
    ALAYA_CHECK(write(file, block.data(), block.size()) == static_cast<ssize_t>(block.size()));
  }
  ALAYA_CHECK(fsync(file) == 0);
  close(file);
}

void CheckOk(const Status& status) {
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  ALAYA_CHECK(status.ok());
}

// An engine sends each layer's KV as it computes it: chunk by chunk, all layers.
void ImportContext(ContextStore& store, uint64_t token_count, std::span<const std::byte> keys,
                   std::span<const std::byte> values) {
  ContextDraft draft;
  draft.id = "context";
  draft.tenant = "default";
  draft.model = store.FindModel(StandardShape().name).value();
  draft.tokens.resize(token_count);
  auto writer = store.BeginContext(std::move(draft));
  CheckOk(writer.status());
  for (uint64_t begin = 0; begin < token_count; begin += kChunkTokens) {
    for (uint32_t layer = 0; layer < StandardShape().num_layers; ++layer) {
      CheckOk((*writer)->Append(LayerIndex{layer}, keys, values));
    }
  }
  CheckOk((*writer)->Commit().status());
}

Status Run(const BenchPlan& plan) {
  std::optional<TempDirectory> temporary;
  if (plan.directory.empty()) temporary.emplace();
  const std::string directory =
      temporary ? temporary->path().string() : plan.directory + "/import_bench";
  std::filesystem::create_directories(directory);
  const uint64_t token_count = plan.bytes / StandardShape().token_bytes();
  const std::vector<std::byte> block = RandomBytes(kMiB);
  const std::span<const std::byte> keys = std::span(block).first(kMiB / 2);
  const std::span<const std::byte> values = std::span(block).last(kMiB / 2);
  auto store =
      ContextStore::Open({.directory = directory + "/data", .memory_budget_bytes = kBudgetBytes});
  CheckOk(store.status());
  CheckOk((*store)->RegisterModel(StandardShape()).status());

  std::vector<double> raw_seconds;
  std::vector<double> import_seconds;
  std::vector<double> ratios;
  const auto measure_raw = [&] {
    sync();  // so that neither pays for what the other left behind
    raw_seconds.push_back(Seconds([&] { WriteRaw(directory + "/raw", plan.bytes, block); }));
    std::filesystem::remove(directory + "/raw");
  };
  const auto measure_import = [&] {
    sync();
    import_seconds.push_back(Seconds([&] { ImportContext(**store, token_count, keys, values); }));
    CheckOk((*store)->DeleteContext("default", "context").status());
    CheckOk((*store)->Compact().status());  // waits until the pages are gone
  };
  for (int run = 0; run < plan.run_count; ++run) {
    // Each goes first as often as the other.
    if (run % 2 == 0) measure_raw();
    measure_import();
    if (run % 2 == 1) measure_raw();
    ratios.push_back(raw_seconds.back() / import_seconds.back());
  }
  const double mib = static_cast<double>(plan.bytes) / static_cast<double>(kMiB);
  const auto memory = ReadProcessMemory(getpid());
  CheckOk(memory.status());
  std::printf("| bytes | raw MiB/s | import MiB/s | import / raw | peak memory MiB |\n");
  std::printf("|---|---|---|---|---|\n");
  std::printf("| %.0f MiB | %.0f | %.0f | %.2f | %.0f |\n", mib, mib / Median(raw_seconds),
              mib / Median(import_seconds), Median(ratios),
              static_cast<double>(memory->resident_bytes_max) / static_cast<double>(kMiB));
  store->reset();
  if (!temporary) std::filesystem::remove_all(directory);
  if (memory->resident_bytes_max <= kBudgetBytes + kBeyondBudgetBytesMax) return OkStatus();
  return ResourceExhausted(std::to_string(memory->resident_bytes_max) +
                           " bytes of memory are more than the budget and 256 MiB");
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  alaya::BenchPlan plan;
  CLI::App app("Import into the store against raw writing, and its memory.");
  app.add_flag_callback(
      "--tiny",
      [&] {
        plan.bytes = 16 * alaya::kMiB;
        plan.run_count = 1;
      },
      alaya::kTinyHelp);
  app.add_option("--runs", plan.run_count, "Of each, in turns")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--directory", plan.directory,
                 "On the disk to measure; a temporary one if not given");
  return alaya::BenchmarkMain(app, argc, argv, [&] { return alaya::Run(plan); });
}
