// A store in a directory of its own, and contexts whose every byte can be recomputed.

#ifndef ALAYA_TESTS_STORAGE_CONTEXT_STORE_FIXTURE_H_
#define ALAYA_TESTS_STORAGE_CONTEXT_STORE_FIXTURE_H_

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "storage/context/context_store.h"
#include "storage/page/page.h"
#include "tests/support/temp_directory.h"

namespace alaya {

// 2 layers, 4 query heads, 2 kv heads, head_dim 64, bf16: a full page holds 128 tokens.
Model TestModel();
WallTime TimeAt(int64_t milliseconds);
// `count` tokens, a pure function of the seed.
std::vector<TokenId> SomeTokens(size_t count, uint32_t seed);

// What the tests store: element bytes are a function of layer, kind and position in
// the sequence, and of the sequence's seed.
std::vector<std::byte> Rows(const Model& model, uint32_t seed, uint32_t layer, PageKind kind,
                            uint64_t begin, uint64_t count);

struct ContextSpec {
  std::string id = "a";
  std::string tenant = "default";
  std::vector<SegmentLink> prefix = {};
  std::vector<TokenId> tokens = {};
  uint32_t seed = 1;
  uint64_t queries = 0;  // sampled ones, per layer
  uint64_t chunk_tokens = 100;
  bool layers_interleaved = true;
  int64_t create_time_ms = 1000;
  std::optional<WallTime> expire_time = {};
  Labels labels = {};
};

ContextDraft Draft(ContextStore& store, const ContextSpec& spec);
// Appends all KV and queries of the spec.
Status Fill(ContextWriter& writer, const Model& model, const ContextSpec& spec);
StatusOr<ContextWriter::Committed> Import(ContextStore& store, const ContextSpec& spec);

// Reads every page of a segment and compares it with what Fill wrote.
Status VerifySegment(ContextStore& store, const Segment& segment, uint32_t seed);

// What some tokens of a context were filled with: the first `count` of a spec's, by its seed.
struct FilledPart {
  uint32_t seed = 0;
  uint64_t count = 0;
};
// Reads every key and value of a chain, whatever its segments are, and compares it with the
// parts that were written one after the other.
Status VerifyChain(ContextStore& store, const std::vector<SegmentLink>& chain,
                   const std::vector<FilledPart>& parts);

// All tokens of a chain, read from the store; none if that fails.
std::vector<TokenId> ChainTokens(const ContextStore& store, const std::vector<SegmentLink>& chain);

// Bytes of the files below a directory, as the file system counts them.
uint64_t DiskBytes(const std::string& directory);

class StoreTest : public testing::Test {
 protected:
  static constexpr uint64_t kBudget = uint64_t{16} << 20;

  void SetUp() override { Reopen(); }
  // Closes and opens the store.
  void Reopen();
  StatusOr<std::unique_ptr<ContextStore>> OpenAt(const std::string& directory);

  TempDirectory directory_;
  Model model_ = TestModel();
  bool accept_damage_ = false;
  std::unique_ptr<ContextStore> store_;
};

}  // namespace alaya

#define ASSERT_OK(expression)                                  \
  do {                                                         \
    const ::alaya::Status status_of_it = (expression);         \
    ASSERT_TRUE(status_of_it.ok()) << status_of_it.ToString(); \
  } while (false)

#endif  // ALAYA_TESTS_STORAGE_CONTEXT_STORE_FIXTURE_H_
