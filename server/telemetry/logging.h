// The server's log: one line per event on standard error, for people or as JSON.
//
// Events have a fixed name and fields; never tokens, keys or values of a context.

#ifndef ALAYA_SERVER_TELEMETRY_LOGGING_H_
#define ALAYA_SERVER_TELEMETRY_LOGGING_H_

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "storage/context/context_store.h"

namespace spdlog {
class logger;
}  // namespace spdlog

namespace alaya {

// The numbers equal those of the API's LogLevel.
enum class LogLevel : uint8_t { kTrace = 1, kDebug = 2, kInfo = 3, kWarning = 4, kError = 5 };
std::string_view Name(LogLevel level);

enum class LogFormat : uint8_t { kText, kJson };

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kText;
  // Calls, and items of an Attend stream, that take longer are logged as warnings.
  std::chrono::milliseconds slow_call{1000};
};

struct LogField {
  std::string_view key;
  std::variant<std::string_view, int64_t, uint64_t, double, bool> value;
};

// Threads: any.
class EventLog {
 public:
  explicit EventLog(LogOptions options);
  // Writes to a file instead, for tests. `file` must outlive the log.
  EventLog(LogOptions options, std::FILE* file);
  ~EventLog();

  void Write(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});
  void Write(LogLevel level, std::string_view event, std::span<const LogField> fields);
  bool enabled(LogLevel level) const;

  // Returns the level before.
  LogLevel SetLevel(LogLevel level);

  // For storage, which knows no logs; the result must not outlive this.
  StorageLog ForStorage();

 private:
  std::shared_ptr<spdlog::logger> logger_;
  const LogFormat format_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_TELEMETRY_LOGGING_H_
