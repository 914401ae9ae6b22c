// Bad ImportContext streams: a clear error, and nothing stored.

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "alaya/v1/context_service.grpc.pb.h"
#include "tests/integration/malformed_test.h"

namespace alaya {
namespace {

using Messages = std::vector<pb::ImportContextRequest>;

constexpr auto kInvalid = StatusCode::kInvalidArgument;
constexpr auto kPrecondition = StatusCode::kFailedPrecondition;

struct BadImport {
  std::string name;
  std::function<void(Messages&)> spoil;  // a header and one chunk for each of two layers
  Refusal expected;
};

class ImportTest : public MalformedTest {
 protected:
  static constexpr size_t kTokens = 40;

  Messages GoodImport() const {
    Messages messages(1 + model_.num_layers());
    *messages[0].mutable_header() = ImportHeader(import_, "imported");
    for (uint32_t layer = 0; layer < model_.num_layers(); ++layer) {
      auto* chunk = messages[1 + layer].mutable_chunk();
      const pb::AttendItem item = import_.AskAndAppend("", layer, 0, kTokens);
      chunk->set_layer(layer);
      *chunk->mutable_key() = item.key();
      *chunk->mutable_value() = item.value();
    }
    return messages;
  }

  Status Send(const Messages& messages) {
    const auto stub = pb::ContextService::NewStub(channel());
    grpc::ClientContext context;
    pb::ImportContextResponse response;
    const auto call = stub->ImportContext(&context, &response);
    for (const auto& message : messages) {
      if (!call->Write(message)) break;
    }
    call->WritesDone();
    return client::ToStatus(call->Finish());
  }

