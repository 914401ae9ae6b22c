// Imports: what is shared, trimmed, refused, and read back.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tests/server/engine/engine_fixture.h"

namespace alaya {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

class ContextImportTest : public EngineTest {
 protected:
  ContextImportTest() : sequence_(GroupedModel(), 500, /*seed=*/21) {}

  std::unique_ptr<ContextImport> BeginImport(ImportHeader header) {
    auto import = engine().BeginImport(std::move(header));
    EXPECT_TRUE(import.ok()) << Message(import.status());
    return import.ok() ? *std::move(import) : nullptr;
  }
  Status ImportStatus(ImportHeader header) {
    return engine().BeginImport(std::move(header)).status();
  }
  Engine::MatchAnswer Match(uint64_t token_count) {
    auto match =
        engine().MatchContext(kTenant, sequence_.model().name, sequence_.tokens(token_count));
    EXPECT_TRUE(match.ok()) << Message(match.status());
    return match.ok() ? *match : Engine::MatchAnswer();
  }
  // Everything of a context must be what the sequence has.
  void ExpectReadsBack(const std::string& id, TokenRange range) {
    uint64_t next = range.begin;
    uint32_t layer = 0;
    const Status status = ReadAll(id, range, {}, [&](const ReadChunk& chunk) {
      if (next == range.end) {
        next = range.begin;
        ++layer;
      }
      EXPECT_EQ(ToInt(chunk.layer), layer);
      EXPECT_EQ(chunk.token_begin, next);
      EXPECT_LE(chunk.keys.size() + chunk.values.size(), size_t{1} << 20);
      next += chunk.tokens;
      const TokenRange tokens{chunk.token_begin, next};
      const auto keys = sequence_.key(chunk.layer, tokens).data;
      const auto values = sequence_.value(chunk.layer, tokens).data;
      EXPECT_TRUE(std::ranges::equal(chunk.keys, keys));
      EXPECT_TRUE(std::ranges::equal(chunk.values, values));
    });
    EXPECT_TRUE(status.ok()) << Message(status);
    EXPECT_EQ(next, range.end);
    EXPECT_EQ(layer + 1, sequence_.model().num_layers);
  }

