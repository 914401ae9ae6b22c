// Models and contexts: matching, updating, expiry, deletion.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/engine/engine_fixture.h"

namespace alaya {
namespace {

using std::chrono::milliseconds;

class ContextCatalogTest : public EngineTest {
 protected:
  ContextCatalogTest() : sequence_(GroupedModel(), 500, /*seed=*/21) {}

  std::unique_ptr<ContextImport> BeginImport(ImportHeader header) {
    auto import = engine().BeginImport(std::move(header));
    EXPECT_TRUE(import.ok()) << Message(import.status());
    return import.ok() ? *std::move(import) : nullptr;
  }
  Engine::MatchAnswer Match(uint64_t token_count) {
    auto match =
        engine().MatchContext(kTenant, sequence_.model().name, sequence_.tokens(token_count));
    EXPECT_TRUE(match.ok()) << Message(match.status());
    return match.ok() ? *match : Engine::MatchAnswer();
  }

  const TestSequence sequence_;
};

TEST_F(ContextCatalogTest, ModelsAreKeptByNameAndShape) {
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

TEST_F(ContextCatalogTest, MatchingCountsLookupsAndHits) {
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

TEST_F(ContextCatalogTest, TimeToLiveCountsFromTheCommit) {
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

TEST_F(ContextCatalogTest, UpdatesPinRelabelAndMoveTheExpiry) {
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

TEST_F(ContextCatalogTest, ListsOfAnUnknownModelAreAnError) {
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

TEST_F(ContextCatalogTest, DeletedContextsAreGoneForNewCallersOnly) {
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

}  // namespace
}  // namespace alaya
