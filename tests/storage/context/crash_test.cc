// kill -9 at any time: what was acknowledged is there, what was not is there whole or
// not at all.
//
//   crash_test [--cycles=N]
//
// Each cycle a child process works on the store and tells over a pipe what it starts
// and what was acknowledged; the parent kills it, opens the store itself and compares.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <map>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "store_fixture.h"

namespace alaya {
namespace {

int cycle_count = 15;

// A note in the pipe: what is done to which context, and whether it is done.
struct Note {
  enum class Step : uint32_t {
    kImportStarted,
    kImported,
    kIndexed,
    kDeleteStarted,
    kDeleted,
    kFailed
  };
  Step step = Step::kFailed;
  uint32_t number = 0;
};

// Segments say by their first token what they hold.
std::vector<TokenId> TokensWithSeed(size_t count, uint32_t seed) {
  std::vector<TokenId> tokens = SomeTokens(count, seed);
  tokens[0] = seed;
  return tokens;
}

StatusOr<std::unique_ptr<ContextStore>> OpenStore(const std::string& directory) {
  ALAYA_ASSIGN_OR_RETURN(
      auto store,
      ContextStore::Open({.directory = directory, .memory_budget_bytes = uint64_t{16} << 20}));
  ALAYA_RETURN_IF_ERROR(store->RegisterModel(TestModel()).status());
  return store;
}

constexpr uint8_t kIndexKind = 2;
// What the index block of a segment with this seed holds.
std::vector<std::byte> IndexBlock(uint32_t seed, uint32_t layer) {
  return Rows(TestModel(), seed + 1'000'000, layer, PageKind::kKey, 0, 100);
}

Status BuildIndex(ContextStore& store, const StoredContext& context, uint32_t seed) {
  ALAYA_ASSIGN_OR_RETURN(const auto writer,
                         store.BeginIndex(context.chain.back().segment, kIndexKind, 1));
  for (uint32_t layer = 0; layer < TestModel().num_layers; ++layer) {
    ALAYA_RETURN_IF_ERROR(
        writer->AppendBlock(LayerIndex{layer}, KvHeadIndex{1}, IndexBlock(seed, layer)));
  }
  return writer->Commit();
}

// An index is there whole or not at all.
Status VerifyIndex(ContextStore& store, const Segment& segment, uint32_t seed) {
  const StoredIndex* index = segment.indexes.find(kIndexKind);
  if (index == nullptr) return OkStatus();
  for (uint32_t layer = 0; layer < TestModel().num_layers; ++layer) {
    const PageId id = index->page(LayerIndex{layer}, KvHeadIndex{1}, 0);
    ALAYA_ASSIGN_OR_RETURN(const PinnedPage page, store.ReadIndexBlock(segment, *index, id));
    if (!std::ranges::equal(page.payload(), IndexBlock(seed, layer))) {
      return Internal(ToString(id) + ": wrong bytes");
    }
  }
  return OkStatus();
}

void Tell(int pipe, Note::Step step, uint32_t number) {
  const Note note{step, number};
  if (write(pipe, &note, sizeof(note)) != sizeof(note)) _exit(2);
}

Status WorkOn(ContextStore& store, int pipe, uint32_t first_number, std::mt19937& random) {
  for (uint32_t number = first_number;; ++number) {
    const auto contexts = store.ListContexts({.tenant = "default"}, "", 1000);
    ContextSpec spec{.id = std::to_string(number),
                     .tokens = TokensWithSeed(1 + random() % 3000, number),
                     .seed = number,
                     .queries = random() % 600,
                     .chunk_tokens = 1 + random() % 1000,
                     .layers_interleaved = random() % 2 == 0};
    if (!contexts.empty() && random() % 3 == 0) {
      const auto& parent = contexts[random() % contexts.size()];
      spec.prefix = ChainPrefix(parent->chain, 1 + random() % parent->token_count());
    }
    Tell(pipe, Note::Step::kImportStarted, number);
    ALAYA_ASSIGN_OR_RETURN(const auto imported, Import(store, spec));
    Tell(pipe, Note::Step::kImported, number);
    ALAYA_RETURN_IF_ERROR(BuildIndex(store, *imported.context, number));
    Tell(pipe, Note::Step::kIndexed, number);
    if (contexts.size() < 6) continue;
    const std::string victim = contexts[random() % contexts.size()]->id;
    const auto victim_number = static_cast<uint32_t>(std::stoul(victim));
    Tell(pipe, Note::Step::kDeleteStarted, victim_number);
    ALAYA_RETURN_IF_ERROR(store.DeleteContext("default", victim).status());
    Tell(pipe, Note::Step::kDeleted, victim_number);
  }
}

[[noreturn]] void RunChild(const std::string& directory, int pipe, uint32_t first_number) {
  std::mt19937 random(first_number);
  auto store = OpenStore(directory);
  const Status status = store.ok() ? WorkOn(**store, pipe, first_number, random) : store.status();
  std::fprintf(stderr, "child: %s\n", status.ToString().c_str());
  Tell(pipe, Note::Step::kFailed, 0);
  _exit(1);
}

class CrashTest : public testing::Test {
 protected:
  enum class State { kStored, kUncertain, kGone };

