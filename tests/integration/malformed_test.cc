// Bad requests to every method but the streams: a clear error, and nothing changed.

#include "tests/integration/malformed_test.h"

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace alaya {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

template <typename Request>
struct BadRequest {
  std::string name;
  std::function<void(Request&)> spoil;  // applied to a good request
  Refusal expected;
};

// Sends each spoilt request and checks what comes back.
template <typename Request, typename Call>
void ForEach(const std::vector<BadRequest<Request>>& cases, const Request& good, const Call& call) {
  for (const BadRequest<Request>& bad : cases) {
    SCOPED_TRACE(bad.name);
    Request request = good;
    bad.spoil(request);
    call(request, bad.expected);
    if (testing::Test::HasFatalFailure()) return;
  }
}

constexpr auto kInvalid = StatusCode::kInvalidArgument;
constexpr auto kNotFound = StatusCode::kNotFound;
const std::string kTooLong(129, 'x');

TEST_F(MalformedTest, RegisterModelChecksNameAndShape) {
  using Request = pb::RegisterModelRequest;
  Request good;
  *good.mutable_model() = MakeModel("test/new");
  const auto set = [](auto setter, auto value) {
    return [=](Request& request) { (request.mutable_model()->*setter)(value); };
  };
  using M = pb::Model;
  ForEach<Request>(
      {
          {"no model", [](Request& r) { r.clear_model(); }, {kInvalid, {"model"}}},
          {"no name", [](Request& r) { r.mutable_model()->clear_name(); }, {kInvalid, {"name"}}},
          {"long name",
           [](Request& r) { r.mutable_model()->set_name(kTooLong); },
           {kInvalid, {"name", "129", "128"}}},
          {"space in name",
           [](Request& r) { r.mutable_model()->set_name("a b"); },
           {kInvalid, {"name", "a b"}}},
          {"no layers", set(&M::set_num_layers, 0U), {kInvalid, {"num_layers", "0"}}},
          {"many layers",
           set(&M::set_num_layers, 1025U),
           {kInvalid, {"num_layers", "1025", "1024"}}},
          {"no query heads", set(&M::set_num_query_heads, 0U), {kInvalid, {"num_query_heads"}}},
          {"many query heads",
           set(&M::set_num_query_heads, 1032U),
           {kInvalid, {"num_query_heads", "1032", "1024"}}},
          {"no kv heads", set(&M::set_num_kv_heads, 0U), {kInvalid, {"num_kv_heads", "0"}}},
          {"heads that do not divide", set(&M::set_num_kv_heads, 5U), {kInvalid, {"32", "5"}}},
          {"small head_dim", set(&M::set_head_dim, 4U), {kInvalid, {"head_dim", "4", "8"}}},
          {"odd head_dim", set(&M::set_head_dim, 100U), {kInvalid, {"head_dim", "100", "8"}}},
          {"large head_dim",
           set(&M::set_head_dim, 1032U),
           {kInvalid, {"head_dim", "1032", "1024"}}},
          {"no dtype", [](Request& r) { r.mutable_model()->clear_dtype(); }, {kInvalid, {"dtype"}}},
          {"unknown dtype",
           [](Request& r) { r.mutable_model()->set_dtype(pb::DType(9)); },
           {kInvalid, {"dtype", "9"}}},
          {"another shape of a known name",
           [this](Request& r) { r.mutable_model()->set_name(model_.name()); },
           {StatusCode::kAlreadyExists, {model_.name()}}},
      },
      good, [this](const Request& request, const Refusal& expected) {
        ExpectRefused(client().RegisterModel(request).status(), expected);
      });
}

TEST_F(MalformedTest, ContextsAreNamedAndKnown) {
  for (const auto& [id, code] : std::vector<std::pair<std::string, StatusCode>>{
           {"", kInvalid}, {kTooLong, kInvalid}, {"a/b", kInvalid}, {"unknown", kNotFound}}) {
    SCOPED_TRACE("'" + id + "'");
    const Refusal expected{code, {code == kNotFound ? "unknown" : "context_id"}};
    pb::GetContextRequest get;
    get.set_context_id(id);
    ExpectRefused(client().GetContext(get).status(), expected);
    ExpectRefused(Delete(client(), id).status(), expected);
    pb::UpdateContextRequest update;
    update.set_context_id(id);
    update.set_pinned(true);
    ExpectRefused(client().UpdateContext(update).status(), expected);
    pb::ReadContextRequest read;
    read.set_context_id(id);
    ExpectRefused(client().ReadContext(read).Next().status(), expected);
    pb::SearchContextRequest search;
    search.set_context_id(id);
    search.mutable_top_k()->set_k(1);
    *search.mutable_query() = sequence_.Ask("", 0, 0).query();
    ExpectRefused(client().SearchContext(search).status(), expected);
    if (id.empty()) continue;  // then tokens are matched
    pb::CreateSessionRequest create;
    create.set_context_id(id);
    ExpectRefused(client().CreateSession(create).status(), expected);
  }
}

TEST_F(MalformedTest, MatchContextAndCreateSessionCheckModelAndTokens) {
  pb::MatchContextRequest match;
  ExpectRefused(client().MatchContext(match).status(), {kInvalid, {"model"}});
  match.set_model("unknown");
  ExpectRefused(client().MatchContext(match).status(), {kNotFound, {"unknown"}});

  using Request = pb::CreateSessionRequest;
  ForEach<Request>(
      {
          {"nothing", [](Request& r) { r.Clear(); }, {kInvalid, {"model"}}},
          {"unknown model", [](Request& r) { r.set_model("unknown"); }, {kNotFound, {"unknown"}}},
          {"tokens and context",
           [](Request& r) { r.set_context_id("context"); },
           {kInvalid, {"tokens", "context_id"}}},
          {"context of another model",
           [](Request& r) {
             r.clear_tokens();
             r.set_context_id("context");
             r.set_model("unknown");
           },
           {kNotFound, {"unknown"}}},
      },
      [this] {
        Request good;
        good.set_model(model_.name());
        SetTokens(sequence_.tokens(), good);
        return good;
      }(),
      [this](const Request& request, const Refusal& expected) {
        ExpectRefused(client().CreateSession(request).status(), expected);
      });
}

TEST_F(MalformedTest, ReadContextChecksLayersAndRange) {
  using Request = pb::ReadContextRequest;
  Request good;
  good.set_context_id("context");
  ForEach<Request>(
      {
          {"layer", [](Request& r) { r.add_layers(2); }, {kInvalid, {"layer", "2"}}},
          {"range",
           [](Request& r) {
             r.mutable_token_range()->set_begin(7);
             r.mutable_token_range()->set_end(7);
           },
           {kInvalid, {"token_range", "7"}}},
          {"range beyond",
           [](Request& r) { r.mutable_token_range()->set_begin(301); },
           {kInvalid, {"301", "300"}}},
      },
      good, [this](const Request& request, const Refusal& expected) {
        ExpectRefused(client().ReadContext(request).Next().status(), expected);
      });
}

TEST_F(MalformedTest, ListsCheckPageSizeTokenAndFilters) {
  using Request = pb::ListContextsRequest;
  ForEach<Request>(
      {
          {"negative size",
           [](Request& r) { r.set_page_size(-1); },
           {kInvalid, {"page_size", "-1"}}},
          {"large size",
           [](Request& r) { r.set_page_size(1001); },
           {kInvalid, {"page_size", "1001", "1000"}}},
          {"token", [](Request& r) { r.set_page_token("nonsense"); }, {kInvalid, {"page_token"}}},
          {"binary token",
           [](Request& r) { r.set_page_token(std::string("\0\1\2", 3)); },
           {kInvalid, {"page_token"}}},
          {"model name", [](Request& r) { r.set_model("a b"); }, {kInvalid, {"model", "a b"}}},
          {"label", [](Request& r) { (*r.mutable_labels())["a b"] = ""; }, {kInvalid, {"a b"}}},
      },
      Request(), [this](const Request& request, const Refusal& expected) {
        ExpectRefused(client().ListContexts(request).status(), expected);
      });
  pb::ListSessionsRequest sessions;
  sessions.set_page_size(1001);
  ExpectRefused(client().ListSessions(sessions).status(), {kInvalid, {"page_size", "1001"}});
  sessions.set_page_size(0);
  sessions.set_page_token("nonsense");
  ExpectRefused(client().ListSessions(sessions).status(), {kInvalid, {"page_token"}});
}

TEST_F(MalformedTest, UpdateContextChecksTimeAndLabels) {
  using Request = pb::UpdateContextRequest;
  Request good;
  good.set_context_id("context");
  ForEach<Request>(
      {
          {"negative ttl",
           [](Request& r) { r.mutable_ttl()->set_seconds(-5); },
           {kInvalid, {"ttl", "-5"}}},
          {"nanoseconds",
           [](Request& r) { r.mutable_ttl()->set_nanos(1'000'000'000); },
           {kInvalid, {"ttl", "1000000000"}}},
          {"empty label key",
           [](Request& r) { (*r.mutable_labels()->mutable_labels())[""] = "x"; },
           {kInvalid, {"labels"}}},
          {"long label key",
           [](Request& r) { (*r.mutable_labels()->mutable_labels())[std::string(64, 'k')] = "x"; },
           {kInvalid, {"labels", "63"}}},
          {"long label value",
           [](Request& r) { (*r.mutable_labels()->mutable_labels())["k"] = std::string(256, 'v'); },
           {kInvalid, {"labels", "256", "255"}}},
          {"many labels",
           [](Request& r) {
             for (int i = 0; i < 65; ++i) {
               (*r.mutable_labels()->mutable_labels())["k" + std::to_string(i)] = "v";
             }
           },
           {kInvalid, {"labels", "65", "64"}}},
      },
      good, [this](const Request& request, const Refusal& expected) {
        ExpectRefused(client().UpdateContext(request).status(), expected);
      });
}

TEST_F(MalformedTest, SearchContextChecksLayerQueryAndTarget) {
  using Request = pb::SearchContextRequest;
  Request good;
  good.set_context_id("context");
  good.mutable_top_k()->set_k(3);
  *good.mutable_query() = sequence_.Ask("", 0, 0).query();
  ForEach<Request>(
      {
          {"layer", [](Request& r) { r.set_layer(2); }, {kInvalid, {"layer 2", "2 layers"}}},
          {"no query", [](Request& r) { r.clear_query(); }, {kInvalid, {"query"}}},
          {"heads",
           [](Request& r) {
             r.mutable_query()->set_shape(1, 4);
             r.mutable_query()->set_shape(0, 2);
           },
           {kInvalid, {"query", "[2,4,64]", "8"}}},
          {"cut query",
           [](Request& r) { r.mutable_query()->mutable_data()->pop_back(); },
           {kInvalid, {"query", "1023", "1024"}}},
          {"no target", [](Request& r) { r.clear_target(); }, {kInvalid, {"target"}}},
          {"k 0", [](Request& r) { r.mutable_top_k()->set_k(0); }, {kInvalid, {"k 0", "1"}}},
          {"alpha 2",
           [](Request& r) { r.mutable_dipr()->set_alpha(2); },
           {kInvalid, {"alpha", "2"}}},
          {"alpha NaN",
           [](Request& r) { r.mutable_dipr()->set_alpha(kNaN); },
           {kInvalid, {"alpha", "nan"}}},
          {"scale", [](Request& r) { r.set_scale(-1); }, {kInvalid, {"scale", "-1"}}},
          {"empty range",
           [](Request& r) {
             r.mutable_token_range()->set_begin(9);
             r.mutable_token_range()->set_end(3);
           },
           {kInvalid, {"token_range", "9", "3"}}},
      },
      good, [this](const Request& request, const Refusal& expected) {
        ExpectRefused(client().SearchContext(request).status(), expected);
      });
}

TEST_F(MalformedTest, SessionsAreNamedAndKnown) {
  for (const auto& [id, code] : std::vector<std::pair<std::string, StatusCode>>{
           {"", kInvalid}, {kTooLong, kInvalid}, {"a b", kInvalid}, {"unknown", kNotFound}}) {
    SCOPED_TRACE("'" + id + "'");
    const Refusal expected{code, {code == kNotFound ? "unknown" : "session_id"}};
    pb::GetSessionRequest get;
    get.set_session_id(id);
    ExpectRefused(client().GetSession(get).status(), expected);
    pb::ForkSessionRequest fork;
    fork.set_session_id(id);
    ExpectRefused(client().ForkSession(fork).status(), expected);
    pb::TruncateSessionRequest truncate;
    truncate.set_session_id(id);
    ExpectRefused(client().TruncateSession(truncate).status(), expected);
    pb::StoreSessionRequest store;
    store.set_session_id(id);
    SetTokens(sequence_.tokens(), store);
    ExpectRefused(client().StoreSession(store).status(), expected);
    ExpectRefused(CloseSession(client(), id), expected);
  }
}

TEST_F(MalformedTest, StoreAndTruncateCheckTheSessionsTokens) {
  pb::TruncateSessionRequest truncate;
  truncate.set_session_id(session_);
  truncate.set_token_count(304);
  ExpectRefused(client().TruncateSession(truncate).status(), {kInvalid, {"304", "303"}});

  using Request = pb::StoreSessionRequest;
  Request good;
  good.set_session_id(session_);
  SetTokens(sequence_.Prefix(kHeldTokens), good);
  ForEach<Request>(
      {
          {"no tokens", [](Request& r) { r.clear_tokens(); }, {kInvalid, {"tokens"}}},
          {"a token too many", [](Request& r) { r.add_tokens(1); }, {kInvalid, {"304", "303"}}},
          {"other tokens than its context's",
           [](Request& r) { r.set_tokens(5, 1); },
           {kInvalid, {"5"}}},
          {"bad id",
           [](Request& r) { r.set_context_id("a b"); },
           {kInvalid, {"context_id", "a b"}}},
          {"used id",
           [](Request& r) { r.set_context_id("context"); },
           {StatusCode::kAlreadyExists, {"context"}}},
          {"no time", [](Request& r) { r.mutable_ttl(); }, {kInvalid, {"ttl"}}},
      },
      good, [this](const Request& request, const Refusal& expected) {
        ExpectRefused(client().StoreSession(request).status(), expected);
      });
}

TEST_F(MalformedTest, AdminChecksPathAndLogLevel) {
  pb::CreateBackupRequest backup;
  ExpectRefused(client().CreateBackup(backup).status(), {kInvalid, {"directory"}});
  backup.set_directory("relative/path");
  ExpectRefused(client().CreateBackup(backup).status(), {kInvalid, {"directory", "absolute"}});
  backup.set_directory(data_path());
  ExpectRefused(client().CreateBackup(backup).status(),
                {StatusCode::kAlreadyExists, {data_path()}});
  pb::SetLogLevelRequest level;
  ExpectRefused(client().SetLogLevel(level).status(), {kInvalid, {"level"}});
  level.set_level(pb::LogLevel(77));
  ExpectRefused(client().SetLogLevel(level).status(), {kInvalid, {"level", "77"}});
}

}  // namespace
}  // namespace alaya
