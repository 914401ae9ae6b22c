#include "client/cli/heatmap.h"

#include <fmt/format.h>
#include <png.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <string_view>

#include "client/cli/terminal.h"

namespace alaya::client {
namespace {

// Less than this is as good as nothing.
constexpr double kFaintestShare = 0.001;
// From the least share of each on.
constexpr std::array<std::string_view, 6> kShades = {" ", "·", "░", "▒", "▓", "█"};
constexpr std::array<double, 5> kShadeShares = {1e-9, kFaintestShare, 0.01, 0.05, 0.25};

constexpr size_t kCellHeight = 12;  // pixels
constexpr size_t kImageWidthMin = 800;

struct Colour {
  double red, green, blue;
};
// Dark to bright: readable in grey and by the colour-blind (viridis).
constexpr Colour kColours[] = {
    {68, 1, 84}, {59, 82, 139}, {33, 145, 140}, {94, 201, 98}, {253, 231, 37}};

std::string_view ShadeOf(double share) {
  const auto above = std::ranges::upper_bound(kShadeShares, share);
  return kShades[static_cast<size_t>(std::distance(kShadeShares.begin(), above))];
}

// By powers of ten, as most heads have a few large weights and many small ones.
std::array<uint8_t, 3> ColourOf(double share) {
  if (share <= 0) return {0, 0, 0};
  const double last = std::size(kColours) - 1;
  const double bright = 1 - std::log10(share) / std::log10(kFaintestShare);
  const double place = std::clamp(bright, 0.0, 1.0) * last;
  const auto below = static_cast<size_t>(std::min(place, last - 1));
  const double part = place - static_cast<double>(below);
  const auto mix = [&](double Colour::*channel) {
    return static_cast<uint8_t>(
        std::lround((1 - part) * kColours[below].*channel + part * kColours[below + 1].*channel));
  };
  return {mix(&Colour::red), mix(&Colour::green), mix(&Colour::blue)};
}

}  // namespace

Heatmap MakeHeatmap(const pb::SearchContextResponse& response, uint32_t num_query_heads,
                    double scale, uint64_t token_count, size_t columns) {
  Heatmap heatmap;
  heatmap.token_count = token_count;
  heatmap.columns = std::min<size_t>(columns, token_count);
  for (int i = 0; i < response.heads_size(); ++i) {
    const pb::SearchContextResponse::Head& head = response.heads(i);
    const auto place = static_cast<uint32_t>(i);
    Heatmap::Row row;
    row.query = place / num_query_heads;
    row.head = place % num_query_heads;
    row.shares.resize(heatmap.columns);
    double sum = 0;
    for (int hit = 0; hit < std::min(head.tokens_size(), head.scores_size()); ++hit) {
      if (head.tokens(hit) >= token_count) continue;
      // The best token comes first.
      const double weight = std::exp(scale * (double{head.scores(hit)} - double{head.scores(0)}));
      row.shares[head.tokens(hit) * heatmap.columns / token_count] += weight;
      sum += weight;
    }
    for (double& share : row.shares) share = sum > 0 ? share / sum : 0;
    heatmap.rows.push_back(std::move(row));
  }
  return heatmap;
}

std::string HeatmapText(const Heatmap& heatmap) {
  std::string text;
  for (const Heatmap::Row& row : heatmap.rows) {
    text += fmt::format("query {:>3} head {:>3} |", row.query, row.head);
    for (const double share : row.shares) text += ShadeOf(share);
    text += "|\n";
  }
  const std::string last = CountText(heatmap.token_count);
  const size_t width = std::max(heatmap.columns, last.size() + 1);
  text += fmt::format("{:>18}0{:>{}}\n", "token ", last, width);
  text += fmt::format("{} a column: {:.0f} tokens; of a head's attention:", std::string(18, ' '),
                      static_cast<double>(heatmap.token_count) /
                          static_cast<double>(std::max<size_t>(heatmap.columns, 1)));
  text += " · some";
  for (size_t i = 2; i < kShades.size(); ++i) {
    text += fmt::format("  {} {:g} %", kShades[i], 100 * kShadeShares[i - 1]);
  }
  return text + "\n";
}

Status WriteHeatmapPng(const Heatmap& heatmap, const std::string& path) {
  const size_t cell_width =
      std::max<size_t>(1, kImageWidthMin / std::max<size_t>(heatmap.columns, 1));
  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  image.format = PNG_FORMAT_RGB;
  image.width = static_cast<png_uint_32>(cell_width * heatmap.columns);
  image.height = static_cast<png_uint_32>(kCellHeight * heatmap.rows.size());
  std::vector<uint8_t> pixels;
  pixels.reserve(size_t{3} * image.width * image.height);
  for (const Heatmap::Row& row : heatmap.rows) {
    for (size_t line = 0; line < kCellHeight; ++line) {
      for (const double share : row.shares) {
        // A dark line parts the heads.
        const auto colour = ColourOf(line + 1 == kCellHeight ? 0 : share);
        for (size_t x = 0; x < cell_width; ++x) {
          pixels.insert(pixels.end(), colour.begin(), colour.end());
        }
      }
    }
  }
  if (png_image_write_to_file(&image, path.c_str(), 0, pixels.data(), 0, nullptr) == 0) {
    return InvalidArgument("cannot write the picture " + path + ": " + image.message);
  }
  return OkStatus();
}

}  // namespace alaya::client