  const TestSequence sequence_;
};

TEST_F(ContextImportTest, AnImportIsReadBackAsItCame) {
  Register(sequence_.model());

  const ImportResult result = Import(sequence_, 437, "mine");

  EXPECT_EQ(result.context_id, "mine");
  EXPECT_EQ(result.reused_tokens, 0U);
  EXPECT_GE(result.stored_bytes, 437 * sequence_.model().token_bytes());
  ExpectReadsBack("mine", {0, 437});
  ExpectReadsBack("mine", {256, 300});
  EXPECT_EQ((*engine().GetContext(kTenant, "mine"))->token_count(), 437U);
}

TEST_F(ContextImportTest, ImportedPrefixesAreSharedAndTheirChunksTrimmed) {
  Register(sequence_.model());
  Import(sequence_, 250);

  // Its chunks repeat the stored tokens and cross their end.
  const ImportResult second = Import(sequence_, 430, "longer");

  EXPECT_EQ(second.reused_tokens, 250U);
  EXPECT_EQ((*engine().GetContext(kTenant, "longer"))->chain.size(), 2U);
  ExpectReadsBack("longer", {0, 430});
}

TEST_F(ContextImportTest, StoredTokensMayBeLeftOutOfAnImport) {
  Register(sequence_.model());
  Import(sequence_, 250);
  const auto import = BeginImport(Header(sequence_, 300));

  for (const LayerIndex layer : {kSecond, kFirst}) {
    ASSERT_TRUE(import->AddChunk(sequence_.Chunk(layer, {250, 300})).ok());
  }
  const auto result = import->Finish();

  ASSERT_TRUE(result.ok()) << Message(result.status());
  EXPECT_EQ(result->reused_tokens, 250U);
  ExpectReadsBack(result->context_id, {0, 300});
}

TEST_F(ContextImportTest, AContextThatIsAllStoredNeedsNoChunk) {
  Register(sequence_.model());
  Import(sequence_, 300);

  const auto result = BeginImport(Header(sequence_, 200))->Finish();

  ASSERT_TRUE(result.ok()) << Message(result.status());
  EXPECT_EQ(result->reused_tokens, 200U);
  EXPECT_EQ(result->stored_bytes, 0U);
  ExpectReadsBack(result->context_id, {0, 200});
}

TEST_F(ContextImportTest, APrefixStaysReadableForAnImportThatReusesIt) {
  Register(sequence_.model());
  Import(sequence_, 250, "first");
  const auto import = BeginImport(Header(sequence_, 300));

  ASSERT_TRUE(engine().DeleteContext(kTenant, "first").ok());
  for (const LayerIndex layer : {kFirst, kSecond}) {
    ASSERT_TRUE(import->AddChunk(sequence_.Chunk(layer, {250, 300})).ok());
  }
  const auto result = import->Finish();

  ASSERT_TRUE(result.ok()) << Message(result.status());
  ExpectReadsBack(result->context_id, {0, 300});
}

TEST_F(ContextImportTest, TwoImportsOfTheSameTokensBothSucceed) {
  Register(sequence_.model());
  const auto first = BeginImport(Header(sequence_, 100));
  const auto second = BeginImport(Header(sequence_, 100));
  for (const LayerIndex layer : {kFirst, kSecond}) {
    ASSERT_TRUE(first->AddChunk(sequence_.Chunk(layer, {0, 100})).ok());
    ASSERT_TRUE(second->AddChunk(sequence_.Chunk(layer, {0, 100})).ok());
  }

  const auto first_result = first->Finish();
  const auto second_result = second->Finish();

  ASSERT_TRUE(first_result.ok()) << Message(first_result.status());
  ASSERT_TRUE(second_result.ok()) << Message(second_result.status());
  EXPECT_NE(first_result->context_id, second_result->context_id);
  ExpectReadsBack(second_result->context_id, {0, 100});
}

TEST_F(ContextImportTest, ChunksMustContinueTheirLayer) {
  Register(sequence_.model());
  const auto import = BeginImport(Header(sequence_, 100));
  ASSERT_TRUE(import->AddChunk(sequence_.Chunk(kFirst, {0, 40})).ok());

  const Status gap = import->AddChunk(sequence_.Chunk(kFirst, {50, 100}));
  const Status repeat = import->AddChunk(sequence_.Chunk(kFirst, {30, 60}));
  const Status missing = import->Finish().status();

  EXPECT_EQ(gap.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(gap)),
              HasSubstr("layer 0: tokens [40, 50) are missing before the chunk at 50"));
  EXPECT_EQ(repeat.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(repeat)),
              HasSubstr("layer 0: chunk at 30 repeats tokens, the next one is 40"));
  EXPECT_EQ(missing.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(missing)), HasSubstr("layer 0: tokens [40, 100) are missing"));
  // The refusals changed nothing: the import can still be completed.
  ASSERT_TRUE(import->AddChunk(sequence_.Chunk(kFirst, {40, 100})).ok());
  EXPECT_THAT(std::string(Message(import->Finish().status())),
              HasSubstr("layer 1: tokens [0, 100) are missing"));
  ASSERT_TRUE(import->AddChunk(sequence_.Chunk(kSecond, {0, 100})).ok());
  const auto result = import->Finish();
  ASSERT_TRUE(result.ok()) << Message(result.status());
  ExpectReadsBack(result->context_id, {0, 100});
  EXPECT_EQ(import->Finish().status().code(), StatusCode::kFailedPrecondition);
}

TEST_F(ContextImportTest, BadChunksAreRefusedByName) {
  Register(sequence_.model());
  const auto import = BeginImport(Header(sequence_, 100));
  const ImportChunk good = sequence_.Chunk(kFirst, {0, 10});
  const std::vector<std::byte> ones(100'000, std::byte{0xff});  // NaN in every type

  struct {
    const char* message;
    void (*spoil)(ImportChunk*);
  } const cases[] = {
      {"layer 9: model 'grouped' has 2 layers", [](auto* c) { c->layer = LayerIndex{9}; }},
      {"key dtype f32: model 'grouped' stores bf16", [](auto* c) { c->key.dtype = DType::kF32; }},
      {"value shape [10,2,32]", [](auto* c) { c->value.dim = 32; }},
      {"key shape [10,1,64]: model 'grouped' has 2 kv heads", [](auto* c) { c->key.heads = 1; }},
      {"key shape [0,2,64]: must have 1 to 100 tokens", [](auto* c) { c->key.tokens = 0; }},
      {"value has 2559 bytes of data", [](auto* c) { c->value.data = c->value.data.first(2559); }},
      {"chunk of 10 tokens at 91 ends after the context's 100 tokens",
       [](auto* c) { c->token_begin = 91; }},
      {"ends after the context's 100 tokens",
       [](auto* c) { c->token_begin = std::numeric_limits<uint64_t>::max(); }},
  };
  for (const auto& bad : cases) {
    ImportChunk chunk = good;
    bad.spoil(&chunk);
    const Status status = import->AddChunk(chunk);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(Message(status)), HasSubstr(bad.message));
  }
  ImportChunk chunk = good;
  chunk.key.data = std::span(ones).first(chunk.key.data.size());
  EXPECT_THAT(std::string(Message(import->AddChunk(chunk))), HasSubstr("key holds NaN"));
  chunk = good;
  chunk.value = sequence_.value(kFirst, {0, 9});
  EXPECT_THAT(std::string(Message(import->AddChunk(chunk))),
              HasSubstr("key has 10 tokens, value has 9"));
  chunk = good;
  chunk.query = sequence_.key(kFirst, {0, 9});
  EXPECT_THAT(std::string(Message(import->AddChunk(chunk))),
              HasSubstr("query shape [9,2,64]: model 'grouped' has 4 query heads"));
  EXPECT_TRUE(import->AddChunk(good).ok());
}