  // Runs a child, kills it after a while and takes in what it told.
  void RunAndKill(std::chrono::milliseconds lifetime) {
    int pipes[2];
    ASSERT_EQ(pipe(pipes), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) RunChild(directory_ / "data", pipes[1], next_number_);
    close(pipes[1]);
    std::thread killer([&] {
      std::this_thread::sleep_for(lifetime);
      kill(child, SIGKILL);
    });
    Note note;
    while (read(pipes[0], &note, sizeof(note)) == sizeof(note)) Take(note);
    killer.join();
    close(pipes[0]);
    waitpid(child, nullptr, 0);
  }

  void Take(const Note& note) {
    ++notes_;
    switch (note.step) {
      case Note::Step::kImportStarted:
        next_number_ = note.number + 1;
        states_[note.number] = State::kUncertain;
        break;
      case Note::Step::kDeleteStarted:
        states_[note.number] = State::kUncertain;
        break;
      case Note::Step::kImported:
        states_[note.number] = State::kStored;
        break;
      case Note::Step::kIndexed:
        indexed_.insert(note.number);
        break;
      case Note::Step::kDeleted:
        states_[note.number] = State::kGone;
        break;
      case Note::Step::kFailed:
        ADD_FAILURE() << "the child failed";
        break;
    }
  }

