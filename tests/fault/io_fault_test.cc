// Every I/O operation of a script that uses all of the store fails once, fails for good,
// or is the last before a crash that forgets what was not synced.
//
//   io_fault_test [--stride=N] [--seed=S]
//
// With --stride=1 no operation is left out; the suite takes every N-th, from one that
// the seed decides.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <thread>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "rocksdb/env.h"
#include "storage/context/backup.h"
#include "store_fixture.h"
#include "tests/fault/faulty_file_system.h"

ABSL_FLAG(uint64_t, stride, 13, "every how many operations one fails; 1 leaves none out");
ABSL_FLAG(uint64_t, seed, 1, "decides which operations these are");

namespace alaya {
namespace {

namespace fs = std::filesystem;

constexpr uint8_t kIndexKind = 2;

enum class State { kStored, kUnknown, kGone };

// What the script did, by context id.
using Outcomes = std::map<std::string, State>;

// Turns of a stored conversation, of falling length: joined at once when the last one is there.
const std::vector<FilledPart> kTurns = {{21, 150}, {22, 140}, {23, 130}, {24, 160}};

// What each context holds.
std::vector<FilledPart> PartsOf(const std::string& id) {
  static const std::map<std::string, std::vector<FilledPart>> kParts = {
      {"base", {{1, 1000}}},  {"victim", {{2, 1000}}},           {"expired", {{3, 1000}}},
      {"new", {{11, 900}}},   {"branch", {{1, 700}, {12, 900}}}, {"last", {{13, 900}}},
      {"healed", {{14, 300}}}};
  if (const auto parts = kParts.find(id); parts != kParts.end()) return parts->second;
  const size_t count = std::stoul(id.substr(id.find('-') + 1));
  return {kTurns.begin(), kTurns.begin() + static_cast<ptrdiff_t>(count)};
}

std::vector<TokenId> TokensWithSeed(size_t count, uint32_t seed) {
  std::vector<TokenId> tokens = SomeTokens(count, seed);
  tokens[0] = seed;
  return tokens;
}

// The calls of one run; goes on after errors, as clients do.
class Script {
 public:
  Script(ContextStore& store, std::string backup) : store_(store), backup_(std::move(backup)) {}

  Outcomes Run(Outcomes outcomes) {
    outcomes_ = std::move(outcomes);
    ImportOne("new", 11, {});
    if (const auto base = store_.FindContext("default", "base"); base.ok()) {
      ImportOne("branch", 12, ChainPrefix((*base)->chain, 700));
      BuildIndex(*(*base)->chain[0].segment);
    }
    StoreTurns();
    Note(store_.MergeSegments([] { return false; }).status());
    Change("victim", State::kGone,
           [&] { return store_.DeleteContext("default", "victim").status(); });
    Note(store_.UpdateContext("default", "base", {.pinned = true}).status());
    backup_made_ = Note(store_.CreateBackup(backup_).status());
    Note(store_.Compact().status());
    ImportOne("last", 13, {});
    Note(store_.DeleteExpired(TimeAt(5000)).status());
    return std::move(outcomes_);
  }

  bool backup_made() const { return backup_made_; }
  const std::vector<Status>& errors() const { return errors_; }

 private:
  bool Note(const Status& status) {
    if (!status.ok()) errors_.push_back(status);
    return status.ok();
  }
  template <typename Call>
  void Change(const std::string& id, State wanted, Call call) {
    const auto before = outcomes_.find(id);
    const State old_state = before == outcomes_.end() ? State::kGone : before->second;
    outcomes_[id] = State::kUnknown;
    if (Note(call())) {
      outcomes_[id] = wanted;
      return;
    }
    // What failed is not in effect while the store is open.
    const bool is_there = store_.FindContext("default", id).ok();
    EXPECT_EQ(is_there, old_state == State::kStored) << id;
  }
  // "turn-1" to "turn-4", each the one before and some tokens.
  void StoreTurns() {
    std::vector<SegmentLink> chain;
    for (size_t i = 0; i < kTurns.size(); ++i) {
      const std::string id = "turn-" + std::to_string(i + 1);
      ImportOne(id, kTurns[i].seed, chain, kTurns[i].count);
      const auto stored = store_.FindContext("default", id);
      if (!stored.ok()) return;
      chain = (*stored)->chain;
    }
  }
  void ImportOne(const std::string& id, uint32_t seed, std::vector<SegmentLink> prefix,
                 size_t tokens = 900) {
    Change(id, State::kStored, [&] {
      return Import(store_, {.id = id,
                             .prefix = std::move(prefix),
                             .tokens = TokensWithSeed(tokens, seed),
                             .seed = seed,
                             .queries = 40})
          .status();
    });
  }
  void BuildIndex(const Segment& segment) {
    const auto found = store_.FindContext("default", "base");
    const auto writer = store_.BeginIndex((*found)->chain[0].segment, kIndexKind, 1);
    if (!Note(writer.status())) return;
    if (!Note((*writer)->AppendBlock(LayerIndex{0}, KvHeadIndex{0},
                                     Rows(TestModel(), 5, 0, PageKind::kKey, 0, 100)))) {
      return;
    }
    if (!Note((*writer)->Commit())) return;
    EXPECT_NE(segment.indexes.find(kIndexKind), nullptr);
  }

