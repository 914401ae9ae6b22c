// Attention through the engine against the definition in double.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/engine/engine_fixture.h"
#include "tests/support/element_codec.h"
#include "tests/support/quality.h"

namespace alaya {
namespace {

struct ShapeCase {
  const char* name;
  DType dtype;
  DType query_dtype;
  uint32_t num_query_heads;
  uint32_t num_kv_heads;
  uint32_t head_dim;
};

class AttendShapeTest : public EngineTest, public testing::WithParamInterface<ShapeCase> {};

TEST_P(AttendShapeTest, EqualsTheDefinitionForEveryTarget) {
  const ShapeCase& shape = GetParam();
  const Model model{.name = "shape",
                    .num_layers = 2,
                    .num_query_heads = shape.num_query_heads,
                    .num_kv_heads = shape.num_kv_heads,
                    .head_dim = shape.head_dim,
                    .dtype = shape.dtype};
  const TestSequence sequence(model, 420, /*seed=*/3, shape.query_dtype);
  Register(model);
  Import(sequence, 400);

  for (const Target& target : {Target(FullTarget()), Target(DiprTarget{0.05}),
                               Target(TopKTarget{20}), Target(MassTarget{0.8})}) {
    const std::string session = CreateSession(sequence, 400).session_id;
    AppendAllLayers(sequence, session, {400, 405});
    AttendItem item = DecodeItem(sequence, session, kFirst, {405, 408});
    item.options.target = target;
    item.options.window = {8, 16};

    const AttendResult result = Attend(item);

    SCOPED_TRACE(target.index());
    sequence.ExpectAttention(result, {.layer = kFirst,
                                      .first_query = 405,
                                      .visible = CausalVisible(405, 3),
                                      .tail_begin = 400,
                                      .options = item.options});
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, AttendShapeTest,
    testing::Values(ShapeCase{"GroupedBF16", DType::kBF16, DType::kBF16, 8, 2, 128},
                    ShapeCase{"GroupedF16", DType::kF16, DType::kF16, 8, 2, 96},
                    ShapeCase{"GroupedF32", DType::kF32, DType::kF32, 8, 2, 64},
                    ShapeCase{"MultiHeadBF16", DType::kBF16, DType::kF32, 4, 4, 96},
                    ShapeCase{"MultiHeadF32", DType::kF32, DType::kF16, 3, 3, 128},
                    ShapeCase{"OneKvHead", DType::kF16, DType::kF32, 5, 1, 64},
                    ShapeCase{"SmallestHead", DType::kBF16, DType::kF32, 2, 1, 8}),
    [](const auto& shape) { return shape.param.name; });

class AttendTest : public EngineTest {
 protected:
  AttendTest() : sequence_(GroupedModel(), 700, /*seed=*/11) { Register(sequence_.model()); }

  const TestSequence sequence_;
};

TEST_F(AttendTest, WithoutAnIndexTheDefaultTargetIsFullAttention) {
  Import(sequence_, 690);
  const std::string session = CreateSession(sequence_, 690).session_id;
  AttendItem item = QueryItem(sequence_, session, kSecond, {690, 691});
  item.options.window = {4, 8};

  const AttendResult result = Attend(item);

  sequence_.ExpectAttention(result, {.layer = kSecond,
                                     .first_query = 690,
                                     .visible = EqualVisible({0, 690}, 1),
                                     .options = item.options});
  EXPECT_EQ(result.stats.tokens_attended, 4U * 690);
}

TEST_F(AttendTest, ASessionWithoutAContextSeesItsOwnTokensCausally) {
  const std::string session = CreateSession(sequence_, 0).session_id;

  const AttendResult result = Attend(DecodeItem(sequence_, session, kFirst, {0, 300}));

  sequence_.ExpectAttention(
      result, {.layer = kFirst, .visible = CausalVisible(0, 300), .tail_begin = 0, .options = {}});
  EXPECT_EQ(Info(session).tail_tokens, 300U);
}

TEST_F(AttendTest, QueriesWithoutNewTokensSeeEverything) {
  Import(sequence_, 200);
  const std::string session = CreateSession(sequence_, 200).session_id;
  AppendAllLayers(sequence_, session, {200, 350});
  AttendItem item = QueryItem(sequence_, session, kFirst, {100, 103});
  item.options.target = FullTarget();

  const AttendResult result = Attend(item);

  sequence_.ExpectAttention(result, {.layer = kFirst,
                                     .first_query = 100,
                                     .visible = EqualVisible({0, 350}, 3),
                                     .options = item.options});
}

TEST_F(AttendTest, ManyQueriesOfAPrefillSpreadOverUnits) {
  const TestSequence sequence({.name = "thin",
                               .num_layers = 1,
                               .num_query_heads = 2,
                               .num_kv_heads = 1,
                               .head_dim = 8,
                               .dtype = DType::kF32},
                              1200, /*seed=*/5);
  Register(sequence.model());
  Import(sequence, 100);
  const std::string session = CreateSession(sequence, 100).session_id;
  AttendItem item = DecodeItem(sequence, session, kFirst, {100, 1200});
  item.options.target = FullTarget();

  const AttendResult result = Attend(item);

  sequence.ExpectAttention(result, {.layer = kFirst,
                                    .first_query = 100,
                                    .visible = CausalVisible(100, 1100),
                                    .options = item.options});
}

struct RangeCase {
  const char* name;
  TokenRange range;
  TokenRange seen;
};

class AttendRangeTest : public AttendTest, public testing::WithParamInterface<RangeCase> {};

TEST_P(AttendRangeTest, OnlyTokensInTheRangeAreVisible) {
  Import(sequence_, 200);
  const std::string session = CreateSession(sequence_, 200).session_id;
  AppendAllLayers(sequence_, session, {200, 250});
  for (const Target& target : {Target(FullTarget()), Target(TopKTarget{5})}) {
    AttendItem item = QueryItem(sequence_, session, kFirst, {300, 302});
    item.options.target = target;
    item.options.window = {2, 3};
    item.options.token_range = GetParam().range;
    item.options.explain = true;

    const AttendResult result = Attend(item);

    sequence_.ExpectAttention(result, {.layer = kFirst,
                                       .first_query = 300,
                                       .visible = EqualVisible(GetParam().seen, 2),
                                       .tail_begin = 200,
                                       .options = item.options});
  }
}

INSTANTIATE_TEST_SUITE_P(Ranges, AttendRangeTest,
                         testing::Values(RangeCase{"All", {0, UINT64_MAX}, {0, 250}},
                                         RangeCase{"Middle", {17, 180}, {17, 180}},
                                         RangeCase{"AcrossTheTail", {150, 230}, {150, 230}},
                                         RangeCase{"OnlyTheTail", {200, 1000}, {200, 250}},
                                         RangeCase{"OneToken", {199, 200}, {199, 200}},
                                         RangeCase{"Empty", {30, 30}, {0, 0}},
                                         RangeCase{"BeyondTheEnd", {400, 500}, {0, 0}}),
                         [](const auto& range) { return range.param.name; });

TEST_F(AttendTest, NewTokensOutsideTheRangeAreAppendedButNotSeen) {
  Import(sequence_, 200);
  const std::string session = CreateSession(sequence_, 200).session_id;
  AttendItem item = DecodeItem(sequence_, session, kFirst, {200, 210});
  item.options.target = FullTarget();
  item.options.token_range = TokenRange{0, 205};

  const AttendResult result = Attend(item);

  std::vector<TokenRange> visible = CausalVisible(200, 10);
  for (TokenRange& range : visible) range.end = std::min<uint64_t>(range.end, 205);
  sequence_.ExpectAttention(
      result, {.layer = kFirst, .first_query = 200, .visible = visible, .options = item.options});
  EXPECT_EQ(Info(session).tail_tokens, 10U);
}

TEST_F(AttendTest, AnItemWithoutQueryOnlyAppends) {
  const std::string session = CreateSession(sequence_, 0).session_id;

  const AttendResult result = Attend(AppendItem(sequence_, session, kFirst, {0, 7}));

  EXPECT_TRUE(result.status.ok());
  EXPECT_TRUE(result.output.empty());
  EXPECT_TRUE(result.log_sum_exp.empty());
  EXPECT_EQ(Info(session).tail_tokens, 7U);
}

TEST_F(AttendTest, AnEmptySessionAnswersWithNothing) {
  const std::string session = CreateSession(sequence_, 0).session_id;

  const AttendResult result = Attend(QueryItem(sequence_, session, kFirst, {0, 2}));

  sequence_.ExpectAttention(result,
                            {.layer = kFirst, .visible = EqualVisible({0, 0}, 2), .options = {}});
}

TEST_F(AttendTest, ScaleAndSharpnessAreTheCallers) {
  Import(sequence_, 300);
  const std::string session = CreateSession(sequence_, 300).session_id;
  for (const double scale : {1e-3, 0.5}) {
    AttendItem item = QueryItem(sequence_, session, kFirst, {300, 301});
    item.options.scale = scale;
    item.options.target = FullTarget();

    const AttendResult result = Attend(item);

    sequence_.ExpectAttention(result, {.layer = kFirst,
                                       .first_query = 300,
                                       .visible = EqualVisible({0, 300}, 1),
                                       .options = item.options});
  }
}

TEST_F(AttendTest, ChainsOfManySegmentsAreSeenAsOneSequence) {
  Import(sequence_, 150);
  Import(sequence_, 151);
  Import(sequence_, 420);
  EXPECT_EQ(Import(sequence_, 600).reused_tokens, 420U);
  const SessionInfo info = CreateSession(sequence_, 610);
  EXPECT_EQ(info.reused_tokens, 600U);
  AppendAllLayers(sequence_, info.session_id, {600, 605});
  for (const Target& target : {Target(FullTarget()), Target(DiprTarget()), Target(TopKTarget{9})}) {
    AttendItem item = QueryItem(sequence_, info.session_id, kSecond, {610, 612});
    item.options.target = target;
    item.options.window = {3, 4};

    const AttendResult result = Attend(item);

    sequence_.ExpectAttention(result, {.layer = kSecond,
                                       .first_query = 610,
                                       .visible = EqualVisible({0, 605}, 2),
                                       .tail_begin = 600,
                                       .options = item.options});
    EXPECT_EQ(result.stats.plans.size(), 4U);
  }
}

TEST_F(AttendTest, PartialReuseHidesTheRestOfASegment) {
  Import(sequence_, 600);
  for (const uint64_t limit : {uint64_t{1}, uint64_t{255}, uint64_t{256}, uint64_t{300}}) {
    const SessionInfo info = CreateSession(sequence_, 600, limit);
    EXPECT_EQ(info.reused_tokens, limit);
    AttendItem item = DecodeItem(sequence_, info.session_id, kFirst, {limit, limit + 2});
    item.options.target = DiprTarget();
    item.options.window = {1, 1};

    const AttendResult result = Attend(item);

    sequence_.ExpectAttention(result, {.layer = kFirst,
                                       .first_query = limit,
                                       .visible = CausalVisible(limit, 2),
                                       .tail_begin = limit,
                                       .options = item.options});
  }
}

TEST_F(AttendTest, StatsTellWhatWasDone) {
  Import(sequence_, 400);
  const std::string session = CreateSession(sequence_, 400).session_id;
  AppendAllLayers(sequence_, session, {400, 410});
  AttendItem item = QueryItem(sequence_, session, kFirst, {410, 412});
  item.options.target = FullTarget();
  item.options.explain = true;

  const AttendResult result = Attend(item);

  const AttendStats& stats = result.stats;
  EXPECT_EQ(stats.tokens_attended, 2U * 4 * 410);
  // A small context stays in memory as it is written.
  EXPECT_EQ(stats.tier, Tier::kMemory);
  ASSERT_EQ(stats.plans.size(), 1U);
  EXPECT_EQ(stats.plans[0].tokens, (TokenRange{0, 400}));
  EXPECT_EQ(stats.plans[0].index, IndexKind::kExact);
  EXPECT_EQ(stats.plans[0].tier, Tier::kMemory);
  EXPECT_GT(stats.plans[0].predicted_us, 0);
  EXPECT_GT(stats.plans[0].actual_us, 0);
  ASSERT_EQ(stats.head_covered_mass.size(), 8U);
  for (const float mass : stats.head_covered_mass) EXPECT_NEAR(mass, 1, 1e-4);
  EXPECT_GT(stats.engine_us, 0);
  EXPECT_GE(stats.engine_us, stats.queue_us);
  EXPECT_EQ(Attend(item).stats.tier, Tier::kMemory) << "the pages should be in memory by now";
  EXPECT_EQ(engine().stats().attended_tokens, 2U * 2 * 4 * 410);
  EXPECT_EQ(engine().stats().attend_items_in_flight, 0U);
}

// A long context with an index, and a short turn behind it that has none.
class ShortTurnTest : public EngineTest {
 protected:
  static constexpr uint64_t kLong = 3000;
  static constexpr uint64_t kAll = 3150;

  explicit ShortTurnTest(uint32_t build_thread_count = 1)
      : sequence_(GroupedModel(), kAll + 10, /*seed=*/12) {
    options_.indexes.build_thread_count = build_thread_count;
    options_.indexes.flat_min_tokens = kLong;
    options_.costs->read_ns_per_byte = 100;  // an index is worth it
    Register(sequence_.model());
    Import(sequence_, kLong);
    Import(sequence_, kAll);
    session_ = CreateSession(sequence_, kAll).session_id;
  }

  void WaitForIndex() {
    while (engine().stats().index_builds.done == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  AttendResult AttendTo(const std::optional<Target>& target) {
    AttendItem item = QueryItem(sequence_, session_, kFirst, {kAll, kAll + 1});
    item.options.target = target;
    item.options.window = {4, 8};
    item.options.tail_estimate = true;
    return Attend(item);
  }
  static void ExpectNear(const AttendResult& result, const AttendResult& full) {
    const auto floats = [](const AttendResult& of) {
      return Decode(std::as_bytes(std::span(of.output)), of.dtype);
    };
    const std::vector<float> of_full = floats(full);
    const std::vector<double> expected(of_full.begin(), of_full.end());
    EXPECT_LT(OutputError(floats(result), expected), 0.02);
    for (size_t head = 0; head < full.heads; ++head) {
      EXPECT_NEAR(result.log_sum_exp[head], full.log_sum_exp[head], 0.02);
    }
  }

  const TestSequence sequence_;
  std::string session_;
};

TEST_F(ShortTurnTest, IsAttendedWholeWhileTheRestOfTheContextIsEstimated) {
  WaitForIndex();
  const AttendResult full = AttendTo(FullTarget());
  for (const std::optional<Target>& target :
       {std::optional<Target>(), std::optional<Target>(DiprTarget())}) {
    const AttendResult result = AttendTo(target);

    ASSERT_TRUE(result.status.ok());
    EXPECT_TRUE(result.stats.tail_estimated);
    ASSERT_EQ(result.stats.plans.size(), 2U);
    EXPECT_EQ(result.stats.plans[0].index, IndexKind::kFlat);
    EXPECT_EQ(result.stats.plans[1].index, IndexKind::kExact);
    EXPECT_GE(result.stats.tokens_attended, (kAll - kLong + 4) * full.heads);
    EXPECT_LT(result.stats.tokens_attended, kAll * full.heads);
    ExpectNear(result, full);
  }
}

class NoIndexTest : public ShortTurnTest {
 protected:
  NoIndexTest() : ShortTurnTest(/*build_thread_count=*/0) {}
};

TEST_F(NoIndexTest, WhereNothingCanEstimateAllIsAttended) {
  const AttendResult result = AttendTo(DiprTarget());

  ASSERT_TRUE(result.status.ok());
  EXPECT_FALSE(result.stats.tail_estimated);
  EXPECT_EQ(result.stats.tokens_attended, kAll * result.heads);
  ExpectNear(result, AttendTo(FullTarget()));
}

// Attends to a context of 40 MiB, which is to come from the disk.
class LittleMemoryTest : public AttendTest {
 protected:
  void AttendToWideContext() {
    const TestSequence sequence({.name = "wide",
                                 .num_layers = 2,
                                 .num_query_heads = 8,
                                 .num_kv_heads = 8,
                                 .head_dim = 128,
                                 .dtype = DType::kF32},
                                2600, /*seed=*/8);
    OpenEngine();
    Register(sequence.model());
    Import(sequence, 2500);
    const std::string session = CreateSession(sequence, 2500).session_id;
    for (const LayerIndex layer : {kFirst, kSecond, kFirst}) {
      AttendItem item = QueryItem(sequence, session, layer, {2500, 2501});
      item.options.target = FullTarget();
      const AttendResult result = Attend(item);

      sequence.ExpectAttention(result, {.layer = layer,
                                        .first_query = 2500,
                                        .visible = EqualVisible({0, 2500}, 1),
                                        .options = item.options});
      EXPECT_EQ(result.stats.tier, Tier::kDisk);
    }
  }
};

TEST_F(LittleMemoryTest, ContextsLargerThanTheMemoryBudgetAnswer) {
  memory_budget_bytes_ = uint64_t{16} << 20;

  AttendToWideContext();

  EXPECT_LE(engine().stats().store.cache.used_bytes, memory_budget_bytes_);
}

TEST_F(LittleMemoryTest, ContextsLargerThanTheTenantsShareOfMemoryAnswer) {
  constexpr uint64_t kShareBytes = uint64_t{16} << 20;
  options_.tenant_limits.named[kTenant].max_memory_bytes = kShareBytes;

  AttendToWideContext();

  EXPECT_GE(memory_budget_bytes_, 2 * kShareBytes);
  // Pages of token ids are nobody's. The next layer may still be coming meanwhile: then the sums,
  // of different moments, differ.
  const auto tokens = static_cast<size_t>(ClassOf(PageKind::kToken));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  PageCacheStats cache;
  do {
    cache = engine().stats().store.cache;
    ASSERT_EQ(cache.owners.size(), 1U);
    EXPECT_EQ(cache.owners[0].owner, kTenant);
    EXPECT_LE(cache.owners[0].bytes, kShareBytes);
  } while (cache.used_bytes != cache.owners[0].bytes + cache.classes[tokens].used_bytes &&
           std::chrono::steady_clock::now() < deadline);
  EXPECT_EQ(cache.used_bytes, cache.owners[0].bytes + cache.classes[tokens].used_bytes);
}

}  // namespace
}  // namespace alaya
