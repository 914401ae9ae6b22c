// An engine over a real store in a directory of its own, with a clock that a test
// turns by hand.

#ifndef ALAYA_TESTS_SERVER_ENGINE_ENGINE_FIXTURE_H_
#define ALAYA_TESTS_SERVER_ENGINE_ENGINE_FIXTURE_H_

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "index/attention/cpu_backend.h"
#include "server/engine/engine.h"
#include "storage/context/context_store.h"
#include "tests/server/engine/test_sequence.h"
#include "tests/support/temp_directory.h"

namespace alaya {

inline constexpr char kTenant[] = "default";

class ManualClock : public Clock {
 public:
  WallTime now() const override { return WallTime(std::chrono::milliseconds(now_ms_.load())); }
  void Advance(std::chrono::milliseconds step) { now_ms_ += step.count(); }

 private:
  std::atomic<int64_t> now_ms_{1'700'000'000'000};
};

// The real backend, which fails when told to.
class BreakableBackend : public AttentionBackend {
 public:
  std::string name() const override { return cpu_.name(); }
  std::string description() const override { return cpu_.description(); }
  StatusOr<AttentionReport> Attend(const AttentionTask& task, AttentionPart output) override {
    if (broken) return DataLoss("the backend is broken on purpose");
    return cpu_.Attend(task, output);
  }

  std::atomic<bool> broken{false};

 private:
  CpuBackend cpu_;
};

// 2 layers, 4 query heads on 2 kv heads, head_dim 64.
Model GroupedModel(DType dtype = DType::kBF16);
inline constexpr LayerIndex kFirst{0};
inline constexpr LayerIndex kSecond{1};

class EngineTest : public testing::Test {
 protected:
  EngineTest() {
    options_.worker_count = 3;
    options_.costs = MachineCosts();  // plans do not depend on the machine
  }
  // Uses options_, merge_ and memory_budget_bytes_; opens again what a test opened before.
  void OpenEngine();
  Engine& engine() {
    if (engine_ == nullptr) OpenEngine();
    return *engine_;
  }

  void Register(const Model& model) { ASSERT_TRUE(engine().RegisterModel(model).ok()); }
  ImportHeader Header(const TestSequence& sequence, uint64_t token_count) const;
  // Imports the first tokens of a sequence, in chunks, and returns the answer.
  ImportResult Import(const TestSequence& sequence, uint64_t token_count,
                      std::optional<std::string> id = {});
  // Reads a context of kTenant from its first chunk to its last.
  Status ReadAll(const std::string& id, std::optional<TokenRange> range,
                 const std::vector<uint32_t>& layers,
                 const std::function<void(const ReadChunk&)>& use);
  SessionInfo CreateSession(const TestSequence& sequence, uint64_t token_count,
                            std::optional<uint64_t> reuse_limit = {});

  AttendItem Item(const std::string& session_id, LayerIndex layer) const;
  // An item with queries, and with keys and values too, of these positions.
  AttendItem QueryItem(const TestSequence& sequence, const std::string& session_id,
                       LayerIndex layer, TokenRange positions) const;
  AttendItem DecodeItem(const TestSequence& sequence, const std::string& session_id,
                        LayerIndex layer, TokenRange positions) const;
  AttendItem AppendItem(const TestSequence& sequence, const std::string& session_id,
                        LayerIndex layer, TokenRange positions) const;
  // Runs an item and waits for its answer.
  AttendResult Attend(const AttendItem& item);
  // Appends positions to every layer.
  void AppendAllLayers(const TestSequence& sequence, const std::string& session_id,
                       TokenRange positions);
  SessionInfo Info(const std::string& session_id);
  // The session must hold the sequence's first `token_count` tokens in every layer.
  void ExpectHolds(const TestSequence& sequence, const std::string& session_id,
                   uint64_t token_count);

  TempDirectory directory_;
  ManualClock clock_;
  BreakableBackend backend_;
  EngineOptions options_;
  uint64_t memory_budget_bytes_ = uint64_t{64} << 20;
  MergeOptions merge_;
  AttentionDevice* attention_device_ = nullptr;
  std::unique_ptr<ContextStore> store_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_SERVER_ENGINE_ENGINE_FIXTURE_H_