  ContextStore& store_;
  const std::string backup_;
  Outcomes outcomes_;
  bool backup_made_ = false;
  std::vector<Status> errors_;
};

class IoFaultTest : public testing::Test {
 protected:
  void SetUp() override {
    auto store = Open(directory_ / "template", nullptr);
    ASSERT_OK(store.status());
    ASSERT_OK((*store)->RegisterModel(TestModel()).status());
    for (const auto& [id, seed] : {std::pair("base", 1U), {"victim", 2U}, {"expired", 3U}}) {
      ASSERT_OK(
          Import(**store, {.id = id,
                           .tokens = TokensWithSeed(1000, seed),
                           .seed = seed,
                           .expire_time = seed == 3 ? std::optional(TimeAt(4000)) : std::nullopt})
              .status());
    }
  }

  StatusOr<std::unique_ptr<ContextStore>> Open(const std::string& directory, rocksdb::Env* env) {
    return ContextStore::Open({.directory = directory,
                               .memory_budget_bytes = uint64_t{16} << 20,
                               .disk_reserve_bytes = 0,
                               .env = env});
  }

  void Prepare() {
    fs::remove_all(directory_ / "data");
    fs::remove_all(directory_ / "backup");
    fs::remove_all(directory_ / "backup.partial");
    fs::copy(directory_ / "template", directory_ / "data", fs::copy_options::recursive);
    system_ = std::make_shared<FaultyFileSystem>();
    env_ = rocksdb::NewCompositeEnv(system_);
  }

  // Operations of opening and of the script when nothing fails.
  uint64_t CountOperations() {
    Prepare();
    auto store = Open(directory_ / "data", env_.get());
    EXPECT_TRUE(store.ok());
    Script script(**store, directory_ / "backup");
    script.Run(kStart);
    EXPECT_TRUE(script.errors().empty()) << script.errors()[0].ToString();
    store->reset();
    return system_->operation_count();
  }

  // All contexts are whole, and those that were acknowledged are there.
  void Check(const Outcomes& outcomes) {
    auto store = Open(directory_ / "data", nullptr);
    ASSERT_OK(store.status());
    CheckContexts(**store, outcomes);
    for (const auto& entry : fs::directory_iterator(directory_ / "data")) {
      EXPECT_FALSE(entry.path().filename().string().starts_with("import-"));
    }
    // Pages of what is not there are gone.
    uint64_t needed = 0;
    for (const auto& segment : (*store)->ListSegments()) {
      needed += segment->stored_bytes;
      for (const StoredIndex* index : segment->indexes.list()) needed += index->stored_bytes;
    }
    EXPECT_LT((*store)->stats().disk_bytes, needed + (uint64_t{1} << 20));
  }

  void CheckContexts(ContextStore& store, const Outcomes& outcomes) {
    for (const auto& [id, state] : outcomes) {
      const auto context = store.FindContext("default", id);
      ASSERT_TRUE(context.ok() || state != State::kStored) << id << " is lost";
      ASSERT_TRUE(!context.ok() || state != State::kGone) << id << " is back";
      if (!context.ok()) continue;
      ASSERT_OK(VerifyChain(store, (*context)->chain, PartsOf(id)));
      for (const SegmentLink& link : (*context)->chain) {
        const StoredIndex* index = link.segment->indexes.find(kIndexKind);
        if (index == nullptr) continue;
        ASSERT_OK(store
                      .ReadIndexBlock(*link.segment, *index,
                                      index->page(LayerIndex{0}, KvHeadIndex{0}, 0))
                      .status());
      }
    }
  }

