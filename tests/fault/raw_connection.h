// A TCP connection that can say anything, and the words of HTTP/2 and gRPC to say it with.

#ifndef ALAYA_TESTS_FAULT_RAW_CONNECTION_H_
#define ALAYA_TESTS_FAULT_RAW_CONNECTION_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace alaya {

// Move-only. Sending to a peer that is gone, or that does not read, is no error.
class RawConnection {
 public:
  // `address` is "127.0.0.1:PORT"; not connected if nobody accepts.
  explicit RawConnection(const std::string& address);
  RawConnection(RawConnection&& other) noexcept : socket_(std::exchange(other.socket_, -1)) {}
  RawConnection& operator=(RawConnection&& other) noexcept {
    std::swap(socket_, other.socket_);
    return *this;
  }
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;
  ~RawConnection();

  bool connected() const { return socket_ >= 0; }
  // False once the peer has closed.
  bool Send(std::string_view bytes);
  // What came until `timeout` passed without more, or the peer closed.
  std::string Receive(std::chrono::milliseconds timeout);
  // Waits until the peer closes; false after `timeout`.
  bool WaitUntilClosed(std::chrono::milliseconds timeout);
  // Ends the connection with RST: what was sent and not yet read is lost.
  void Reset();

 private:
  int socket_ = -1;
};

enum class FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kResetStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};

inline constexpr uint8_t kEndStream = 1;
inline constexpr uint8_t kEndHeaders = 4;

// The client's preface and empty settings.
std::string Http2Preface();
std::string Http2Frame(FrameType type, uint8_t flags, uint32_t stream, std::string_view payload);
// The header block of a gRPC call of "/package.Service/Method".
std::string CallHeaders(std::string_view path);
// HEADERS of such a call.
std::string StartCall(uint32_t stream, std::string_view path);
// A message with gRPC's five bytes before it.
std::string GrpcMessage(std::string_view message);

}  // namespace alaya

#endif  // ALAYA_TESTS_FAULT_RAW_CONNECTION_H_
