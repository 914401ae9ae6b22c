#include "tests/server/engine/engine_fixture.h"

#include <algorithm>
#include <future>
#include <utility>

#include "storage/types/check.h"

namespace alaya {

Model GroupedModel(DType dtype) {
  return {.name = "grouped",
          .num_layers = 2,
          .num_query_heads = 4,
          .num_kv_heads = 2,
          .head_dim = 64,
          .dtype = dtype};
}

void EngineTest::OpenEngine() {
  engine_.reset();
  store_.reset();
  ContextStoreOptions store_options;
  store_options.directory = directory_ / "data";
  store_options.memory_budget_bytes = memory_budget_bytes_;
  store_options.merge = merge_;
  auto store = ContextStore::Open(store_options);
  ALAYA_CHECK(store.ok());
  store_ = *std::move(store);
  auto engine = Engine::Open(options_, store_.get(), &backend_, &clock_, attention_device_);
  ALAYA_CHECK(engine.ok());
  engine_ = *std::move(engine);
}

ImportHeader EngineTest::Header(const TestSequence& sequence, uint64_t token_count) const {
  ImportHeader header;
  header.tenant = kTenant;
  header.model = sequence.model().name;
  header.tokens = sequence.tokens(token_count);
  return header;
}

ImportResult EngineTest::Import(const TestSequence& sequence, uint64_t token_count,
                                std::optional<std::string> id) {
  constexpr uint64_t kChunkTokens = 100;
  ImportHeader header = Header(sequence, token_count);
  header.context_id = std::move(id);
  auto import = engine().BeginImport(std::move(header));
  EXPECT_TRUE(import.ok()) << Message(import.status());
  if (!import.ok()) return {};
  for (uint64_t begin = 0; begin < token_count; begin += kChunkTokens) {
    for (uint32_t layer = 0; layer < sequence.model().num_layers; ++layer) {
      const TokenRange range{begin, std::min(begin + kChunkTokens, token_count)};
      const Status status = (*import)->AddChunk(sequence.Chunk(LayerIndex{layer}, range));
      EXPECT_TRUE(status.ok()) << Message(status);
    }
  }
  auto result = (*import)->Finish();
  EXPECT_TRUE(result.ok()) << Message(result.status());
  return result.ok() ? *result : ImportResult();
}

Status EngineTest::ReadAll(const std::string& id, std::optional<TokenRange> range,
                           const std::vector<uint32_t>& layers,
                           const std::function<void(const ReadChunk&)>& use) {
  ALAYA_ASSIGN_OR_RETURN(const auto reading, engine().ReadContext(kTenant, id, range, layers));
  reading->ReadAhead(2);
  for (;;) {
    ALAYA_ASSIGN_OR_RETURN(const std::optional<ReadChunk> chunk, reading->Next());
    if (!chunk) return OkStatus();
    use(*chunk);
  }
}

SessionInfo EngineTest::CreateSession(const TestSequence& sequence, uint64_t token_count,
                                      std::optional<uint64_t> reuse_limit) {
  auto info = engine().CreateSession({.tenant = kTenant,
                                      .model = sequence.model().name,
                                      .tokens = sequence.tokens(token_count),
                                      .context_id = {},
                                      .reuse_limit = reuse_limit});
  EXPECT_TRUE(info.ok()) << Message(info.status());
  return info.ok() ? *info : SessionInfo();
}

AttendItem EngineTest::Item(const std::string& session_id, LayerIndex layer) const {
  AttendItem item;
  item.tenant = kTenant;
  item.session_id = session_id;
  item.layer = layer;
  return item;
}

AttendItem EngineTest::QueryItem(const TestSequence& sequence, const std::string& session_id,
                                 LayerIndex layer, TokenRange positions) const {
  AttendItem item = Item(session_id, layer);
  item.query = sequence.query(layer, positions);
  return item;
}

AttendItem EngineTest::AppendItem(const TestSequence& sequence, const std::string& session_id,
                                  LayerIndex layer, TokenRange positions) const {
  AttendItem item = Item(session_id, layer);
  item.key = sequence.key(layer, positions);
  item.value = sequence.value(layer, positions);
  return item;
}

AttendItem EngineTest::DecodeItem(const TestSequence& sequence, const std::string& session_id,
                                  LayerIndex layer, TokenRange positions) const {
  AttendItem item = AppendItem(sequence, session_id, layer, positions);
  item.query = sequence.query(layer, positions);
  return item;
}

AttendResult EngineTest::Attend(const AttendItem& item) {
  std::promise<AttendResult> answer;
  engine().Attend(item, Deadline::max(), nullptr,
                  [&answer](AttendResult result) { answer.set_value(std::move(result)); });
  return answer.get_future().get();
}

void EngineTest::AppendAllLayers(const TestSequence& sequence, const std::string& session_id,
                                 TokenRange positions) {
  for (uint32_t layer = 0; layer < sequence.model().num_layers; ++layer) {
    const AttendResult result =
        Attend(AppendItem(sequence, session_id, LayerIndex{layer}, positions));
    ASSERT_TRUE(result.status.ok()) << Message(result.status);
  }
}

SessionInfo EngineTest::Info(const std::string& session_id) {
  auto info = engine().GetSession(kTenant, session_id);
  EXPECT_TRUE(info.ok()) << Message(info.status());
  return info.ok() ? *info : SessionInfo();
}

void EngineTest::ExpectHolds(const TestSequence& sequence, const std::string& session_id,
                             uint64_t token_count) {
  for (const LayerIndex layer : {kFirst, kSecond}) {
    AttendItem item = QueryItem(sequence, session_id, layer, {3, 5});
    item.options.target = FullTarget();
    sequence.ExpectAttention(Attend(item), {.layer = layer,
                                            .first_query = 3,
                                            .visible = EqualVisible({0, token_count}, 2),
                                            .options = item.options});
  }
}

}  // namespace alaya
