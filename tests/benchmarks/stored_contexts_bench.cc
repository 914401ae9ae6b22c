// What a server over many stored contexts costs: its restart, storing a session that grew
// a long context, reading a context back.
//
//   stored_contexts_bench [--tiny] [--contexts=N] [--directory=D]
//
// Contexts of 128K tokens in the standard shape with 4 layers (2 GiB each) are written in
// process; all that is measured goes through the real server and client. Files are
// pushed out of the system's cache before each reading. The raw rate is that of one thread or of
// four that read the store's own files in blocks of 1 MiB, in turns with ReadContext.

#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "client/attend_stream.h"
#include "client/client.h"
#include "client/context_reader.h"
#include "storage/context/context_store.h"
#include "storage/types/check.h"
#include "tests/benchmarks/benchmark_main.h"
#include "tests/support/attention_workload.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_directory.h"

namespace alaya {
namespace {

namespace fs = std::filesystem;
namespace pb = ::alaya::v1;

constexpr uint64_t kMebibyte = uint64_t{1} << 20;
constexpr uint64_t kChunkTokens = 256;
constexpr uint32_t kLayerCount = 4;
constexpr uint8_t kNoIndex = 1;
constexpr int kRunCount = 3;
// As client/README.md advises those who read whole contexts.
constexpr int kKeptBytes = 32 << 20;

struct BenchPlan {
  uint64_t context_count = 10;
  uint64_t context_tokens = 131'072;
  uint64_t added_tokens = 1024;
  bool keep_freed_memory = true;
  bool unix_socket = false;
  std::string directory;  // empty: a temporary one
};

using Clock = std::chrono::steady_clock;
double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

template <typename T>
T Must(StatusOr<T> result) {
  if (!result.ok()) std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
  ALAYA_CHECK(result.ok());
  return *std::move(result);
}
void Must(const Status& status) {
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  ALAYA_CHECK(status.ok());
}

std::string ContextName(uint64_t number) { return "context-" + std::to_string(number); }

std::vector<TokenId> Tokens(uint64_t number, uint64_t count) {
  std::vector<TokenId> tokens(count, static_cast<TokenId>(number));
  return tokens;
}

// f16 bits of small numbers: any bytes would do for the disk, but attention wants finite ones.
std::string SmallNumbers(size_t byte_count) {
  std::mt19937 random(1);
  std::string bytes(byte_count, '\0');
  for (size_t i = 0; i < byte_count; i += 2) {
    bytes[i] = static_cast<char>(random());
    bytes[i + 1] = static_cast<char>(random() % 2 == 0 ? 0x3D : 0xBD);
  }
  return bytes;
}

void WriteContexts(const BenchPlan& plan, const std::string& directory) {
  const auto store = Must(ContextStore::Open({.directory = directory}));
  const Model model = StandardModel(kLayerCount);
  Must(store->RegisterModel(model).status());
  const std::string block = SmallNumbers(kChunkTokens * model.token_bytes() / kLayerCount / 2);
  const auto rows = std::as_bytes(std::span(block));
  for (uint64_t number = 1; number <= plan.context_count; ++number) {
    ContextDraft draft;
    draft.id = ContextName(number);
    draft.tenant = "default";
    draft.model = Must(store->FindModel(model.name));
    draft.tokens = Tokens(number, plan.context_tokens);
    draft.wanted_indexes = {kNoIndex};
    const auto writer = Must(store->BeginContext(std::move(draft)));
    for (uint64_t begin = 0; begin < plan.context_tokens; begin += kChunkTokens) {
      for (uint32_t layer = 0; layer < kLayerCount; ++layer) {
        Must(writer->Append(LayerIndex{layer}, rows, rows));
      }
    }
    Must(writer->Commit().status());
  }
}

std::vector<std::string> Files(const std::string& directory) {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

void PushOutOfCache(const std::string& directory) {
  for (const std::string& path : Files(directory)) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    fdatasync(file);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    close(file);
  }
}

// Bytes per second of reading about `wanted_bytes` of the store's files, each by one of the
// threads.
double RawRate(const std::string& directory, uint64_t wanted_bytes, int thread_count) {
  const std::vector<std::string> files = Files(directory);
  std::atomic<size_t> next{0};
  std::atomic<uint64_t> bytes{0};
  const auto start = Clock::now();
  std::vector<std::jthread> threads;
  for (int i = 0; i < thread_count; ++i) {
    threads.emplace_back([&] {
      std::vector<char> block(kMebibyte);
      for (size_t number = next++; number < files.size(); number = next++) {
        const int file = open(files[number].c_str(), O_RDONLY | O_CLOEXEC);
        if (file < 0) continue;
        for (ssize_t count = 1; count > 0 && bytes < wanted_bytes;) {
          count = read(file, block.data(), block.size());
          if (count > 0) bytes += static_cast<uint64_t>(count);
        }
        close(file);
      }
    });
  }
  threads.clear();  // joins
  return static_cast<double>(bytes.load()) / SecondsSince(start);
}

double ReadRate(const client::Client& client, const std::string& id) {
  pb::ReadContextRequest request;
  request.set_context_id(id);
  uint64_t bytes = 0;
  const auto start = Clock::now();
  client::ContextReader reader = client.ReadContext(request);
  pb::ReadContextResponse chunk;
  while (Must(reader.Next(&chunk))) {
    bytes += chunk.key().data().size() + chunk.value().data().size();
  }
  return static_cast<double>(bytes) / SecondsSince(start);
}

pb::Tensor MakeRows(uint64_t tokens, uint32_t heads) {
  pb::Tensor tensor;
  tensor.set_dtype(pb::DTYPE_BF16);
  for (const uint64_t size : {tokens, uint64_t{heads}, uint64_t{128}}) {
    tensor.add_shape(static_cast<int64_t>(size));
  }
  tensor.set_data(SmallNumbers(tokens * heads * 128 * 2));
  return tensor;
}

std::string CreateSession(const client::Client& client, const std::string& id) {
  pb::CreateSessionRequest request;
  request.set_context_id(id);
  return Must(client.CreateSession(request)).session_id();
}

void AttendOnce(const client::Client& client, const std::string& id) {
  const std::string session = CreateSession(client, id);
  pb::AttendItem item;
  item.set_session_id(session);
  *item.mutable_query() = MakeRows(1, 32);
  client::AttendStream stream = client.Attend();
  Must(stream.AttendOne(item).status());
}

uint64_t DiskBytes(const std::string& directory) {
  uint64_t bytes = 0;
  for (const std::string& path : Files(directory)) bytes += fs::file_size(path);
  return bytes;
}

// Bytes that the process has handed to the disk.
uint64_t WrittenBytes(pid_t process) {
  std::ifstream io("/proc/" + std::to_string(process) + "/io");
  std::string name;
  uint64_t value = 0;
  while (io >> name >> value) {
    if (name == "write_bytes:") return value;
  }
  return 0;
}

void StoreSession(const BenchPlan& plan, const client::Client& client, pid_t server) {
  const std::string session = CreateSession(client, ContextName(1));
  client::AttendStream stream = client.Attend();
  for (uint32_t layer = 0; layer < kLayerCount; ++layer) {
    pb::AttendItem item;
    item.set_session_id(session);
    item.set_layer(layer);
    *item.mutable_key() = MakeRows(plan.added_tokens, 8);
    *item.mutable_value() = MakeRows(plan.added_tokens, 8);
    Must(stream.AttendOne(item).status());
  }
  pb::StoreSessionRequest request;
  request.set_session_id(session);
  for (const TokenId token : Tokens(1, plan.context_tokens)) request.add_tokens(token);
  for (uint64_t i = 0; i < plan.added_tokens; ++i) request.add_tokens(7);
  const uint64_t written_before = WrittenBytes(server);
  const auto start = Clock::now();
  const auto stored = Must(client.StoreSession(request));
  const double seconds = SecondsSince(start);
  const double new_bytes =
      static_cast<double>(plan.added_tokens * StandardModel(kLayerCount).token_bytes());
  std::printf(
      "StoreSession of %llu + %llu tokens: %.3f s, %.2fx of the new KV stored, %.2fx written\n",
      static_cast<unsigned long long>(plan.context_tokens),
      static_cast<unsigned long long>(plan.added_tokens), seconds,
      static_cast<double>(stored.stored_bytes()) / new_bytes,
      static_cast<double>(WrittenBytes(server) - written_before) / new_bytes);
}

Status Run(const BenchPlan& plan) {
  std::optional<TempDirectory> temporary;
  if (plan.directory.empty()) temporary.emplace();
  const std::string directory =
      temporary ? *temporary / "data" : plan.directory + "/stored_contexts_bench";
  if (plan.keep_freed_memory) {
    mallopt(M_TRIM_THRESHOLD, kKeptBytes);
    mallopt(M_MMAP_THRESHOLD, kKeptBytes);
  }
  WriteContexts(plan, directory);
  std::printf("%.2f GiB in %llu contexts\n",
              static_cast<double>(DiskBytes(directory)) / (1024.0 * kMebibyte),
              static_cast<unsigned long long>(plan.context_count));
  PushOutOfCache(directory);

  const auto start = Clock::now();
  ServerProcessOptions options;
  options.data_directory = directory;
  if (plan.unix_socket) options.grpc_listen = "unix:" + directory + "/socket";
  const auto server = Must(ServerProcess::Start(options));
  const client::Client client =
      Must(client::Client::Connect(server->grpc_address())).WithCallTimeout({});
  Must(client.WaitUntilServing(std::chrono::seconds(60)));
  std::printf("restart: ready after %.2f s", SecondsSince(start));
  const auto first_query = Clock::now();
  AttendOnce(client, ContextName(plan.context_count));
  std::printf(", first query (one layer, cold) %.2f s; indexes built: none wanted\n",
              SecondsSince(first_query));

  StoreSession(plan, client, server->pid());
  const uint64_t context_bytes = plan.context_tokens * StandardModel(kLayerCount).token_bytes();
  for (int run = 0; run < kRunCount; ++run) {
    PushOutOfCache(directory);
    const double raw = RawRate(directory, context_bytes, 1);
    PushOutOfCache(directory);
    const double raw_of_four = RawRate(directory, context_bytes, 4);
    PushOutOfCache(directory);
    // Another one each time: memory holds what was read before.
    const uint64_t number = 1 + (1 + static_cast<uint64_t>(run)) % plan.context_count;
    const double read = ReadRate(client, ContextName(number));
    std::printf("ReadContext %.0f MB/s, raw %.0f MB/s: %.0f %%, by four threads %.0f: %.0f %%\n",
                read / 1e6, raw / 1e6, 100 * read / raw, raw_of_four / 1e6,
                100 * read / raw_of_four);
  }
  if (!temporary) fs::remove_all(directory);
  return OkStatus();
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  alaya::BenchPlan plan;
  CLI::App app("A server over many stored contexts: restart, storing a session, reading back.");
  app.add_flag_callback(
      "--tiny",
      [&] {
        plan.context_count = 4;
        plan.context_tokens = 1024;
        plan.added_tokens = 64;
      },
      alaya::kTinyHelp);
  app.add_option("--contexts", plan.context_count, "Of 128K tokens each")->capture_default_str();
  app.add_flag("!--malloc-defaults", plan.keep_freed_memory,
               "Leave it to glibc when freed memory goes back to the system");
  app.add_flag("--unix-socket", plan.unix_socket, "Instead of TCP over the loopback");
  app.add_option("--directory", plan.directory,
                 "On the disk to measure; a temporary one if not given");
  return alaya::BenchmarkMain(app, argc, argv, [&] { return alaya::Run(plan); });
}