  // RocksDB looks every five seconds whether there is room again.
  Status ImportOnceHealed(ContextStore& store) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    for (;;) {
      const Status status =
          Import(store, {.id = "healed", .tokens = TokensWithSeed(300, 14), .seed = 14}).status();
      if (status.code() != StatusCode::kResourceExhausted ||
          std::chrono::steady_clock::now() > deadline) {
        return status;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }

  // One run in which the fault strikes; `when_open` sees the store afterwards.
  template <typename WhenOpen>
  void RunWith(IoFault fault, std::optional<uint64_t> crash_seed, WhenOpen when_open) {
    SCOPED_TRACE("operation " + std::to_string(fault.operation) + ", " + fault.error.ToString() +
                 (crash_seed ? ", crash seed " + std::to_string(*crash_seed) : ""));
    Prepare();
    system_->Arm(fault);
    auto store = Open(directory_ / "data", env_.get());
    Outcomes outcomes = kStart;
    bool backup_made = false;
    if (store.ok()) {
      Script script(**store, directory_ / "backup");
      outcomes = script.Run(kStart);
      backup_made = script.backup_made();
      when_open(**store, outcomes);
    }
    SCOPED_TRACE("struck: " + system_->struck());
    if (store.ok()) store->reset();
    if (crash_seed) system_->Crash(*crash_seed);
    Check(outcomes);
    // What the crash took from a backup it was not asked to survive.
    if (backup_made && !crash_seed) ASSERT_OK(VerifyBackup(directory_ / "backup"));
    EXPECT_EQ(fs::exists(directory_ / "backup"), backup_made);
  }

  template <typename Run>
  void ForEachOperation(uint64_t every, Run run) {
    const uint64_t count = CountOperations();
    ASSERT_GT(count, 100U);
    uint64_t run_count = 0;
    for (uint64_t operation = 1 + seed_ % every; operation <= count; operation += every) {
      run(operation);
      ++run_count;
      if (HasFailure()) return;
    }
    std::printf("seed %llu: %llu of %llu operations\n", static_cast<unsigned long long>(seed_),
                static_cast<unsigned long long>(run_count), static_cast<unsigned long long>(count));
  }

  const Outcomes kStart = {
      {"base", State::kStored}, {"victim", State::kStored}, {"expired", State::kUnknown}};
  const uint64_t stride_ = absl::GetFlag(FLAGS_stride);
  const uint64_t seed_ = absl::GetFlag(FLAGS_seed);
  TempDirectory directory_;
  std::shared_ptr<FaultyFileSystem> system_;
  std::unique_ptr<rocksdb::Env> env_;
};

TEST_F(IoFaultTest, AnErrorOnceLosesNothingThatWasAcknowledged) {
  ForEachOperation(stride_, [&](uint64_t operation) {
    RunWith({operation, rocksdb::IOStatus::IOError("injected")}, std::nullopt,
            [&](ContextStore& store, const Outcomes& outcomes) {
              // Reads go on whatever became of writing.
              CheckContexts(store, outcomes);
            });
  });
}

TEST_F(IoFaultTest, AFullDiskHealsWithoutARestart) {
  // Slow, see ImportOnceHealed.
  const uint64_t every = stride_ == 1 ? 1 : 4 * stride_;
  ForEachOperation(every, [&](uint64_t operation) {
    RunWith({operation, rocksdb::IOStatus::NoSpace("injected"), /*lasting=*/true,
             /*growth_only=*/true},
            std::nullopt, [&](ContextStore& store, Outcomes& outcomes) {
              CheckContexts(store, outcomes);
              system_->Disarm();
              ASSERT_OK(ImportOnceHealed(store));
              outcomes["healed"] = State::kStored;
              CheckContexts(store, outcomes);
            });
  });
}

TEST_F(IoFaultTest, ACrashForgetsOnlyWhatWasNotAcknowledged) {
  ForEachOperation(stride_, [&](uint64_t operation) {
    RunWith({operation, rocksdb::IOStatus::IOError("the machine is off"), /*lasting=*/true},
            seed_ * 1'000'003 + operation, [](ContextStore&, const Outcomes&) {});
  });
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  absl::ParseCommandLine(argc, argv);
  return RUN_ALL_TESTS();
}