  const KvSequence import_{model_, kTokens, /*seed=*/82};
};

std::vector<BadImport> BadHeaders() {
  const auto header = [](std::function<void(pb::ImportContextRequest::Header&)> spoil) {
    return [spoil = std::move(spoil)](Messages& m) { spoil(*m[0].mutable_header()); };
  };
  return {
      {"no messages", [](Messages& m) { m.clear(); }, {kInvalid, {"header"}}},
      {"an empty message", [](Messages& m) { m[0].Clear(); }, {kInvalid, {"header"}}},
      {"a chunk before the header",
       [](Messages& m) { std::swap(m[0], m[1]); },
       {kInvalid, {"header"}}},
      {"a second header", [](Messages& m) { m.push_back(m[0]); }, {kInvalid, {"header"}}},
      {"no model", header([](auto& h) { h.clear_model(); }), {kInvalid, {"model"}}},
      {"unknown model",
       header([](auto& h) { h.set_model("unknown"); }),
       {StatusCode::kNotFound, {"unknown"}}},
      {"zero tokens", header([](auto& h) { h.clear_tokens(); }), {kInvalid, {"tokens", "0"}}},
      {"bad id", header([](auto& h) { h.set_context_id("a/b"); }), {kInvalid, {"a/b"}}},
      {"empty id", header([](auto& h) { h.set_context_id(""); }), {kInvalid, {"context_id"}}},
      {"used id",
       header([](auto& h) { h.set_context_id("context"); }),
       {StatusCode::kAlreadyExists, {"context"}}},
      {"no time", header([](auto& h) { h.mutable_ttl(); }), {kInvalid, {"ttl"}}},
      {"negative time",
       header([](auto& h) { h.mutable_ttl()->set_seconds(-1); }),
       {kInvalid, {"ttl", "-1"}}},
      {"bad label",
       header([](auto& h) { (*h.mutable_labels())["a b"] = ""; }),
       {kInvalid, {"a b"}}},
      {"unknown index",
       header([](auto& h) { h.mutable_index_options()->add_kinds(pb::IndexKind(42)); }),
       {kInvalid, {"42"}}},
  };
}

std::vector<BadImport> BadChunks() {
  const auto chunk = [](std::function<void(pb::ImportContextRequest::Chunk&)> spoil) {
    return [spoil = std::move(spoil)](Messages& m) { spoil(*m[2].mutable_chunk()); };
  };
  const auto query = [&chunk](auto spoil) {
    return chunk([spoil](auto& c) {
      c.mutable_query()->set_dtype(pb::DTYPE_F32);
      for (const int64_t size : {1, 8, 64}) c.mutable_query()->add_shape(size);
      c.mutable_query()->mutable_data()->assign(8 * 64 * 4, '\0');
      spoil(*c.mutable_query());
    });
  };
  return {
      {"layer beyond", chunk([](auto& c) { c.set_layer(2); }), {kInvalid, {"layer 2", "2 layers"}}},
      {"no key", chunk([](auto& c) { c.clear_key(); }), {kInvalid, {"key"}}},
      {"no value", chunk([](auto& c) { c.clear_value(); }), {kInvalid, {"value"}}},
      {"flat key",
       chunk([](auto& c) { c.mutable_key()->mutable_shape()->RemoveLast(); }),
       {kInvalid, {"key", "[40,2]", "3"}}},
      {"swapped dimensions",
       chunk([](auto& c) {
         for (pb::Tensor* t : {c.mutable_key(), c.mutable_value()}) {
           t->set_shape(1, 64);
           t->set_shape(2, 2);
         }
       }),
       {kInvalid, {"key", "[40,64,2]", "2"}}},
      {"head_dim",
       chunk([](auto& c) {
         for (pb::Tensor* t : {c.mutable_key(), c.mutable_value()}) {
           t->set_shape(0, 80);
           t->set_shape(2, 32);
         }
       }),
       {kInvalid, {"key", "[80,2,32]", "64"}}},
      {"negative dimension",
       chunk([](auto& c) { c.mutable_key()->set_shape(0, -40); }),
       {kInvalid, {"key", "-40"}}},
      {"shape that overflows",
       chunk([](auto& c) {
         for (int i = 0; i < 3; ++i) c.mutable_key()->set_shape(i, int64_t{1} << 62);
       }),
       {kInvalid, {"key"}}},
      {"dtype",
       chunk([](auto& c) {
         c.mutable_key()->set_dtype(pb::DTYPE_F16);
         c.mutable_value()->set_dtype(pb::DTYPE_F16);
       }),
       {kInvalid, {"key", "f16", "bf16"}}},
      {"unset dtype",
       chunk([](auto& c) { c.mutable_key()->clear_dtype(); }),
       {kInvalid, {"key", "dtype"}}},
      {"cut data",
       chunk([](auto& c) { c.mutable_value()->mutable_data()->resize(100); }),
       {kInvalid, {"value", "100", "10240"}}},
      {"long data",
       chunk([](auto& c) { c.mutable_value()->mutable_data()->append("xx"); }),
       {kInvalid, {"value", "10242", "10240"}}},
      {"NaN",
       chunk([](auto& c) { Overwrite(c.mutable_key(), kNaNBits); }),
       {kInvalid, {"key", "NaN", "39"}}},
      {"infinity",
       chunk([](auto& c) { Overwrite(c.mutable_value(), kInfinityBits); }),
       {kInvalid, {"value", "infinity", "39"}}},
      {"zero tokens",
       chunk([](auto& c) {
         for (pb::Tensor* t : {c.mutable_key(), c.mutable_value()}) {
           t->set_shape(0, 0);
           t->clear_data();
         }
       }),
       {kInvalid, {"key", "[0,2,64]"}}},
      {"begins late", chunk([](auto& c) { c.set_token_begin(1); }), {kInvalid, {"40", "1"}}},
      {"begins far beyond",
       chunk([](auto& c) { c.set_token_begin(~uint64_t{0}); }),
       {kInvalid, {"18446744073709551615"}}},
      {"query heads",
       query([](auto& q) {
         q.set_shape(0, 2);
         q.set_shape(1, 4);
       }),
       {kInvalid, {"query", "[2,4,64]", "8"}}},
      {"query data",
       query([](auto& q) { q.mutable_data()->pop_back(); }),
       {kInvalid, {"query", "2047", "2048"}}},
  };
}

std::vector<BadImport> BadOrders() {
  // Keeps `count` tokens of the last layer's chunk from `begin`.
  const auto part = [](Messages& m, size_t begin, size_t count) {
    auto* chunk = m[2].mutable_chunk();
    chunk->set_token_begin(begin);
    for (pb::Tensor* t : {chunk->mutable_key(), chunk->mutable_value()}) {
      const size_t row_bytes = t->data().size() / 40;
      *t->mutable_data() = t->data().substr(begin * row_bytes, count * row_bytes);
      t->set_shape(0, static_cast<int64_t>(count));
    }
  };
  return {
      {"only a header", [](Messages& m) { m.resize(1); }, {kPrecondition, {"layer 0", "[0, 40)"}}},
      {"a missing layer", [](Messages& m) { m.resize(2); }, {kPrecondition, {"layer 1"}}},
      {"a layer that ends early",
       [=](Messages& m) { part(m, 0, 30); },
       {kPrecondition, {"layer 1", "30", "40"}}},
      {"a gap", [=](Messages& m) { part(m, 10, 30); }, {kPrecondition, {"layer 1", "[0, 10)"}}},
      {"a layer twice", [](Messages& m) { m.push_back(m[1]); }, {kPrecondition, {"layer 0"}}},
      {"a layer for another",
       [](Messages& m) { m[2].mutable_chunk()->set_layer(0); },
       {kPrecondition, {"layer 0"}}},
  };
}

TEST_F(ImportTest, BadHeadersChunksAndOrdersStoreNothing) {
  for (const auto& table : {BadHeaders(), BadChunks(), BadOrders()}) {
    for (const BadImport& bad : table) {
      SCOPED_TRACE(bad.name);
      Messages messages = GoodImport();
      bad.spoil(messages);
      ExpectRefused(Send(messages), bad.expected);
    }
  }
  // The id that all of them wanted is free, and the untouched messages are good.
  ASSERT_OK(Send(GoodImport()));
  EXPECT_OK(CheckStoredBytes(client(), "imported", import_));
}

TEST_F(ImportTest, AStreamThatIsCancelledMidwayStoresNothing) {
  Messages messages = GoodImport();
  std::string context_id;
  for (size_t sent = 0; sent <= messages.size(); ++sent) {
    SCOPED_TRACE(sent);
    // Each has an id of its own: the server may notice later that the one before was given up.
    context_id = "given-up-" + std::to_string(sent);
    messages[0].mutable_header()->set_context_id(context_id);
    const auto stub = pb::ContextService::NewStub(channel());
    grpc::ClientContext context;
    pb::ImportContextResponse response;
    const auto call = stub->ImportContext(&context, &response);
    for (size_t i = 0; i < sent; ++i) ASSERT_TRUE(call->Write(messages[i]));
    context.TryCancel();

    EXPECT_EQ(call->Finish().error_code(), grpc::StatusCode::CANCELLED);
    ExpectUntouched();
  }
  // None of them was stored, though one had sent everything but its end.
  ASSERT_OK(ImportOnceFree(client(), import_, context_id));
}

TEST_F(ImportTest, AMessageBeyondTheLimitIsRefused) {
  Messages messages = GoodImport();
  messages[1].mutable_chunk()->mutable_key()->mutable_data()->assign(5 << 20, '\0');

  // gRPC itself refuses it before the server sees a request, so no details come with it.
  EXPECT_EQ(Send(messages).code(), StatusCode::kResourceExhausted);
  ExpectUntouched();
}

}  // namespace
}  // namespace alaya