TEST_F(ContextImportTest, BadHeadersAreRefusedByName) {
  options_.limits.max_context_tokens = 400;
  Register(sequence_.model());
  Import(sequence_, 10, "taken");

  ImportHeader header = Header(sequence_, 0);
  EXPECT_THAT(std::string(Message(ImportStatus(header))), HasSubstr("tokens is empty"));
  EXPECT_THAT(std::string(Message(ImportStatus(Header(sequence_, 401)))),
              HasSubstr("401 tokens, max_context_tokens is 400"));
  header = Header(sequence_, 20);
  header.model = "nobody";
  EXPECT_EQ(ImportStatus(header).code(), StatusCode::kNotFound);
  header = Header(sequence_, 20);
  header.context_id = "";
  EXPECT_EQ(ImportStatus(header).code(), StatusCode::kInvalidArgument);
  header.context_id = "taken";
  EXPECT_EQ(ImportStatus(header).code(), StatusCode::kAlreadyExists);
  header = Header(sequence_, 20);
  header.ttl = milliseconds(0);
  EXPECT_THAT(std::string(Message(ImportStatus(header))), HasSubstr("must be > 0"));
  header = Header(sequence_, 20);
  header.labels = {{"bad key", ""}};
  EXPECT_EQ(ImportStatus(header).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(engine().stats().store.contexts, 1U);
}

TEST_F(ContextImportTest, AnAbandonedImportLeavesNothing) {
  Register(sequence_.model());
  {
    const auto import = BeginImport(Header(sequence_, 100));
    ASSERT_TRUE(import->AddChunk(sequence_.Chunk(kFirst, {0, 100})).ok());
  }

  EXPECT_EQ(Match(100).matched_tokens, 0U);
  EXPECT_EQ(engine().stats().store.contexts, 0U);
}

TEST_F(ContextImportTest, SampledQueriesOfAnyTypeAreTaken) {
  const TestSequence wide(GroupedModel(DType::kF16), 50, /*seed=*/5, DType::kF32);
  Register(wide.model());
  const auto import = BeginImport(Header(wide, 50));
  for (const LayerIndex layer : {kFirst, kSecond}) {
    ImportChunk chunk = wide.Chunk(layer, {0, 50});
    chunk.query = wide.query(layer, {0, 7});
    ASSERT_TRUE(import->AddChunk(chunk).ok());
  }

  const auto result = import->Finish();

  ASSERT_TRUE(result.ok()) << Message(result.status());
  const auto context = *engine().GetContext(kTenant, result->context_id);
  EXPECT_THAT(context->chain[0].segment->query_counts, ElementsAre(7, 7));
}

TEST_F(ContextImportTest, QueriesThatDoNotFitTheModelsTypeAreRefused) {
  const TestSequence wide(GroupedModel(DType::kF16), 50, /*seed=*/5);
  Register(wide.model());
  const auto import = BeginImport(Header(wide, 50));
  const std::vector<float> huge(size_t{4} * 64, 1e6F);
  ImportChunk chunk = wide.Chunk(kFirst, {0, 50});
  chunk.query = TensorView{DType::kF32, 1, 4, 64, std::as_bytes(std::span(huge))};

  const Status status = import->AddChunk(chunk);

  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(status)), HasSubstr("beyond the range of the model's f16"));
}

TEST_F(ContextImportTest, AReopenedEngineFindsEverything) {
  Register(sequence_.model());
  Import(sequence_, 300, "c");

  OpenEngine();

  EXPECT_EQ(engine().ListModels().size(), 1U);
  ExpectReadsBack("c", {0, 300});
}

}  // namespace
}  // namespace alaya
