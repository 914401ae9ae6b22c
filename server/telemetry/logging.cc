// Text:  2026-01-31T12:00:00.123Z INFO serving grpc=127.0.0.1:50600
// JSON:
// {"time":"2026-01-31T12:00:00.123Z","level":"info","event":"serving","grpc":"127.0.0.1:50600"}

#include "server/telemetry/logging.h"

#include <atomic>
#include <cstdio>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "spdlog/pattern_formatter.h"
#include "spdlog/sinks/base_sink.h"
#include "spdlog/spdlog.h"

namespace alaya {
namespace {

// One write call per line, so that lines of several processes do not mix.
class FileSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit FileSink(std::FILE* file) : file_(file) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    std::fwrite(line.data(), 1, line.size(), file_);
    std::fflush(file_);
  }
  void flush_() override { std::fflush(file_); }

  std::FILE* const file_;
};

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace:
      return spdlog::level::trace;
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

LogLevel FromSpdlog(spdlog::level::level_enum level) {
  for (const LogLevel candidate : {LogLevel::kTrace, LogLevel::kDebug, LogLevel::kInfo,
                                   LogLevel::kWarning, LogLevel::kError}) {
    if (ToSpdlog(candidate) == level) return candidate;
  }
  return LogLevel::kInfo;
}

LogLevel FromStorage(StorageLogLevel level) {
  switch (level) {
    case StorageLogLevel::kDebug:
    case StorageLogLevel::kInfo:  // RocksDB tells its life at this level.
      return LogLevel::kDebug;
    case StorageLogLevel::kWarning:
      return LogLevel::kWarning;
    case StorageLogLevel::kError:
      return LogLevel::kError;
  }
  return LogLevel::kInfo;
}

std::string JsonText(const nlohmann::json& value) {
  // Bytes that are not UTF-8 become the replacement character.
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

nlohmann::json ToJson(const LogField& field) {
  return std::visit(
      [](const auto& value) -> nlohmann::json {
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::string_view>) {
          return std::string(value);
        } else {
          return value;
        }
      },
      field.value);
}

// Plain words as they are; anything that would break key=value or the line is quoted.
std::string TextValue(const LogField& field) {
  const auto* text = std::get_if<std::string_view>(&field.value);
  if (text == nullptr) return JsonText(ToJson(field));
  for (const char c : *text) {
    const bool plain = c > ' ' && c != '"' && c != '=' && c != '\\' && c != '\x7f';
    if (!plain) return JsonText(ToJson(field));
  }
  return text->empty() ? "\"\"" : std::string(*text);
}

std::string Line(LogFormat format, std::string_view level_name, std::string_view event,
                 std::span<const LogField> fields) {
  std::string line;
  if (format == LogFormat::kText) {
    line.append(level_name).append(" ").append(event);
    for (const LogField& field : fields) {
      line.append(" ").append(field.key).append("=").append(TextValue(field));
    }
    return line;
  }
  line.append("\"level\":\"")
      .append(level_name)
      .append("\",\"event\":\"")
      .append(event)
      .append("\"");
  for (const LogField& field : fields) {
    line.append(",\"").append(field.key).append("\":").append(JsonText(ToJson(field)));
  }
  return line;
}

}  // namespace

std::string_view Name(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace:
      return "trace";
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "unknown";
}

EventLog::EventLog(LogOptions options) : EventLog(options, stderr) {}

EventLog::EventLog(LogOptions options, std::FILE* file)
    : logger_(std::make_shared<spdlog::logger>("alayadb", std::make_shared<FileSink>(file))),
      format_(options.format) {
  const char* pattern = format_ == LogFormat::kText ? "%Y-%m-%dT%H:%M:%S.%eZ %v"
                                                    : R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ",%v})";
  logger_->set_formatter(
      std::make_unique<spdlog::pattern_formatter>(pattern, spdlog::pattern_time_type::utc));
  logger_->set_level(ToSpdlog(options.level));
}

EventLog::~EventLog() = default;

bool EventLog::enabled(LogLevel level) const { return logger_->should_log(ToSpdlog(level)); }

void EventLog::Write(LogLevel level, std::string_view event,
                     std::initializer_list<LogField> fields) {
  Write(level, event, std::span<const LogField>(fields.begin(), fields.size()));
}

void EventLog::Write(LogLevel level, std::string_view event, std::span<const LogField> fields) {
  if (!enabled(level)) return;
  logger_->log(ToSpdlog(level), "{}", Line(format_, Name(level), event, fields));
}

LogLevel EventLog::SetLevel(LogLevel level) {
  const LogLevel previous = FromSpdlog(logger_->level());
  logger_->set_level(ToSpdlog(level));
  return previous;
}

StorageLog EventLog::ForStorage() {
  return [this](StorageLogLevel level, std::string_view message) {
    Write(FromStorage(level), "storage", {{"message", message}});
  };
}

}  // namespace alaya
