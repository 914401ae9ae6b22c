// Faults of the machine that need a place or a start of their own: a memory limit, a full
// file system, a disk that fails while the server starts, damaged bytes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/fault/hostile_clients.h"
#include "tests/fault/kill_worker.h"
#include "tests/fault/recovery_check.h"
#include "tests/fault/server_faults.h"
#include "tests/integration/service_test.h"

namespace alaya {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr size_t kStoredTokens = 900;

class MachineFaultsTest : public testing::Test {
 protected:
  void Start(std::vector<std::string> arguments) {
    server_ = std::make_unique<FaultyServer>(data_, std::move(arguments));
    ASSERT_OK(server_->Start());
    Connect();
    ASSERT_OK(RegisterModel(*client_, model_));
    ASSERT_OK(Import(*client_, stored_, "known"));
  }
  void Connect() {
    auto client = client::Client::Connect(server_->address());
    ASSERT_OK(client);
    client_ = std::make_unique<client::Client>(*std::move(client));
    ASSERT_OK(client_->WaitUntilServing(std::chrono::seconds(20)));
  }
  void ExpectRecovered() {
    constexpr size_t kSocketsMax = 24;
    EXPECT_OK(CheckRecovered(server_->process(), *client_, {"known", &known_, kStoredTokens},
                             kSocketsMax));
    EXPECT_OK(CheckStoredBytes(*client_, "known", stored_));
  }

  const pb::Model model_ =
      MakeModel("fault/machine", {.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 64});
  const KvSequence known_{model_, kStoredTokens + 1, /*seed=*/79};
  const KvSequence stored_ = known_.Branch(kStoredTokens, kStoredTokens, 0);
  const TempDirectory directory_;
  std::string data_ = directory_ / "data";
  std::unique_ptr<FaultyServer> server_;
  std::unique_ptr<client::Client> client_;
};

// A memory control group, where this machine lets the test make one.
class MemoryGroup {
 public:
  explicit MemoryGroup(uint64_t limit_bytes) {
    for (const auto& [root, limit, failures] :
         {std::tuple("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.oom_control"),
          std::tuple("/sys/fs/cgroup", "memory.max", "memory.events")}) {
      const fs::path path = fs::path(root) / ("alaya-test-" + std::to_string(getpid()));
      std::error_code error;
      if (!fs::create_directory(path, error) || error) continue;
      if (Write(path / limit, std::to_string(limit_bytes))) {
        path_ = path;
        failures_ = path / failures;
        return;
      }
      rmdir(path.c_str());
    }
  }
  ~MemoryGroup() {
    if (!path_.empty()) rmdir(path_.c_str());
  }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;

