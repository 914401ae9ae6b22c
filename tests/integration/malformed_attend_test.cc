// Bad items and requests of Attend streams, and bytes that are no messages at all.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "alaya/v1/session_service.grpc.pb.h"
#include "tests/integration/malformed_test.h"
#include "tests/support/random_numbers.h"

namespace alaya {
namespace {

constexpr auto kInvalid = StatusCode::kInvalidArgument;
constexpr auto kPrecondition = StatusCode::kFailedPrecondition;

struct BadItem {
  std::string name;
  std::function<void(pb::AttendItem&)> spoil;  // a query that appends one token to layer 0
  Refusal expected;
};

std::vector<BadItem> BadItems() {
  using Item = pb::AttendItem;
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  const auto options = [](std::function<void(pb::AttendOptions&)> spoil) {
    return [spoil = std::move(spoil)](Item& item) { spoil(*item.mutable_options()); };
  };
  return {
      {"no session", [](Item& i) { i.clear_session_id(); }, {kInvalid, {"session_id"}}},
      {"unknown session",
       [](Item& i) { i.set_session_id("unknown"); },
       {StatusCode::kNotFound, {"unknown"}}},
      {"layer", [](Item& i) { i.set_layer(2); }, {kInvalid, {"layer 2", "2 layers"}}},
      {"layer out of order", [](Item& i) { i.set_layer(1); }, {kPrecondition, {"layer 1"}}},
      {"nothing",
       [](Item& i) {
         i.clear_query();
         i.clear_key();
         i.clear_value();
       },
       {kInvalid, {"query"}}},
      {"key alone", [](Item& i) { i.clear_value(); }, {kInvalid, {"key", "value"}}},
      {"value alone", [](Item& i) { i.clear_key(); }, {kInvalid, {"key", "value"}}},
      {"query heads",
       [](Item& i) {
         i.mutable_query()->set_shape(1, 4);
         i.mutable_query()->set_shape(2, 128);
       },
       {kInvalid, {"query", "[1,4,128]", "8"}}},
      {"query data",
       [](Item& i) { i.mutable_query()->clear_data(); },
       {kInvalid, {"query", "1024"}}},
      {"query dtype",
       [](Item& i) { i.mutable_query()->set_dtype(pb::DType(5)); },
       {kInvalid, {"query", "5"}}},
      {"key dtype",
       [](Item& i) {
         i.mutable_key()->set_dtype(pb::DTYPE_F16);
         i.mutable_value()->set_dtype(pb::DTYPE_F16);
       },
       {kInvalid, {"key", "f16", "bf16"}}},
      {"zero tokens",
       [](Item& i) {
         for (pb::Tensor* t : {i.mutable_query(), i.mutable_key(), i.mutable_value()}) {
           t->set_shape(0, 0);
           t->clear_data();
         }
       },
       {kInvalid, {"[0,8,64]"}}},
      {"more queries than keys",
       [](Item& i) {
         i.mutable_query()->set_shape(0, 2);
         i.mutable_query()->mutable_data()->append(i.query().data());
       },
       {kInvalid, {"key", "1", "2"}}},
      {"NaN query",
       [](Item& i) { Overwrite(i.mutable_query(), kNaNBits); },
       {kInvalid, {"query", "NaN"}}},
      {"infinite key",
       [](Item& i) { Overwrite(i.mutable_key(), kInfinityBits); },
       {kInvalid, {"key", "infinity"}}},
      {"NaN value",
       [](Item& i) { Overwrite(i.mutable_value(), kNaNBits); },
       {kInvalid, {"value", "NaN"}}},
      {"alpha -1",
       options([](auto& o) { o.mutable_dipr()->set_alpha(-1); }),
       {kInvalid, {"alpha", "-1"}}},
      {"alpha 2",
       options([](auto& o) { o.mutable_dipr()->set_alpha(2); }),
       {kInvalid, {"alpha", "2"}}},
      {"alpha NaN",
       options([](auto& o) { o.mutable_dipr()->set_alpha(kNaN); }),
       {kInvalid, {"alpha", "nan"}}},
      {"k 0", options([](auto& o) { o.mutable_top_k(); }), {kInvalid, {"k 0", "1"}}},
      {"fraction 0", options([](auto& o) { o.mutable_mass(); }), {kInvalid, {"fraction", "0"}}},
      {"fraction 1.5",
       options([](auto& o) { o.mutable_mass()->set_fraction(1.5); }),
       {kInvalid, {"fraction", "1.5"}}},
      {"scale 0", options([](auto& o) { o.set_scale(0); }), {kInvalid, {"scale", "0"}}},
      {"scale NaN", options([](auto& o) { o.set_scale(kNaN); }), {kInvalid, {"scale", "nan"}}},
      {"range",
       options([](auto& o) {
         o.mutable_token_range()->set_begin(8);
         o.mutable_token_range()->set_end(2);
       }),
       {kInvalid, {"token_range", "8", "2"}}},
  };
}

TEST_F(MalformedTest, ABadItemFailsAloneAndChangesNothing) {
  for (const BadItem& bad : BadItems()) {
    SCOPED_TRACE(bad.name);
    const pb::AttendItem good = sequence_.Ask(session_, 0, kHeldTokens);
    pb::AttendRequest request;
    *request.add_items() = good;
    *request.add_items() = sequence_.AskAndAppend(session_, 0, kHeldTokens);
    bad.spoil(*request.mutable_items(1));
    *request.add_items() = good;

    ASSERT_OK_AND_ASSIGN(const pb::AttendResponse response, stream().Send(request).get());

    ASSERT_EQ(response.results_size(), 3);
    const SessionState state{kHeldTokens, kContextTokens};
    EXPECT_TRUE(AnswersItem(sequence_, state, good, response.results(0)));
    EXPECT_TRUE(AnswersItem(sequence_, state, good, response.results(2)));
    EXPECT_FALSE(response.results(1).has_output());
    ExpectRefused(client::ToStatus(response.results(1).status()), bad.expected);
  }
}

TEST_F(MalformedTest, ARequestWithNoOrTooManyItemsIsRefused) {
  ASSERT_OK_AND_ASSIGN(const auto info, client().GetServerInfo());
  const auto refusal_of = [this](const pb::AttendRequest& request) {
    const auto response = stream().Send(request).get();
    if (!response.ok()) return response.status();
    return response->results_size() == 0 ? OkStatus()
                                         : client::ToStatus(response->results(0).status());
  };
  pb::AttendRequest request;
  ExpectRefused(refusal_of(request), {kInvalid, {"items", "0"}});
  const uint32_t count = info.limits().max_items_per_request() + 1;
  for (uint32_t i = 0; i < count; ++i) request.add_items()->set_session_id(session_);
  ExpectRefused(refusal_of(request), {kInvalid, {"items", std::to_string(count)}});
}

TEST_F(MalformedTest, AnAttendStreamClosedMidwayHarmsNobody) {
  const auto stub = pb::SessionService::NewStub(channel());
  for (int i = 0; i < 5; ++i) {
    grpc::ClientContext context;
    const auto call = stub->Attend(&context);
    pb::AttendRequest request;
    *request.add_items() = sequence_.Ask(session_, 0, kHeldTokens);
    for (int sent = 0; sent < i; ++sent) ASSERT_TRUE(call->Write(request));
    context.TryCancel();
    EXPECT_EQ(call->Finish().error_code(), grpc::StatusCode::CANCELLED);
    ExpectUntouched();
  }
}

// Sends bytes to a port of this machine and closes the connection.
void SendBytes(const std::string& address, std::string_view bytes) {
  sockaddr_in target{};
  target.sin_family = AF_INET;
  target.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int connection = socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_GE(connection, 0);
  ASSERT_EQ(connect(connection, reinterpret_cast<const sockaddr*>(&target), sizeof(target)), 0);
  // The server may hang up before all is sent.
  while (!bytes.empty()) {
    const ssize_t sent = send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) break;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  close(connection);
}

TEST_F(MalformedTest, BytesThatAreNoProtocolAreSurvived) {
  const RandomStream random(83);
  std::string noise(100'000, '\0');
  for (size_t i = 0; i < noise.size(); ++i) noise[i] = static_cast<char>(random.Bits(i));
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  for (const std::string& bytes :
       {std::string(), noise, "GET / HTTP/1.1\r\n\r\n" + noise, preface, preface + noise}) {
    SendBytes(server().grpc_address(), bytes);
    SendBytes(server().metrics_address(), bytes);
    ExpectUntouched();
  }
}

}  // namespace
}  // namespace alaya
