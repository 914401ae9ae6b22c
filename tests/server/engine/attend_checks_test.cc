// Items that must be refused, and that a refused item changes nothing.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "tests/server/engine/engine_fixture.h"

namespace alaya {
namespace {

using testing::HasSubstr;

struct BadItem {
  const char* name;
  void (*spoil)(AttendItem*);
  StatusCode code;
  const char* message;
};

class BadItemTest : public EngineTest, public testing::WithParamInterface<BadItem> {
 protected:
  BadItemTest() : sequence_(GroupedModel(), 60, /*seed=*/2) {
    options_.limits.max_queries_per_item = 4;
    options_.limits.max_tail_tokens_per_session = 12;
  }

  const TestSequence sequence_;
};

TEST_P(BadItemTest, IsRefusedAndChangesNothing) {
  Register(sequence_.model());
  Import(sequence_, 40);
  const std::string session = CreateSession(sequence_, 40).session_id;
  for (const TokenRange part : {TokenRange{40, 44}, TokenRange{44, 48}, TokenRange{48, 50}}) {
    AppendAllLayers(sequence_, session, part);
  }
  const SessionInfo before = Info(session);
  AttendItem item = DecodeItem(sequence_, session, kFirst, {50, 52});
  GetParam().spoil(&item);

  const AttendResult result = Attend(item);

  EXPECT_EQ(result.status.code(), GetParam().code) << Message(result.status);
  EXPECT_THAT(std::string(Message(result.status)), HasSubstr(GetParam().message));
  EXPECT_TRUE(result.output.empty());
  const SessionInfo after = Info(session);
  EXPECT_EQ(after.tail_tokens, before.tail_tokens);
  EXPECT_EQ(after.tail_bytes, before.tail_bytes);
  EXPECT_EQ(after.last_use_time, before.last_use_time);
  // The session goes on as if nothing had been said.
  const AttendResult good = Attend(DecodeItem(sequence_, session, kFirst, {50, 52}));
  sequence_.ExpectAttention(good, {.layer = kFirst,
                                   .first_query = 50,
                                   .visible = CausalVisible(50, 2),
                                   .tail_begin = 40,
                                   .options = {}});
}

// Tensors of these tests: the same bytes for all, enough for each shape.
TensorView Zeros(DType dtype, size_t tokens, size_t heads, size_t dim) {
  static const std::vector<std::byte> zeros(1 << 16);
  return {dtype, tokens, heads, dim,
          std::span(zeros).first(tokens * heads * dim * ElementBytes(dtype))};
}

// A [2, heads, 64] tensor with one bad element.
TensorView With(float bad, DType dtype, size_t heads) {
  static std::vector<std::byte> bytes;
  bytes.assign(2 * heads * 64 * ElementBytes(dtype), std::byte{0});
  uint32_t bits = 0;
  std::memcpy(&bits, &bad, sizeof(bits));
  const size_t element = bytes.size() - ElementBytes(dtype);
  if (dtype == DType::kF32) {
    std::memcpy(&bytes[element], &bits, sizeof(bits));
  } else {
    const auto upper = static_cast<uint16_t>(bits >> 16);
    std::memcpy(&bytes[element], &upper, sizeof(upper));
  }
  return {dtype, 2, heads, 64, bytes};
}

constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

INSTANTIATE_TEST_SUITE_P(
    Shapes, BadItemTest,
    testing::Values(
        BadItem{"LayerOutOfRange", [](AttendItem* i) { i->layer = LayerIndex{2}; }, kInvalid,
                "layer 2: model 'grouped' has 2 layers"},
        BadItem{"NothingToDo",
                [](AttendItem* i) {
                  i->query.reset();
                  i->key.reset();
                  i->value.reset();
                },
                kInvalid, "neither query nor key and value"},
        BadItem{"KeyAlone", [](AttendItem* i) { i->value.reset(); }, kInvalid,
                "key is set without value"},
        BadItem{"ValueAlone", [](AttendItem* i) { i->key.reset(); }, kInvalid,
                "value is set without key"},
        BadItem{"QueryHeads", [](AttendItem* i) { i->query = Zeros(DType::kF32, 2, 8, 64); },
                kInvalid, "query shape [2,8,64]: model 'grouped' has 4 query heads"},
        BadItem{"QueryDim", [](AttendItem* i) { i->query = Zeros(DType::kF32, 2, 4, 32); },
                kInvalid, "query shape [2,4,32]: model 'grouped' has head_dim 64"},
        BadItem{"KeyHeads", [](AttendItem* i) { i->key = Zeros(DType::kBF16, 2, 4, 64); }, kInvalid,
                "key shape [2,4,64]: model 'grouped' has 2 kv heads"},
        BadItem{"ValueDim", [](AttendItem* i) { i->value = Zeros(DType::kBF16, 2, 2, 128); },
                kInvalid, "value shape [2,2,128]: model 'grouped' has head_dim 64"},
        BadItem{"KeyType", [](AttendItem* i) { i->key = Zeros(DType::kF32, 2, 2, 64); }, kInvalid,
                "key dtype f32: model 'grouped' stores bf16"},
        BadItem{"ValueType", [](AttendItem* i) { i->value = Zeros(DType::kF16, 2, 2, 64); },
                kInvalid, "value dtype f16: model 'grouped' stores bf16"},
        BadItem{"UnknownType", [](AttendItem* i) { i->query->dtype = static_cast<DType>(0); },
                kInvalid, "query dtype 0 is unknown"},
        BadItem{"NoTokens",
                [](AttendItem* i) {
                  i->query = Zeros(DType::kF32, 0, 4, 64);
                  i->key = i->value = Zeros(DType::kBF16, 0, 2, 64);
                },
                kInvalid, "query shape [0,4,64]: must have 1 to 4 tokens"},
        BadItem{"ManyQueries", [](AttendItem* i) { i->query = Zeros(DType::kF32, 5, 4, 64); },
                kInvalid, "query shape [5,4,64]: must have 1 to 4 tokens"},
        BadItem{"HugeCount",
                [](AttendItem* i) { i->query->tokens = std::numeric_limits<size_t>::max() / 8; },
                kInvalid, "must have 1 to 4 tokens"},
        BadItem{"ShortData",
                [](AttendItem* i) { i->key->data = i->key->data.first(i->key->data.size() - 1); },
                kInvalid, "key has 511 bytes of data: shape [2,2,64] of bf16 needs 512"},
        BadItem{"NoData", [](AttendItem* i) { i->query->data = {}; }, kInvalid,
                "query has 0 bytes of data"},
        BadItem{"ValueCount", [](AttendItem* i) { i->value = Zeros(DType::kBF16, 1, 2, 64); },
                kInvalid, "key has 2 tokens, value has 1"},
        BadItem{"QueryCount", [](AttendItem* i) { i->query = Zeros(DType::kF32, 1, 4, 64); },
                kInvalid, "query has 1 tokens, key has 2"}),
    [](const auto& bad) { return bad.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Values, BadItemTest,
    testing::Values(
        BadItem{"NaNInQuery", [](AttendItem* i) { i->query = With(kNaN, DType::kF32, 4); },
                kInvalid, "query holds NaN or infinity at token 1, head 3"},
        BadItem{"InfinityInKey", [](AttendItem* i) { i->key = With(kInfinity, DType::kBF16, 2); },
                kInvalid, "key holds NaN or infinity at token 1, head 1"},
        BadItem{"InfinityInValue",
                [](AttendItem* i) { i->value = With(-kInfinity, DType::kBF16, 2); }, kInvalid,
                "value holds NaN or infinity at token 1, head 1"},
        BadItem{"ZeroScale", [](AttendItem* i) { i->options.scale = 0; }, kInvalid, "scale 0"},
        BadItem{"NegativeScale", [](AttendItem* i) { i->options.scale = -1; }, kInvalid,
                "scale -1"},
        BadItem{"NaNScale", [](AttendItem* i) { i->options.scale = std::nan(""); }, kInvalid,
                "scale nan"},
        BadItem{"VanishingScale", [](AttendItem* i) { i->options.scale = 1e-300; }, kInvalid,
                "scale 1e-300"},
        BadItem{"HugeScale", [](AttendItem* i) { i->options.scale = 1e300; }, kInvalid,
                "scale 1e+300"},
        BadItem{"ZeroAlpha", [](AttendItem* i) { i->options.target = DiprTarget{0}; }, kInvalid,
                "dipr.alpha 0: must be in (0, 1]"},
        BadItem{"LargeAlpha", [](AttendItem* i) { i->options.target = DiprTarget{1.5}; }, kInvalid,
                "dipr.alpha 1.5"},
        BadItem{"NaNAlpha", [](AttendItem* i) { i->options.target = DiprTarget{std::nan("")}; },
                kInvalid, "dipr.alpha nan"},
        BadItem{"ZeroK", [](AttendItem* i) { i->options.target = TopKTarget{0}; }, kInvalid,
                "top_k.k 0: must be at least 1"},
        BadItem{"ZeroFraction", [](AttendItem* i) { i->options.target = MassTarget{0}; }, kInvalid,
                "mass.fraction 0"},
        BadItem{"LargeFraction", [](AttendItem* i) { i->options.target = MassTarget{1.01}; },
                kInvalid, "mass.fraction 1.01"},
        BadItem{"ReversedRange",
                [](AttendItem* i) {
                  i->options.token_range = TokenRange{7, 6};
                },
                kInvalid, "token_range [7, 6)"},
        BadItem{"UnknownSession", [](AttendItem* i) { i->session_id = "nobody"; },
                StatusCode::kNotFound, "session 'nobody' does not exist"},
        BadItem{"OtherTenant", [](AttendItem* i) { i->tenant = "other"; }, StatusCode::kNotFound,
                "does not exist"},
        BadItem{"LayerOrder", [](AttendItem* i) { i->layer = kSecond; },
                StatusCode::kFailedPrecondition,
                "layer 1 would hold 52 tokens, layer 0 before it holds 50"},
        BadItem{"TailTokens",
                [](AttendItem* i) {
                  i->query.reset();
                  i->key = i->value = Zeros(DType::kBF16, 3, 2, 64);
                },
                StatusCode::kResourceExhausted,
                "would hold 13 tokens of its own, max_tail_tokens_per_session is 12"}),
    [](const auto& bad) { return bad.param.name; });

class FailedItemTest : public EngineTest {
 protected:
  FailedItemTest() : sequence_(GroupedModel(), 400, /*seed=*/4) {}

  const TestSequence sequence_;
};

TEST_F(FailedItemTest, AFailedComputationTakesItsTokensBack) {
  Register(sequence_.model());
  Import(sequence_, 100);
  const std::string session = CreateSession(sequence_, 100).session_id;
  AppendAllLayers(sequence_, session, {100, 200});
  const AttendItem item = DecodeItem(sequence_, session, kFirst, {200, 250});

  backend_.broken = true;
  const AttendResult failed = Attend(item);
  backend_.broken = false;

  EXPECT_EQ(failed.status.code(), StatusCode::kDataLoss);
  EXPECT_TRUE(failed.output.empty());
  EXPECT_EQ(Info(session).tail_tokens, 100U);
  sequence_.ExpectAttention(Attend(item), {.layer = kFirst,
                                           .first_query = 200,
                                           .visible = CausalVisible(200, 50),
                                           .tail_begin = 100,
                                           .options = {}});
}

TEST_F(FailedItemTest, TailsOfAllSessionsShareOneBudget) {
  options_.limits.max_tail_bytes_total = uint64_t{200} * 1024;
  Register(sequence_.model());
  const std::string first = CreateSession(sequence_, 0).session_id;
  const std::string second = CreateSession(sequence_, 0).session_id;
  ASSERT_TRUE(Attend(AppendItem(sequence_, first, kFirst, {0, 256})).status.ok());
  EXPECT_EQ(engine().stats().tail_bytes, 256U * 512);

  const AttendResult refused = Attend(AppendItem(sequence_, second, kFirst, {0, 256}));

  EXPECT_EQ(refused.status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(Message(refused.status)), HasSubstr("max_tail_bytes_total is 204800"));
  EXPECT_EQ(engine().stats().tail_bytes, 256U * 512);
  ASSERT_TRUE(engine().CloseSession(kTenant, first).ok());
  EXPECT_TRUE(Attend(AppendItem(sequence_, second, kFirst, {0, 256})).status.ok());
}

}  // namespace
}  // namespace alaya
