// Whether the server takes traffic, and if not, why.

#ifndef ALAYA_SERVER_TELEMETRY_READINESS_H_
#define ALAYA_SERVER_TELEMETRY_READINESS_H_

#include <atomic>
#include <cstdint>
#include <string_view>

namespace alaya {

// Threads: any.
class Readiness {
 public:
  enum class State : uint8_t { kStarting, kReady, kDraining };

  void Set(State state) { state_ = state; }
  State state() const { return state_; }
  bool ready() const { return state_ == State::kReady; }
  std::string_view reason() const {
    switch (state_) {
      case State::kStarting:
        return "starting";
      case State::kReady:
        return "ready";
      case State::kDraining:
        return "draining";
    }
    return "unknown";
  }

 private:
  std::atomic<State> state_{State::kStarting};
};

}  // namespace alaya

#endif  // ALAYA_SERVER_TELEMETRY_READINESS_H_
