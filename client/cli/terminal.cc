#include "client/cli/terminal.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <ctime>
#include <utility>

#include "fmt/format.h"

namespace alaya::client {
namespace {

constexpr size_t kProgressWidth = 100;
constexpr std::chrono::milliseconds kDrawInterval{100};

std::string Padded(const std::string& text, size_t width, bool right_aligned) {
  return right_aligned ? fmt::format("{:>{}}", text, width) : fmt::format("{:<{}}", text, width);
}

}  // namespace

std::string BytesText(uint64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  // 1023.95 would print as 1024.0.
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string CountText(uint64_t count) {
  std::string text = std::to_string(count);
  for (size_t end = text.size(); end > 3; end -= 3) text.insert(end - 3, 1, ',');
  return text;
}

std::string SecondsText(double seconds) {
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1e3);
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<uint64_t>(seconds);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
  return fmt::format("{} d {} h", whole / 86400, whole % 86400 / 3600);
}

std::string MicrosecondsText(double microseconds) {
  if (microseconds < 1e3) return fmt::format("{:.1f} us", microseconds);
  if (microseconds < 1e6) return fmt::format("{:.2f} ms", microseconds / 1e3);
  return fmt::format("{:.2f} s", microseconds / 1e6);
}

std::string FixedText(double value, int decimal_count) {
  return fmt::format("{:.{}f}", value, decimal_count);
}

std::string PercentText(double part, double whole) {
  return whole > 0 ? fmt::format("{:.1f} %", 100 * part / whole) : "-";
}

std::string TimeText(int64_t unix_seconds) {
  const auto time = static_cast<std::time_t>(unix_seconds);
  std::tm parts = {};
  if (gmtime_r(&time, &parts) == nullptr) return "-";
  std::array<char, 64> text;
  const size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%SZ", &parts);
  return {text.data(), length};
}

Table::Table(std::vector<std::string> headings) : headings_(std::move(headings)) {
  for (std::string& heading : headings_) {
    right_aligned_.push_back(heading.starts_with('>'));
    if (right_aligned_.back()) heading.erase(0, 1);
  }
}

void Table::AddRow(std::vector<std::string> cells) {
  assert(cells.size() == headings_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::Text() const {
  std::vector<size_t> widths;
  for (size_t column = 0; column < headings_.size(); ++column) {
    size_t width = headings_[column].size();
    for (const auto& row : rows_) width = std::max(width, row[column].size());
    widths.push_back(width);
  }
  std::string text;
  const auto append_line = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (size_t column = 0; column < cells.size(); ++column) {
      if (column > 0) line += "  ";
      line += Padded(cells[column], widths[column], right_aligned_[column]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  };
  append_line(headings_);
  for (const auto& row : rows_) append_line(row);
  return text;
}

std::string FieldsText(const std::vector<std::pair<std::string, std::string>>& fields) {
  size_t width = 0;
  for (const auto& [name, value] : fields) width = std::max(width, name.size() + 1);
  std::string text;
  for (const auto& [name, value] : fields) {
    std::string line = fmt::format("{:<{}}  {}", name + ":", width, value);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  return text;
}

std::string ProgressText(std::string_view label, uint64_t done_bytes, uint64_t total_bytes,
                         double elapsed_seconds, size_t width) {
  const double fraction =
      total_bytes == 0
          ? 1
          : std::min(1.0, static_cast<double>(done_bytes) / static_cast<double>(total_bytes));
  const double rate = elapsed_seconds > 0 ? static_cast<double>(done_bytes) / elapsed_seconds : 0;
  std::string figures = fmt::format("{:3.0f} %  {} of {}", std::floor(100 * fraction),
                                    BytesText(done_bytes), BytesText(total_bytes));
  if (rate > 0) {
    figures += fmt::format("  {}/s", BytesText(static_cast<uint64_t>(rate)));
    const double left_seconds =
        static_cast<double>(total_bytes - std::min(done_bytes, total_bytes)) / rate;
    figures += fraction < 1 ? fmt::format("  {} left", SecondsText(left_seconds))
                            : fmt::format("  in {}", SecondsText(elapsed_seconds));
  }
  // The bar takes what room is left; without room for a useful one there is none.
  constexpr size_t kBarWidthMin = 8;
  constexpr size_t kFrameWidth = 5;  // " [" + "]  "
  const size_t taken = label.size() + kFrameWidth + figures.size();
  std::string line(label);
  if (taken + kBarWidthMin <= width) {
    const size_t bar_width = std::min<size_t>(width - taken, 40);
    const auto filled = static_cast<size_t>(fraction * static_cast<double>(bar_width));
    line += fmt::format(" [{}{}]  {}", std::string(filled, '#'),
                        std::string(bar_width - filled, '.'), figures);
  } else {
    line += " " + figures;
  }
  return line.substr(0, width);
}

ProgressBar::ProgressBar(std::ostream& terminal, bool visible, std::string label,
                         uint64_t total_bytes, Clock clock)
    : terminal_(terminal),
      visible_(visible),
      label_(std::move(label)),
      total_bytes_(total_bytes),
      clock_(std::move(clock)),
      start_(clock_()),
      last_draw_(start_) {}

ProgressBar::~ProgressBar() {
  if (!drawn_) return;
  Draw(clock_());
  terminal_ << '\n' << std::flush;
}

void ProgressBar::Update(uint64_t done_bytes) {
  done_bytes_ = done_bytes;
  if (!visible_) return;
  const auto now = clock_();
  if (drawn_ && now - last_draw_ < kDrawInterval) return;
  Draw(now);
}

void ProgressBar::Draw(std::chrono::steady_clock::time_point now) {
  constexpr std::string_view kEraseLine = "\r\x1b[K";
  const std::chrono::duration<double> elapsed = now - start_;
  terminal_ << kEraseLine
            << ProgressText(label_, done_bytes_, total_bytes_, elapsed.count(), kProgressWidth)
            << std::flush;
  last_draw_ = now;
  drawn_ = true;
}

}  // namespace alaya::client
