#include "tests/fault/recovery_check.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <string_view>
#include <system_error>
#include <thread>

#include "tests/fault/raw_connection.h"
#include "tests/integration/expected_answer.h"
#include "tests/integration/service_calls.h"

namespace alaya {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

// Of a machine that is busy with other things; what works takes milliseconds.
constexpr auto kPatience = std::chrono::seconds(60);

// Tries until it holds; the last error after kPatience.
Status Eventually(const std::function<Status()>& holds) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    Status status = holds();
    if (status.ok() || std::chrono::steady_clock::now() > deadline) return status;
    std::this_thread::sleep_for(milliseconds(5));
  }
}

Status Accepts(const ServerProcess& server) {
  RawConnection connection(server.grpc_address());
  connection.Send(Http2Preface());
  // The server's settings come first.
  if (connection.Receive(milliseconds(200)).size() >= 9) return OkStatus();
  return Unavailable("the server accepts no new connection");
}

Status CloseSessions(const client::Client& client) {
  pb::ListSessionsRequest request;
  ALAYA_ASSIGN_OR_RETURN(const auto page, client.ListSessions(request));
  for (const pb::Session& session : page.sessions()) {
    const Status closed = CloseSession(client, session.session_id());
    if (closed.code() != StatusCode::kNotFound) ALAYA_RETURN_IF_ERROR(closed);
  }
  return page.sessions().empty() ? OkStatus() : FailedPrecondition("sessions are left");
}

Status Answers(const client::Client& client, const KnownContext& known) {
  ALAYA_ASSIGN_OR_RETURN(const std::string session, OpenSession(client, known.id));
  client::AttendStream stream = client.Attend();
  for (uint32_t layer = 0; layer < known.sequence->model().num_layers(); ++layer) {
    pb::AttendItem item = known.sequence->AskAndAppend(session, layer, known.stored_tokens);
    item.mutable_options()->mutable_full();
    ALAYA_ASSIGN_OR_RETURN(const auto result, stream.AttendOne(item, kPatience));
    const auto right =
        AnswersItem(*known.sequence, {known.stored_tokens, known.stored_tokens}, item, result);
    if (!right) return DataLoss(std::string("wrong output: ") + right.message());
  }
  ALAYA_RETURN_IF_ERROR(CloseSession(client, session));
  return stream.Close();
}

// Stores a context that goes on where `known` ends, and deletes it.
Status Writes(const client::Client& client, const KnownContext& known) {
  constexpr char kId[] = "stored-after-a-fault";
  const Status left_over = Delete(client, kId).status();
  if (left_over.code() != StatusCode::kNotFound) ALAYA_RETURN_IF_ERROR(left_over);
  const KvSequence longer =
      known.sequence->Branch(known.stored_tokens, known.stored_tokens + 1, /*seed=*/0);
  ALAYA_RETURN_IF_ERROR(Import(client, longer, kId).status());
  return Delete(client, kId).status();
}

Status HoldsNothing(const ServerProcess& server, size_t sockets_max) {
  for (const char* name : {"alaya_sessions", "alaya_tail_bytes", "alaya_pinned_bytes",
                           "alaya_calls_in_flight", "alaya_attend_items_in_flight"}) {
    ALAYA_ASSIGN_OR_RETURN(const double value, ReadMetric(server, name));
    if (value != 0) return FailedPrecondition(fmt::format("{} is {}", name, value));
  }
  const size_t sockets = SocketCount(server.pid());
  if (sockets <= sockets_max) return OkStatus();
  return FailedPrecondition(
      fmt::format("{} sockets are open, at most {} should be", sockets, sockets_max));
}

}  // namespace

size_t SocketCount(pid_t pid) {
  size_t count = 0;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(fmt::format("/proc/{}/fd", pid), ignored)) {
    if (fs::read_symlink(entry.path(), ignored).string().starts_with("socket:")) ++count;
  }
  return count;
}

StatusOr<double> ReadMetric(const ServerProcess& server, const std::string& name) {
  RawConnection connection(server.metrics_address());
  connection.Send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  const std::string page = connection.Receive(milliseconds(2000));
  const size_t line = page.find("\n" + name + " ");
  if (line == std::string::npos) return NotFound("no metric " + name);
  return std::stod(page.substr(line + name.size() + 2));
}

Status CheckRecovered(const ServerProcess& server, const client::Client& client,
                      const KnownContext& known, size_t sockets_max) {
  ALAYA_RETURN_IF_ERROR(Eventually([&] { return Accepts(server); }));
  ALAYA_RETURN_IF_ERROR(client.WaitUntilServing(kPatience));
  ALAYA_RETURN_IF_ERROR(Answers(client, known));
  // What was evicted takes space until nobody holds it, an index build for example.
  ALAYA_RETURN_IF_ERROR(Eventually([&] { return Writes(client, known); }));
  ALAYA_RETURN_IF_ERROR(Eventually([&] { return CloseSessions(client); }));
  return Eventually([&] { return HoldsNothing(server, sockets_max); });
}

}  // namespace alaya
