#include "tests/fault/hostile_clients.h"

#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <memory>
#include <string_view>
#include <thread>

#include "alaya/v1/admin_service.grpc.pb.h"
#include "alaya/v1/context_service.grpc.pb.h"
#include "alaya/v1/session_service.grpc.pb.h"

namespace alaya {
namespace {

namespace pb = ::alaya::v1;
using std::chrono::milliseconds;
using Random = std::mt19937_64;

constexpr char kAttend[] = "/alaya.v1.SessionService/Attend";
constexpr char kImport[] = "/alaya.v1.ContextService/ImportContext";
constexpr char kRead[] = "/alaya.v1.ContextService/ReadContext";
constexpr std::string_view kMethods[] = {
    kAttend,
    kImport,
    kRead,
    "/alaya.v1.ContextService/MatchContext",
    "/alaya.v1.ContextService/GetContext",
    "/alaya.v1.ContextService/ListContexts",
    "/alaya.v1.ContextService/UpdateContext",
    "/alaya.v1.ContextService/SearchContext",
    "/alaya.v1.SessionService/CreateSession",
    "/alaya.v1.SessionService/StoreSession",
    "/alaya.v1.SessionService/ForkSession",
    "/alaya.v1.SessionService/GetSession",
    "/alaya.v1.SessionService/ListSessions",
    "/alaya.v1.AdminService/RegisterModel",
    "/alaya.v1.AdminService/ListModels",
    "/alaya.v1.AdminService/GetServerInfo",
    "/grpc.health.v1.Health/Check",
    "/alaya.v1.NoService/NoMethod",
    "",
};

std::string RandomBytes(Random& random, size_t count) {
  std::string bytes(count, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// A stack of its own for every caller, so that connections are not shared.
std::shared_ptr<grpc::Channel> NewChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

std::string ReadRequest(const HostileTarget& target) {
  pb::ReadContextRequest request;
  request.set_context_id(target.context_id);
  return request.SerializeAsString();
}

// Says its preface and a call one byte at a time, and never gets to the end.
void SlowLoris(const HostileTarget& target, uint64_t /*seed*/) {
  constexpr size_t kConnections = 16;
  const std::string words = Http2Preface() + StartCall(1, kAttend);
  std::vector<RawConnection> connections;
  for (size_t i = 0; i < kConnections; ++i) connections.emplace_back(target.address);
  for (size_t byte = 0; byte + 1 < words.size(); ++byte) {
    for (size_t i = byte % 3; i < connections.size(); i += 3) {
      connections[i].Send(words.substr(byte, 1));
    }
    std::this_thread::sleep_for(milliseconds(2));
  }
}

// Connects and falls silent, before or after its preface, or with a call open.
void HalfOpen(const HostileTarget& target, uint64_t /*seed*/) {
  constexpr size_t kConnections = 24;
  std::vector<RawConnection> connections;
  for (size_t i = 0; i < kConnections; ++i) {
    connections.emplace_back(target.address);
    if (i % 3 >= 1) connections.back().Send(Http2Preface());
    if (i % 3 == 2) connections.back().Send(StartCall(1, i % 2 == 0 ? kAttend : kImport));
  }
  std::this_thread::sleep_for(milliseconds(300));
  // Half of them vanish without a word.
  for (size_t i = 0; i < connections.size(); i += 2) connections[i].Reset();
}

void ResetInMessage(const HostileTarget& target, uint64_t seed) {
  constexpr int kConnections = 24;
  Random random(seed);
  for (int i = 0; i < kConnections; ++i) {
    RawConnection connection(target.address);
    const std::string message = GrpcMessage(RandomBytes(random, 1 + random() % 16000));
    connection.Send(Http2Preface() + StartCall(1, i % 2 == 0 ? kAttend : kImport));
    const std::string frame = Http2Frame(FrameType::kData, 0, 1, message);
    connection.Send(std::string_view(frame).substr(0, random() % frame.size()));
    if (i % 2 == 0) std::this_thread::sleep_for(milliseconds(random() % 5));
    connection.Reset();
  }
}

// Frames that break a rule of HTTP/2 each, after a good preface.
std::vector<std::string> BrokenFrames(Random& random) {
  const auto frame = [](FrameType type, uint8_t flags, uint32_t stream, const std::string& bytes) {
    return Http2Frame(type, flags, stream, bytes);
  };
  const std::string call = StartCall(1, kAttend);
  return {
      RandomBytes(random, 4000),
      frame(FrameType::kData, 0, 1, "no such stream"),
      frame(FrameType::kData, 0, 0, "on the connection"),
      frame(FrameType::kHeaders, kEndHeaders, 1, RandomBytes(random, 100)),
      frame(FrameType::kHeaders, kEndHeaders, 2, CallHeaders(kAttend)),  // an even stream
      frame(FrameType::kHeaders, kEndHeaders, 0, CallHeaders(kAttend)),
      frame(FrameType::kHeaders, 0, 1, CallHeaders(kAttend)) +
          frame(FrameType::kPing, 0, 0, "12345678"),  // CONTINUATION must follow
      call + call,                                    // a stream twice
      call + frame(FrameType::kHeaders, kEndHeaders, 1, CallHeaders(kAttend)),
      call + frame(FrameType::kData, 8, 1, "\xff padded beyond its end"),
      call + frame(FrameType::kWindowUpdate, 0, 1, std::string(4, '\0')),
      call + frame(FrameType::kWindowUpdate, 0, 0, "\x7f\xff\xff\xff") +
          frame(FrameType::kWindowUpdate, 0, 0, "\x7f\xff\xff\xff"),
      call + frame(FrameType::kResetStream, 0, 1, "xy"),
      frame(FrameType::kSettings, 0, 0, "12345"),
      frame(FrameType::kSettings, 0, 3, ""),
      frame(FrameType::kSettings, 0, 0, std::string("\0\4\xff\xff\xff\xff", 6)),
      frame(FrameType::kPing, 0, 0, "short"),
      frame(FrameType::kGoAway, 0, 0, "x"),
      frame(FrameType::kPushPromise, kEndHeaders, 1, "1234"),
      frame(FrameType::kContinuation, kEndHeaders, 1, ""),
      frame(static_cast<FrameType>(200), 255, 7, RandomBytes(random, 50)),
      std::string("\xff\xff\xff\0\0\0\0\0\1", 9) + RandomBytes(random, 1000),  // 16 MiB announced
      call + frame(FrameType::kData, kEndStream, 1, "\1" + GrpcMessage("compressed?").substr(1)),
      call + frame(FrameType::kData, kEndStream, 1, std::string("\0\xff\xff\xff\xff", 5)),
      call + frame(FrameType::kData, kEndStream, 1, std::string("\0\0\0", 3)),
      frame(FrameType::kHeaders, kEndHeaders, 1, std::string(16000, '\x7f')),
  };
}

void MalformedHttp2(const HostileTarget& target, uint64_t seed) {
  Random random(seed);
  for (const std::string& broken : BrokenFrames(random)) {
    RawConnection connection(target.address);
    connection.Send(Http2Preface() + broken);
    connection.Receive(milliseconds(2));
  }
  for (const std::string& greeting :
       {std::string("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), std::string("\x16\x03\x01\x02\0\1", 6),
        std::string(5000, '\0'), RandomBytes(random, 3000)}) {
    RawConnection connection(target.address);
    connection.Send(greeting);
    connection.Receive(milliseconds(2));
  }
}

// Streams that are opened and reset at once, by hundreds (CVE-2023-44487).
void RapidReset(const HostileTarget& target, uint64_t /*seed*/) {
  constexpr uint32_t kStreams = 600;
  RawConnection connection(target.address);
  std::string words = Http2Preface();
  for (uint32_t i = 0; i < kStreams; ++i) {
    const uint32_t stream = 2 * i + 1;
    words += StartCall(stream, kMethods[i % std::size(kMethods)]);
    words += Http2Frame(FrameType::kResetStream, 0, stream, std::string("\0\0\0\x08", 4));
  }
  connection.Send(words);
  connection.Receive(milliseconds(20));
}

// Well framed calls of every method with bytes that are no message, or almost one.
void MalformedProtobuf(const HostileTarget& target, uint64_t seed) {
  Random random(seed);
  RawConnection connection(target.address);
  std::string words = Http2Preface();
  uint32_t stream = 1;
  for (const std::string_view method : kMethods) {
    for (int i = 0; i < 4; ++i, stream += 2) {
      std::string message =
          i % 2 == 0 ? ReadRequest(target) : RandomBytes(random, 1 + random() % 200);
      for (size_t flips = random() % 4; flips > 0; --flips) {
        message[random() % message.size()] ^= static_cast<char>(1U << (random() % 8));
      }
      words += StartCall(stream, method);
      words += Http2Frame(FrameType::kData, kEndStream, stream, GrpcMessage(message));
    }
  }
  connection.Send(words);
  connection.Receive(milliseconds(50));
}

// Calls of every kind, cancelled while they run.
void CancelStorm(const HostileTarget& target, uint64_t seed) {
  constexpr int kCalls = 60;
  Random random(seed);
  const auto channel = NewChannel(target.address);
  const auto contexts = pb::ContextService::NewStub(channel);
  const auto sessions = pb::SessionService::NewStub(channel);
  for (int i = 0; i < kCalls; ++i) {
    grpc::ClientContext call;
    call.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
    const auto pause = std::chrono::microseconds(random() % 2000);
    if (i % 3 == 0) {
      pb::ReadContextRequest request;
      request.set_context_id(target.context_id);
      const auto reader = contexts->ReadContext(&call, request);
      std::this_thread::sleep_for(pause);
      call.TryCancel();
      reader->Finish();
    } else if (i % 3 == 1) {
      const auto stream = sessions->Attend(&call);
      pb::AttendRequest request;
      request.add_items()->set_session_id("none");
      for (int n = 0; n < 8; ++n) stream->Write(request);
      std::this_thread::sleep_for(pause);
      call.TryCancel();
      stream->Finish();
    } else {
      pb::ImportContextResponse response;
      const auto writer = contexts->ImportContext(&call, &response);
      pb::ImportContextRequest request;
      request.mutable_header()->set_model("none");
      writer->Write(request);
      std::this_thread::sleep_for(pause);
      call.TryCancel();
      writer->Finish();
    }
  }
}

// Calls that have a millisecond, of which most is over when they arrive.
void TinyDeadlines(const HostileTarget& target, uint64_t /*seed*/) {
  constexpr int kCalls = 120;
  const auto channel = NewChannel(target.address);
  const auto contexts = pb::ContextService::NewStub(channel);
  const auto sessions = pb::SessionService::NewStub(channel);
  const auto admin = pb::AdminService::NewStub(channel);
  for (int i = 0; i < kCalls; ++i) {
    grpc::ClientContext call;
    call.set_deadline(std::chrono::system_clock::now() + milliseconds(1));
    switch (i % 4) {
      case 0: {
        pb::CreateSessionRequest request;
        request.set_context_id(target.context_id);
        pb::CreateSessionResponse response;
        sessions->CreateSession(&call, request, &response);
        break;
      }
      case 1: {
        pb::ReadContextRequest request;
        request.set_context_id(target.context_id);
        contexts->ReadContext(&call, request)->Finish();
        break;
      }
      case 2: {
        const auto stream = sessions->Attend(&call);
        pb::AttendRequest request;
        request.add_items()->set_session_id("none");
        stream->Write(request);
        stream->WritesDone();
        stream->Finish();
        break;
      }
      default: {
        pb::GetStatsResponse response;
        admin->GetStats(&call, pb::GetStatsRequest(), &response);
      }
    }
  }
}

// Asks for a whole context several times, and is stopped (SIGSTOP) while it reads.
void StoppedReader(const HostileTarget& target, uint64_t /*seed*/) {
  constexpr uint32_t kCalls = 16;
  constexpr std::string_view kWideWindow = "\x3f\xff\xff\xff";
  std::string words = Http2Preface() + Http2Frame(FrameType::kWindowUpdate, 0, 0, kWideWindow);
  const std::string message = GrpcMessage(ReadRequest(target));
  for (uint32_t i = 0; i < kCalls; ++i) {
    words += StartCall(2 * i + 1, kRead);
    words += Http2Frame(FrameType::kData, kEndStream, 2 * i + 1, message);
    words += Http2Frame(FrameType::kWindowUpdate, 0, 2 * i + 1, kWideWindow);
  }
  const pid_t child = fork();
  if (child < 0) return;
  if (child == 0) {
    // It would keep the connections of this process open.
    close_range(STDERR_FILENO + 1, ~0U, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    RawConnection connection(target.address);
    connection.Send(words);
    connection.Receive(milliseconds(2000));
    _exit(0);
  }
  std::this_thread::sleep_for(milliseconds(30));
  kill(child, SIGSTOP);
  std::this_thread::sleep_for(milliseconds(350));
  kill(child, SIGCONT);
  std::this_thread::sleep_for(milliseconds(20));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

void IdleStreams(const HostileTarget& target, uint64_t /*seed*/) {
  const auto connections = OpenIdleStreams(target.address, 400, 100);
  std::this_thread::sleep_for(milliseconds(200));
}

constexpr HostileClient kClients[] = {
    {"slow-loris", SlowLoris},
    {"half-open connections", HalfOpen},
    {"reset in mid-message", ResetInMessage},
    {"malformed HTTP/2", MalformedHttp2},
    {"rapid reset", RapidReset},
    {"malformed protobuf", MalformedProtobuf},
    {"cancel storm", CancelStorm},
    {"deadlines of 1 ms", TinyDeadlines},
    {"stopped reader", StoppedReader},
    {"idle streams", IdleStreams},
};

}  // namespace

std::span<const HostileClient> HostileClients() { return kClients; }

std::vector<RawConnection> OpenIdleStreams(const std::string& address, size_t count,
                                           size_t per_connection) {
  std::vector<RawConnection> connections;
  for (size_t begin = 0; begin < count; begin += per_connection) {
    RawConnection& connection = connections.emplace_back(address);
    std::string words = Http2Preface();
    const size_t here = std::min(per_connection, count - begin);
    for (size_t i = 0; i < here; ++i) {
      words += StartCall(static_cast<uint32_t>(2 * i + 1), kAttend);
    }
    connection.Send(words);
  }
  return connections;
}

}  // namespace alaya
