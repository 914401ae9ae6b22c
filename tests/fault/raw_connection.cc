#include "tests/fault/raw_connection.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace alaya {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kSendTimeoutMs = 200;

int MillisecondsUntil(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return left.count() < 0 ? 0 : static_cast<int>(left.count());
}

void AppendUint(uint32_t value, int bytes, std::string* out) {
  for (int i = bytes - 1; i >= 0; --i) out->push_back(static_cast<char>(value >> (8 * i)));
}

// A header as HPACK writes it without any table.
void AppendHeader(std::string_view name, std::string_view value, std::string* out) {
  out->push_back(0);
  AppendUint(static_cast<uint32_t>(name.size()), 1, out);
  out->append(name);
  AppendUint(static_cast<uint32_t>(value.size()), 1, out);
  out->append(value);
}

}  // namespace

RawConnection::RawConnection(const std::string& address) {
  const size_t colon = address.rfind(':');
  sockaddr_in peer{};
  peer.sin_family = AF_INET;
  peer.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(colon + 1))));
  if (inet_pton(AF_INET, address.substr(0, colon).c_str(), &peer.sin_addr) != 1) return;
  socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket_ < 0) return;
  // Bounds connect as well.
  const timeval timeout{.tv_sec = 2, .tv_usec = 0};
  setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
  const int on = 1;
  setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (connect(socket_, reinterpret_cast<const sockaddr*>(&peer), sizeof(peer)) != 0) {
    close(std::exchange(socket_, -1));
    return;
  }
  fcntl(socket_, F_SETFL, O_NONBLOCK);
}

RawConnection::~RawConnection() {
  if (socket_ >= 0) close(socket_);
}

bool RawConnection::Send(std::string_view bytes) {
  while (!bytes.empty() && connected()) {
    const ssize_t sent = send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
      continue;
    }
    if (errno != EAGAIN) return false;
    pollfd writable{socket_, POLLOUT, 0};
    if (poll(&writable, 1, kSendTimeoutMs) <= 0) return true;  // it does not read
  }
  return connected();
}

std::string RawConnection::Receive(std::chrono::milliseconds timeout) {
  std::string received;
  std::array<char, 16384> buffer;
  while (connected()) {
    pollfd readable{socket_, POLLIN, 0};
    if (poll(&readable, 1, static_cast<int>(timeout.count())) <= 0) break;
    const ssize_t count = recv(socket_, buffer.data(), buffer.size(), 0);
    if (count <= 0) break;
    received.append(buffer.data(), static_cast<size_t>(count));
  }
  return received;
}

bool RawConnection::WaitUntilClosed(std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  std::array<char, 16384> buffer;
  while (connected()) {
    pollfd readable{socket_, POLLIN, 0};
    if (poll(&readable, 1, MillisecondsUntil(deadline)) <= 0) return false;
    const ssize_t count = recv(socket_, buffer.data(), buffer.size(), 0);
    if (count == 0 || (count < 0 && errno != EAGAIN)) return true;
    if (Clock::now() > deadline) return false;
  }
  return true;
}

void RawConnection::Reset() {
  if (!connected()) return;
  const linger reset{.l_onoff = 1, .l_linger = 0};
  setsockopt(socket_, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  close(std::exchange(socket_, -1));
}

std::string Http2Preface() {
  return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Http2Frame(FrameType::kSettings, 0, 0, "");
}

std::string Http2Frame(FrameType type, uint8_t flags, uint32_t stream, std::string_view payload) {
  std::string frame;
  AppendUint(static_cast<uint32_t>(payload.size()), 3, &frame);
  AppendUint(static_cast<uint32_t>(type), 1, &frame);
  AppendUint(flags, 1, &frame);
  AppendUint(stream, 4, &frame);
  return frame.append(payload);
}

std::string CallHeaders(std::string_view path) {
  std::string block;
  AppendHeader(":method", "POST", &block);
  AppendHeader(":scheme", "http", &block);
  AppendHeader(":path", path, &block);
  AppendHeader(":authority", "localhost", &block);
  AppendHeader("content-type", "application/grpc", &block);
  AppendHeader("te", "trailers", &block);
  return block;
}

std::string StartCall(uint32_t stream, std::string_view path) {
  return Http2Frame(FrameType::kHeaders, kEndHeaders, stream, CallHeaders(path));
}

std::string GrpcMessage(std::string_view message) {
  std::string framed(1, '\0');
  AppendUint(static_cast<uint32_t>(message.size()), 4, &framed);
  return framed.append(message);
}

}  // namespace alaya
