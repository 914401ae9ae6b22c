// Imports, matching, reading, searching, expiry: the engine's contexts.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/engine/engine_fixture.h"
#include "tests/support/element_codec.h"

namespace alaya {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr LayerIndex kFirst{0};
constexpr LayerIndex kSecond{1};

class ContextsTest : public EngineTest {
 protected:
  ContextsTest() : sequence_(GroupedModel(), 500, /*seed=*/21) {}

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
    const Status status = engine().ReadContext(kTenant, id, range, {}, [&](const ReadChunk& chunk) {
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
      EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(chunk.keys)), keys));
      EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(chunk.values)), values));
      return true;
    });
    EXPECT_TRUE(status.ok()) << Message(status);
    EXPECT_EQ(next, range.end);
    EXPECT_EQ(layer + 1, sequence_.model().num_layers);
  }

  const TestSequence sequence_;
};

TEST_F(ContextsTest, ModelsAreKeptByNameAndShape) {
  Model model = GroupedModel();
  EXPECT_TRUE(*engine().RegisterModel(model));
  EXPECT_FALSE(*engine().RegisterModel(model));
  model.head_dim = 128;
  EXPECT_EQ(engine().RegisterModel(model).status().code(), StatusCode::kAlreadyExists);
  model.name = "another";
  EXPECT_TRUE(*engine().RegisterModel(model));
  model.name = "bad name";
  EXPECT_EQ(engine().RegisterModel(model).status().code(), StatusCode::kInvalidArgument);

  const std::vector<Model> models = engine().ListModels();

  ASSERT_EQ(models.size(), 2U);
  EXPECT_EQ(models[0].name, "another");
  EXPECT_EQ(models[1], GroupedModel());
}

TEST_F(ContextsTest, AnImportIsReadBackAsItCame) {
  Register(sequence_.model());

  const ImportResult result = Import(sequence_, 437, "mine");

  EXPECT_EQ(result.context_id, "mine");
  EXPECT_EQ(result.reused_tokens, 0U);
  EXPECT_GE(result.stored_bytes, 437 * sequence_.model().token_bytes());
  ExpectReadsBack("mine", {0, 437});
  ExpectReadsBack("mine", {256, 300});
  EXPECT_EQ((*engine().GetContext(kTenant, "mine"))->token_count(), 437U);
}

TEST_F(ContextsTest, ImportedPrefixesAreSharedAndTheirChunksTrimmed) {
  Register(sequence_.model());
  Import(sequence_, 250);

  // Its chunks repeat the stored tokens and cross their end.
  const ImportResult second = Import(sequence_, 430, "longer");

  EXPECT_EQ(second.reused_tokens, 250U);
  EXPECT_EQ((*engine().GetContext(kTenant, "longer"))->chain.size(), 2U);
  ExpectReadsBack("longer", {0, 430});
}