  bool made() const { return !path_.empty(); }
  bool Add(pid_t pid) { return Write(path_ / "cgroup.procs", std::to_string(pid)); }
  std::string events() const {
    std::ifstream stream(failures_);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

 private:
  static bool Write(const fs::path& path, const std::string& text) {
    std::ofstream stream(path);
    stream << text << std::flush;
    return stream.good();
  }

  fs::path path_;
  fs::path failures_;
};

// Memory is what the operator was told it would be, whatever the clients do.
TEST_F(MachineFaultsTest, AMemoryLimitAsLargeAsSizingSaysIsNeverReached) {
  // memory_budget + max_tail_bytes_total + max_bytes_in_flight + 256 MiB, see OPERATIONS.md.
  constexpr uint64_t kLimitBytes = uint64_t{32 + 8 + 32 + 256} << 20;
  MemoryGroup group(kLimitBytes);
  if (!group.made()) GTEST_SKIP() << "control groups cannot be made here";
  Start({"--memory-budget", "32MiB", "--max-tail-bytes-total", "8MiB", "--max-bytes-in-flight",
         "32MiB", "--flat-index-min-tokens", "300"});
  ASSERT_TRUE(group.Add(server_->process().pid()));

  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  std::vector<std::unique_ptr<KillWorker>> workers;
  for (uint32_t i = 0; i < 3; ++i) {
    workers.push_back(std::make_unique<KillWorker>(
        KillWorkerOptions{.name = std::string(1, static_cast<char>('a' + i)),
                          .model = model_,
                          .backup_directory = "",
                          .first_token = (i + 1) * 10'000'000,
                          .tokens_max = 20'000}));
    threads.emplace_back([&, worker = workers.back().get(), i] {
      EXPECT_OK(worker->RunUntil(stop, *client_, i, [](const Status& status) {
        return status.code() == StatusCode::kResourceExhausted;
      }));
    });
  }
  // Queries by the megabyte, from clients that do not wait for answers.
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const auto session = OpenSession(*client_, "known");
      if (!session.ok()) return;
      while (!stop) {
        client::AttendStream stream = client_->Attend({.requests_in_flight_max = 64});
        for (int n = 0; n < 64; ++n) {
          pb::AttendRequest request;
          *request.add_items() = known_.Ask(*session, 0, 0, 800);
          stream.Send(std::move(request), [](const auto&) {});
        }
      }
    });
  }
  for (const HostileClient& hostile : HostileClients()) {
    hostile.run({server_->address(), "known"}, 1);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();

  ASSERT_TRUE(server_->process().running()) << group.events();
  ExpectRecovered();
  ASSERT_OK_AND_ASSIGN(const ProcessMemory memory, server_->process().Memory());
  EXPECT_LT(memory.resident_bytes_max, kLimitBytes);
  server_.reset();
}

// A file system of its own, where this machine lets the test mount one.
class SmallDisk {
 public:
  SmallDisk(std::string path, const char* options) : path_(std::move(path)) {
    fs::create_directory(path_);
    mounted_ = mount("none", path_.c_str(), "tmpfs", 0, options) == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool mounted() const { return mounted_; }

 private:
  const std::string path_;
  bool mounted_ = false;
};

TEST_F(MachineFaultsTest, ADiskThatIsReallyFullTakesReadsAndThenWritesAgain) {
  const SmallDisk disk(directory_ / "disk", "size=110m");
  if (!disk.mounted()) GTEST_SKIP() << "no file system can be mounted here";
  data_ = directory_ / "disk/data";
  Start({});
  // Beside the store, as logs and other programs do, down to the last byte.
  const std::string ballast = directory_ / "disk/ballast";
  std::ofstream(ballast) << std::string(size_t{110} << 20, 'x');

  const auto refused = Import(*client_, known_, "other");
  EXPECT_EQ(refused.status().code(), StatusCode::kResourceExhausted) << refused.status();
  EXPECT_OK(CheckStoredBytes(*client_, "known", stored_));

  fs::remove(ballast);
  EXPECT_OK(Import(*client_, KvSequence(model_, 500, /*seed=*/80), "other"));
  ExpectRecovered();
  server_.reset();
}

// A disk that does not answer says nothing about what it holds: nothing is given up for it.
TEST_F(MachineFaultsTest, ReadErrorsWhileItStartsCostNothing) {
  const std::vector<std::string> arguments = {"--flat-index-min-tokens", "300"};
  Start(arguments);
  client_.reset();
  size_t failed_starts = 0;
  for (uint32_t interval = 1; interval <= 40; interval = interval * 3 / 2 + 1) {
    ASSERT_OK(server_->process().Terminate());
    server_->control().read_error_interval = interval;
    if (!server_->Start().ok()) ++failed_starts;
    server_->Heal();
    ASSERT_OK(server_->Start());
  }
  EXPECT_GT(failed_starts, 0U);
  EXPECT_FALSE(fs::exists(data_ + "/db/damaged"));
  Connect();
  ExpectRecovered();
}

TEST_F(MachineFaultsTest, DamageThatWasFoundMustBeAcceptedByTheNextStart) {
  Start({"--memory-budget", "16MiB"});
  client_.reset();
  ASSERT_OK(server_->process().Terminate());
  size_t damaged_files = 0;
  for (const auto& entry : fs::directory_iterator(data_ + "/db")) {
    if (entry.path().extension() != ".sst" || entry.file_size() < 100'000) continue;
    std::fstream stream(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(5000);
    stream << "not what was stored";
    ++damaged_files;
  }
  ASSERT_GT(damaged_files, 0U);

  // It starts, and serves what is sound.
  ASSERT_OK(server_->Start());
  Connect();
  EXPECT_EQ(CheckStoredBytes(*client_, "known", stored_).code(), StatusCode::kDataLoss);
  EXPECT_OK(Import(*client_, KvSequence(model_, 500, /*seed=*/81), "other"));
  client_.reset();
  ASSERT_OK(server_->process().Terminate());

  const Status refused = server_->Start();
  EXPECT_FALSE(refused.ok());
  EXPECT_THAT(refused.ToString(), testing::HasSubstr("--accept-damage"));

  server_ = std::make_unique<FaultyServer>(data_, std::vector<std::string>{"--accept-damage"});
  ASSERT_OK(server_->Start());
  Connect();
  EXPECT_OK(CheckStoredBytes(*client_, "other", KvSequence(model_, 500, /*seed=*/81)));
  ASSERT_OK(Delete(*client_, "known").status());
  ASSERT_OK(Import(*client_, stored_, "known"));
  ExpectRecovered();
}

}  // namespace
}  // namespace alaya