  void Verify() {
    auto store = OpenStore(directory_ / "data");
    ASSERT_OK(store.status());
    std::set<uint32_t> found;
    std::map<SegmentId, uint64_t> stored_bytes;
    for (const auto& context : (*store)->ListContexts({.tenant = "default"}, "", 10'000)) {
      found.insert(static_cast<uint32_t>(std::stoul(context->id)));
      const std::vector<TokenId> tokens = ChainTokens(**store, context->chain);
      ASSERT_EQ(tokens.size(), context->token_count());
      for (const SegmentLink& link : context->chain) {
        const uint32_t seed = tokens[link.range().begin];
        ASSERT_OK(VerifySegment(**store, *link.segment, seed));
        ASSERT_OK(VerifyIndex(**store, *link.segment, seed));
        const StoredIndex* index = link.segment->indexes.find(kIndexKind);
        ASSERT_TRUE(index != nullptr || !indexed_.contains(seed)) << "index of " << seed;
        stored_bytes[link.segment->id] =
            link.segment->stored_bytes + (index == nullptr ? 0 : index->stored_bytes);
      }
      const auto match = (*store)->MatchPrefix("default", context->model->id, tokens, TimeAt(0));
      ASSERT_OK(match.status());
      ASSERT_EQ(match->matched_tokens, context->token_count());
    }
    for (auto& [number, state] : states_) {
      const bool is_there = found.contains(number);
      ASSERT_TRUE(is_there || state != State::kStored) << number << " is lost";
      ASSERT_TRUE(!is_there || state != State::kGone) << number << " is back";
      state = is_there ? State::kStored : State::kGone;
    }
    for (const uint32_t number : found) ASSERT_TRUE(states_.contains(number)) << number;
    // Nothing but what the contexts need; the catalog and logs take a little.
    uint64_t needed = 0;
    for (const auto& [id, bytes] : stored_bytes) needed += bytes;
    EXPECT_LT((*store)->stats().disk_bytes, needed + (uint64_t{2} << 20));
    for (const auto& entry : std::filesystem::directory_iterator(directory_ / "data")) {
      EXPECT_FALSE(entry.path().filename().string().starts_with("import-"));
    }
  }

  TempDirectory directory_;
  std::map<uint32_t, State> states_;
  std::set<uint32_t> indexed_;
  uint32_t next_number_ = 1;
  size_t notes_ = 0;
};

TEST_F(CrashTest, WhatWasAcknowledgedSurvivesAndNothingIsHalfVisible) {
  std::mt19937 random(20'261'123);
  for (int cycle = 0; cycle < cycle_count; ++cycle) {
    SCOPED_TRACE("cycle " + std::to_string(cycle));
    RunAndKill(std::chrono::milliseconds(20 + random() % 480));
    Verify();
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(notes_, static_cast<size_t>(cycle_count));
  RecordProperty("notes", static_cast<int>(notes_));
}

// A conversation of five turns, each a context; all of them are joined by one merge.
const std::vector<FilledPart> kTurns = {{1, 300}, {2, 50}, {3, 128}, {4, 1}, {5, 300}};

Status StoreTurns(ContextStore& store) {
  std::vector<SegmentLink> chain;
  for (const auto& [seed, count] : kTurns) {
    ALAYA_ASSIGN_OR_RETURN(const auto committed, Import(store, {.id = std::to_string(seed),
                                                                .prefix = chain,
                                                                .tokens = SomeTokens(count, seed),
                                                                .seed = seed,
                                                                .queries = 20}));
    chain = committed.context->chain;
  }
  return OkStatus();
}

// Dies `delay` after the merge has begun its n-th page, or when it is done.
[[noreturn]] void MergeInChild(const std::string& directory, size_t page,
                               std::chrono::microseconds delay) {
  const auto store = OpenStore(directory);
  if (!store.ok()) _exit(1);
  size_t begun = 0;
  const auto merged = (*store)->MergeSegments([&] {
    if (++begun == page) {
      std::thread([delay] {
        std::this_thread::sleep_for(delay);
        raise(SIGKILL);
      }).detach();
    }
    return false;
  });
  _exit(merged.ok() && *merged != nullptr ? 0 : 1);
}

TEST(CrashedMergeTest, LeavesTheOldSegmentsOrTheNewOne) {
  // Two layers of nine pages; after the last one comes the commit.
  constexpr size_t kPages = 18;
  const TempDirectory directory;
  {
    const auto store = OpenStore(directory / "template");
    ASSERT_OK(store.status());
    ASSERT_OK(StoreTurns(**store));
  }
  std::mt19937 random(20'261'130);
  std::map<uint64_t, int> segment_counts;
  for (int cycle = 0; cycle < cycle_count; ++cycle) {
    SCOPED_TRACE("cycle " + std::to_string(cycle));
    std::filesystem::remove_all(directory / "data");
    std::filesystem::copy(directory / "template", directory / "data",
                          std::filesystem::copy_options::recursive);
    const size_t page = std::min<size_t>(kPages, 1 + random() % (3 * kPages));
    const std::chrono::microseconds delay(random() % (page < kPages ? 500 : 60'000));
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) MergeInChild(directory / "data", page, delay);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) != 0) << "the merge failed";

    const auto store = OpenStore(directory / "data");
    ASSERT_OK(store.status());
    ++segment_counts[(*store)->stats().segments];
    std::vector<FilledPart> parts;
    for (const FilledPart& turn : kTurns) {
      parts.push_back(turn);
      const auto context = (*store)->FindContext("default", std::to_string(turn.seed));
      ASSERT_OK(context.status());
      ASSERT_OK(VerifyChain(**store, (*context)->chain, parts));
    }
    // Nothing of what was not committed is left.
    EXPECT_LT((*store)->stats().disk_bytes, (*store)->stats().stored_bytes + (uint64_t{1} << 19));
    for (const auto& entry : std::filesystem::directory_iterator(directory / "data")) {
      EXPECT_FALSE(entry.path().filename().string().starts_with("import-"));
    }
  }
  for (const auto& [count, cycles] : segment_counts) {
    EXPECT_TRUE(count == 1 || count == kTurns.size()) << count << " segments";
    std::printf("%d cycles ended with %d segments\n", cycles, static_cast<int>(count));
  }
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  constexpr std::string_view kCycles = "--cycles=";
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument(argv[i]);
    if (argument.starts_with(kCycles)) {
      alaya::cycle_count = std::stoi(std::string(argument.substr(kCycles.size())));
    }
  }
  return RUN_ALL_TESTS();
}