TEST_F(ContextsTest, StoredTokensMayBeLeftOutOfAnImport) {
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

TEST_F(ContextsTest, AContextThatIsAllStoredNeedsNoChunk) {
  Register(sequence_.model());
  Import(sequence_, 300);

  const auto result = BeginImport(Header(sequence_, 200))->Finish();

  ASSERT_TRUE(result.ok()) << Message(result.status());
  EXPECT_EQ(result->reused_tokens, 200U);
  EXPECT_EQ(result->stored_bytes, 0U);
  ExpectReadsBack(result->context_id, {0, 200});
}

TEST_F(ContextsTest, APrefixStaysReadableForAnImportThatReusesIt) {
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

TEST_F(ContextsTest, TwoImportsOfTheSameTokensBothSucceed) {
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

TEST_F(ContextsTest, ChunksMustContinueTheirLayer) {
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

TEST_F(ContextsTest, BadChunksAreRefusedByName) {
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

TEST_F(ContextsTest, BadHeadersAreRefusedByName) {
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

TEST_F(ContextsTest, AnAbandonedImportLeavesNothing) {
  Register(sequence_.model());
  {
    const auto import = BeginImport(Header(sequence_, 100));
    ASSERT_TRUE(import->AddChunk(sequence_.Chunk(kFirst, {0, 100})).ok());
  }

  EXPECT_EQ(Match(100).matched_tokens, 0U);
  EXPECT_EQ(engine().stats().store.contexts, 0U);
}

TEST_F(ContextsTest, SampledQueriesOfAnyTypeAreTaken) {
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

TEST_F(ContextsTest, QueriesThatDoNotFitTheModelsTypeAreRefused) {
  const TestSequence wide(GroupedModel(DType::kF16), 50, /*seed=*/5);
  Register(wide.model());
  const auto import = BeginImport(Header(wide, 50));
  const std::vector<float> huge(4 * 64, 1e6F);
  ImportChunk chunk = wide.Chunk(kFirst, {0, 50});
  chunk.query = TensorView{DType::kF32, 1, 4, 64, std::as_bytes(std::span(huge))};

  const Status status = import->AddChunk(chunk);

  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(status)), HasSubstr("beyond the range of the model's f16"));
}

TEST_F(ContextsTest, MatchingCountsLookupsAndHits) {
  Register(sequence_.model());
  Import(sequence_, 100, "stored");

  EXPECT_EQ(Match(80).matched_tokens, 80U);
  EXPECT_EQ(Match(130).context_id, "stored");
  EXPECT_EQ(engine().MatchContext(kTenant, "grouped", std::vector<TokenId>{99'999})->matched_tokens,
            0U);
  EXPECT_EQ(engine().MatchContext("other", "grouped", sequence_.tokens(100))->matched_tokens, 0U);

  EXPECT_EQ(engine().stats().lookup_tokens, 80U + 130 + 1 + 100);
  EXPECT_EQ(engine().stats().hit_tokens, 80U + 100);
  EXPECT_EQ(engine().MatchContext(kTenant, "nobody", {}).status().code(), StatusCode::kNotFound);
}

TEST_F(ContextsTest, TimeToLiveCountsFromTheCommit) {
  options_.expiry_sweep_interval = milliseconds(1);
  Register(sequence_.model());
  ImportHeader header = Header(sequence_, 20);
  header.context_id = "short";
  header.ttl = milliseconds(1000);
  const auto import = BeginImport(header);
  clock_.Advance(milliseconds(900));
  for (const LayerIndex layer : {kFirst, kSecond}) {
    ASSERT_TRUE(import->AddChunk(sequence_.Chunk(layer, {0, 20})).ok());
  }
  ASSERT_TRUE(import->Finish().ok());

  clock_.Advance(milliseconds(999));
  EXPECT_TRUE(engine().GetContext(kTenant, "short").ok());
  clock_.Advance(milliseconds(1));

  EXPECT_EQ(engine().GetContext(kTenant, "short").status().code(), StatusCode::kNotFound);
  while (engine().stats().expired_contexts == 0) std::this_thread::yield();
  EXPECT_EQ(engine().stats().store.contexts, 0U);
}

TEST_F(ContextsTest, UpdatesPinRelabelAndMoveTheExpiry) {
  Register(sequence_.model());
  Import(sequence_, 20, "c");
  const auto update = [this](const auto& change) {
    UpdateContextParams params;
    params.tenant = kTenant;
    params.context_id = "c";
    change(params);
    return engine().UpdateContext(params);
  };

  EXPECT_EQ((*update([](auto& p) { p.ttl = milliseconds(50); }))->expire_time,
            clock_.now() + milliseconds(50));
  EXPECT_TRUE((*update([](auto& p) { p.pinned = true; }))->pinned);
  EXPECT_EQ((*update([](auto& p) { p.labels = Labels{{"a", "b"}}; }))->labels.at("a"), "b");
  clock_.Advance(milliseconds(100));
  EXPECT_TRUE(engine().GetContext(kTenant, "c").ok()) << "a pinned context does not expire";
  EXPECT_FALSE((*update([](auto& p) { p.ttl = milliseconds(0); }))->expire_time.has_value());
  EXPECT_EQ(update([](auto& p) { p.ttl = milliseconds(-1); }).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(update([](auto& p) {
              p.labels = Labels{{"", ""}};
            })
                .status()
                .code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(update([](auto& p) { p.tenant = "other"; }).status().code(), StatusCode::kNotFound);
}

TEST_F(ContextsTest, ListsOfAnUnknownModelAreAnError) {
  Register(sequence_.model());
  Import(sequence_, 20, "c");

  EXPECT_EQ(engine().ListContexts({.tenant = kTenant, .model = {}, .labels = {}}, "", 10)->size(),
            1U);
  EXPECT_EQ(engine().ListContexts({.tenant = "other", .model = {}, .labels = {}}, "", 10)->size(),
            0U);
  EXPECT_EQ(engine()
                .ListContexts({.tenant = kTenant, .model = "nobody", .labels = {}}, "", 10)
                .status()
                .code(),
            StatusCode::kNotFound);
}

TEST_F(ContextsTest, DeletedContextsAreGoneForNewCallersOnly) {
  Register(sequence_.model());
  Import(sequence_, 100, "c");
  const std::string session = CreateSession(sequence_, 100).session_id;

  ASSERT_TRUE(engine().DeleteContext(kTenant, "c").ok());

  EXPECT_EQ(engine().DeleteContext(kTenant, "c").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(Match(100).matched_tokens, 0U);
  AttendItem item = QueryItem(sequence_, session, kFirst, {100, 101});
  item.options.target = FullTarget();
  sequence_.ExpectAttention(Attend(item), {.layer = kFirst,
                                           .first_query = 100,
                                           .visible = EqualVisible({0, 100}, 1),
                                           .options = item.options});
}

TEST_F(ContextsTest, ReadingStopsWhenTheSinkHasEnough) {
  Register(sequence_.model());
  Import(sequence_, 100, "c");
  int chunk_count = 0;

  const Status status = engine().ReadContext(kTenant, "c", {}, {}, [&](const ReadChunk&) {
    ++chunk_count;
    return false;
  });

  EXPECT_TRUE(status.ok());
  EXPECT_EQ(chunk_count, 1);
}

TEST_F(ContextsTest, ReadingTakesLayersInTheOrderGiven) {
  Register(sequence_.model());
  Import(sequence_, 100, "c");
  std::vector<uint32_t> layers;
  const auto sink = [&layers](const ReadChunk& chunk) {
    layers.push_back(ToInt(chunk.layer));
    return true;
  };

  const std::vector<uint32_t> backwards{1, 0};
  EXPECT_TRUE(engine().ReadContext(kTenant, "c", TokenRange{10, 20}, backwards, sink).ok());
  EXPECT_THAT(layers, ElementsAre(1, 0));
  layers.clear();
  EXPECT_TRUE(engine().ReadContext(kTenant, "c", TokenRange{100, 200}, {}, sink).ok());
  EXPECT_THAT(layers, IsEmpty());

  const std::vector<uint32_t> unknown{0, 2};
  EXPECT_EQ(engine().ReadContext(kTenant, "c", {}, unknown, sink).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(engine().ReadContext(kTenant, "c", TokenRange{2, 1}, {}, sink).code(),
            StatusCode::kInvalidArgument);
  EXPECT_THAT(layers, IsEmpty());
}

TEST_F(ContextsTest, SearchFindsTheHighestScoresAcrossSegments) {
  Register(sequence_.model());
  Import(sequence_, 300);
  Import(sequence_, 450, "c");
  SearchParams params{.tenant = kTenant,
                      .context_id = "c",
                      .layer = kSecond,
                      .query = sequence_.query(kSecond, {450, 452}),
                      .target = TopKTarget{7},
                      .token_range = TokenRange{100, 440},
                      .scale = {}};

  const auto answer = engine().SearchContext(params);

  ASSERT_TRUE(answer.ok()) << Message(answer.status());
  ASSERT_EQ(answer->heads.size(), 8U);
  const std::vector<float> keys = Decode(sequence_.key(kSecond, {0, 450}).data, DType::kBF16);
  const std::vector<float> queries = Decode(params.query.data, DType::kF32);
  for (size_t row = 0; row < answer->heads.size(); ++row) {
    const size_t kv_head = row % 4 / 2;
    std::vector<std::pair<double, uint64_t>> scores;
    for (uint64_t token = 100; token < 440; ++token) {
      double score = 0;
      for (size_t i = 0; i < 64; ++i) {
        score += double{queries[row * 64 + i]} * keys[(token * 2 + kv_head) * 64 + i];
      }
      scores.emplace_back(-score, token);
    }
    std::ranges::sort(scores);
    ASSERT_EQ(answer->heads[row].size(), 7U);
    for (size_t i = 0; i < 7; ++i) {
      EXPECT_EQ(answer->heads[row][i].token, scores[i].second) << "row " << row;
      EXPECT_NEAR(answer->heads[row][i].score, -scores[i].first, 1e-3);
    }
  }
  EXPECT_EQ(answer->stats.plans.size(), 2U);
}

TEST_F(ContextsTest, BadSearchesAreRefused) {
  Register(sequence_.model());
  Import(sequence_, 100, "c");
  const SearchParams good{.tenant = kTenant,
                          .context_id = "c",
                          .layer = kFirst,
                          .query = sequence_.query(kFirst, {0, 1}),
                          .target = DiprTarget(),
                          .token_range = {},
                          .scale = {}};
  EXPECT_TRUE(engine().SearchContext(good).ok());

  void (*const spoils[])(SearchParams*) = {
      [](auto* p) { p->target = FullTarget(); }, [](auto* p) { p->target = TopKTarget{0}; },
      [](auto* p) { p->layer = LayerIndex{2}; }, [](auto* p) { p->scale = -1; },
      [](auto* p) { p->query.heads = 2; },       [](auto* p) {
        p->token_range = TokenRange{2, 1}; },
  };
  for (const auto spoil : spoils) {
    SearchParams bad = good;
    spoil(&bad);
    EXPECT_EQ(engine().SearchContext(bad).status().code(), StatusCode::kInvalidArgument);
  }
  SearchParams unknown = good;
  unknown.context_id = "d";
  EXPECT_EQ(engine().SearchContext(unknown).status().code(), StatusCode::kNotFound);
}

TEST_F(ContextsTest, AReopenedEngineFindsEverything) {
  Register(sequence_.model());
  Import(sequence_, 300, "c");

  OpenEngine();

  EXPECT_EQ(engine().ListModels().size(), 1U);
  ExpectReadsBack("c", {0, 300});
}

}  // namespace
}  // namespace alaya
