// What people see: tables, quantities with units, a progress bar.

#ifndef ALAYA_CLIENT_CLI_TERMINAL_H_
#define ALAYA_CLIENT_CLI_TERMINAL_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace alaya::client {

std::string BytesText(uint64_t bytes);              // "512 B", "1.5 GiB"
std::string CountText(uint64_t count);              // "32,768"
std::string SecondsText(double seconds);            // "350 ms", "42.0 s", "3 min 20 s", "2 h 5 min"
std::string MicrosecondsText(double microseconds);  // "87.3 us", "1.52 ms", "2.10 s"
std::string FixedText(double value, int decimal_count);  // "0.012"
std::string PercentText(double part, double whole);      // "12.5 %"; "-" of nothing
std::string TimeText(int64_t unix_seconds);              // "2026-01-31 12:00:00Z"

// Columns under a heading, as wide as their widest cell.
class Table {
 public:
  // A heading that begins with '>' makes its column right-aligned.
  explicit Table(std::vector<std::string> headings);
  // Requires: one cell per heading.
  void AddRow(std::vector<std::string> cells);
  size_t row_count() const { return rows_.size(); }
  // Lines, each with its end; without rows only the heading.
  std::string Text() const;

 private:
  std::vector<std::string> headings_;
  std::vector<bool> right_aligned_;
  std::vector<std::vector<std::string>> rows_;
};

// "Name:   value" lines, the values aligned.
std::string FieldsText(const std::vector<std::pair<std::string, std::string>>& fields);

// One line of a progress bar that is at most `width` columns wide; no line end.
// `elapsed_seconds` gives the rate and the time to go.
std::string ProgressText(std::string_view label, uint64_t done_bytes, uint64_t total_bytes,
                         double elapsed_seconds, size_t width);

// Draws progress over itself on a terminal, at most ten times a second.
class ProgressBar {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;

  // Not `visible`: prints nothing at all.
  ProgressBar(std::ostream& terminal, bool visible, std::string label, uint64_t total_bytes,
              Clock clock = std::chrono::steady_clock::now);
  // Ends the line.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void Update(uint64_t done_bytes);

 private:
  void Draw(std::chrono::steady_clock::time_point now);

  std::ostream& terminal_;
  const bool visible_;
  const std::string label_;
  const uint64_t total_bytes_;
  const Clock clock_;
  const std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_draw_;
  uint64_t done_bytes_ = 0;
  bool drawn_ = false;
};

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CLI_TERMINAL_H_
