// Integers and floats are little-endian.
//
// Block 0, 24 + 8 * head_dim bytes:
//
//   offset  field           type
//   0       magic           u32  "ACO1"
//   4       version         u16  1
//   6       reserved        u16  0
//   8       token_count     u32
//   12      head_dim        u32
//   16      stretch_tokens  u32
//   20      reserved        u32  0
//   24      lowest          f32  * head_dim
//   ...     step            f32  * head_dim
//
// Blocks 1, 2, ...: rows of 2 * head_dim bytes, one per stretch of stretch_tokens
// tokens, as many as fit 65,536 bytes: of every channel an upper bound of its elements
// in the stretch, then of every channel a lower bound. Byte b stands for
// lowest + b * step.

#include "index/coarse/stretch_bounds.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "index/coarse/byte_row_scores.h"
#include "index/kernels/encoding.h"

namespace alaya {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr uint32_t kMagic = 0x314F4341;  // "ACO1"
constexpr uint16_t kVersion = 1;
constexpr uint32_t kStretchTokensMax = 4096;
constexpr uint32_t kTokenCountMax = uint32_t{1} << 31;
constexpr uint32_t kHeadDimMax = 4096;
constexpr double kByteMax = 255;
constexpr float kFloatMax = std::numeric_limits<float>::max();

struct StoredHeader {
  uint32_t magic = kMagic;
  uint16_t version = kVersion;
  uint16_t reserved = 0;
  uint32_t token_count = 0;
  uint32_t head_dim = 0;
  uint32_t stretch_tokens = 0;
  uint32_t reserved_2 = 0;
};
static_assert(sizeof(StoredHeader) == 24);
static_assert(sizeof(StoredHeader) + size_t{2} * kHeadDimMax * sizeof(float) <=
              kIndexBlockBytesMax);

Status Damaged(std::string_view what) {
  return DataLoss(std::string("coarse blocks: ") + std::string(what));
}

// Bounds of all stretches as floats: [stretch_count, head_dim] each.
struct FloatBounds {
  std::vector<float> upper;
  std::vector<float> lower;
};

StatusOr<FloatBounds> FindBounds(const KvReader& reader, const CoarseBuildOptions& options,
                                 size_t stretch_count) {
  const size_t d = reader.head_dim();
  FloatBounds bounds{std::vector<float>(stretch_count * d, -kFloatMax),
                     std::vector<float>(stretch_count * d, kFloatMax)};
  std::vector<float> key(d);
  for (size_t b = 0; b < reader.block_count(); ++b) {
    if (options.should_stop && options.should_stop()) {
      return MakeError(StatusCode::kCancelled, "index build cancelled");
    }
    ALAYA_ASSIGN_OR_RETURN(const PinnedRows block, reader.ReadBlock(KvKind::kKey, b));
    for (size_t i = 0; i < block.rows.rows; ++i) {
      DecodeElements(block.rows.dtype, {block.rows.row(i), block.rows.row_bytes()}, key);
      const size_t row = (b * reader.block_tokens() + i) / options.stretch_tokens * d;
      for (size_t c = 0; c < d; ++c) {
        bounds.upper[row + c] = std::max(bounds.upper[row + c], key[c]);
        bounds.lower[row + c] = std::min(bounds.lower[row + c], key[c]);
      }
    }
  }
  return bounds;
}

// Steps of one channel's bytes: 255 of them reach from the lowest element to the highest.
void ChooseSteps(const FloatBounds& bounds, StretchHeader* header) {
  const size_t d = header->head_dim;
  header->lowest.assign(d, 0);
  header->step.assign(d, 0);
  for (size_t c = 0; c < d && !bounds.upper.empty(); ++c) {
    float low = kFloatMax;
    float high = -kFloatMax;
    for (size_t row = 0; row < bounds.upper.size(); row += d) {
      low = std::min(low, bounds.lower[row + c]);
      high = std::max(high, bounds.upper[row + c]);
    }
    auto step = static_cast<float>((double{high} - double{low}) / kByteMax);
    while (double{low} + kByteMax * double{step} < double{high}) {
      step = std::nextafter(step, kFloatMax);
    }
    header->lowest[c] = low;
    header->step[c] = step;
  }
}

// The byte next to a value, rounded down or up.
uint8_t ByteOf(double value, double lowest, double step, bool round_up) {
  if (step == 0) return 0;
  const double exact = (value - lowest) / step;
  double byte = std::clamp(round_up ? std::ceil(exact) : std::floor(exact), 0.0, kByteMax);
  // The division may have rounded to the wrong side.
  if (round_up && byte < kByteMax && lowest + byte * step < value) ++byte;
  if (!round_up && byte > 0 && lowest + byte * step > value) --byte;
  return static_cast<uint8_t>(byte);
}

Status WriteHeader(const StretchHeader& header, const IndexBlockSink& sink) {
  StoredHeader stored;
  stored.token_count = header.token_count;
  stored.head_dim = header.head_dim;
  stored.stretch_tokens = header.stretch_tokens;
  const size_t channel_bytes = header.lowest.size() * sizeof(float);
  std::vector<std::byte> block(sizeof(stored) + 2 * channel_bytes);
  std::memcpy(block.data(), &stored, sizeof(stored));
  std::memcpy(block.data() + sizeof(stored), header.lowest.data(), channel_bytes);
  std::memcpy(block.data() + sizeof(stored) + channel_bytes, header.step.data(), channel_bytes);
  return sink(block);
}

}  // namespace

Status BuildStretchBounds(const KvReader& reader, const CoarseBuildOptions& options,
                          const IndexBlockSink& sink) {
  if (options.stretch_tokens < 1 || options.stretch_tokens > kStretchTokensMax) {
    return InvalidArgument("stretch_tokens " + std::to_string(options.stretch_tokens) +
                           ": must be 1 to " + std::to_string(kStretchTokensMax));
  }
  if (reader.token_count() > kTokenCountMax || reader.head_dim() > kHeadDimMax) {
    return InvalidArgument("coarse index of " + std::to_string(reader.token_count()) +
                           " tokens of " + std::to_string(reader.head_dim()) +
                           " elements: at most " + std::to_string(kTokenCountMax) + " of " +
                           std::to_string(kHeadDimMax));
  }
  StretchHeader header;
  header.token_count = static_cast<uint32_t>(reader.token_count());
  header.head_dim = static_cast<uint32_t>(reader.head_dim());
  header.stretch_tokens = static_cast<uint32_t>(options.stretch_tokens);
  const size_t stretch_count = header.stretch_count();
  ALAYA_ASSIGN_OR_RETURN(const FloatBounds bounds, FindBounds(reader, options, stretch_count));
  ChooseSteps(bounds, &header);
  ALAYA_RETURN_IF_ERROR(WriteHeader(header, sink));

  const size_t d = header.head_dim;
  for (size_t first = 0; first < stretch_count; first += header.stretches_per_block()) {
    const size_t count = std::min(header.stretches_per_block(), stretch_count - first);
    std::vector<std::byte> block(count * header.row_bytes());
    for (size_t i = 0; i < count; ++i) {
      for (size_t c = 0; c < d; ++c) {
        const size_t at = (first + i) * d + c;
        const double low = double{header.lowest[c]};
        const double step = double{header.step[c]};
        std::byte* const row = block.data() + i * header.row_bytes();
        row[c] = std::byte{ByteOf(double{bounds.upper[at]}, low, step, /*round_up=*/true)};
        row[d + c] = std::byte{ByteOf(double{bounds.lower[at]}, low, step, /*round_up=*/false)};
      }
    }
    ALAYA_RETURN_IF_ERROR(sink(block));
  }
  return OkStatus();
}

StatusOr<StretchHeader> ReadStretchHeader(const IndexBlockReader& blocks) {
  if (blocks.block_count() == 0) return Damaged("there are none");
  ALAYA_ASSIGN_OR_RETURN(const PinnedBytes block, blocks.ReadBlock(0));
  StoredHeader stored;
  if (block.bytes.size() < sizeof(stored)) return Damaged("short header");
  std::memcpy(&stored, block.bytes.data(), sizeof(stored));
  if (stored.magic != kMagic || stored.version != kVersion) return Damaged("unknown format");
  if (stored.reserved != 0 || stored.reserved_2 != 0 || stored.token_count > kTokenCountMax ||
      stored.head_dim == 0 || stored.head_dim % 8 != 0 || stored.head_dim > kHeadDimMax ||
      stored.stretch_tokens == 0 || stored.stretch_tokens > kStretchTokensMax) {
    return Damaged("inconsistent header");
  }
  StretchHeader header = {stored.token_count, stored.head_dim, stored.stretch_tokens, {}, {}};
  const size_t per_block = header.stretches_per_block();
  if (blocks.block_count() != 1 + (header.stretch_count() + per_block - 1) / per_block) {
    return Damaged("wrong number of blocks");
  }
  const size_t channel_bytes = header.head_dim * sizeof(float);
  if (block.bytes.size() != sizeof(stored) + 2 * channel_bytes) return Damaged("wrong header size");
  header.lowest.resize(header.head_dim);
  header.step.resize(header.head_dim);
  std::memcpy(header.lowest.data(), block.bytes.data() + sizeof(stored), channel_bytes);
  std::memcpy(header.step.data(), block.bytes.data() + sizeof(stored) + channel_bytes,
              channel_bytes);
  for (size_t c = 0; c < header.head_dim; ++c) {
    if (!std::isfinite(header.lowest[c]) || !std::isfinite(header.step[c]) || header.step[c] < 0) {
      return Damaged("a channel without bounds");
    }
  }
  return header;
}

StretchQuery::StretchQuery(const StretchHeader* header, std::span<const float> query)
    : header_(header), weights_(2 * query.size()) {
  assert(query.size() == header->head_dim);
  const size_t d = query.size();
  double magnitude = 0;
  for (size_t c = 0; c < d; ++c) {
    const double weight = double{query[c]} * double{header->step[c]};
    const auto narrow =
        static_cast<float>(std::clamp(weight, -double{kFloatMax}, double{kFloatMax}));
    weights_[c] = std::max(narrow, 0.0F);
    weights_[d + c] = std::min(narrow, 0.0F);
    offset_ += double{query[c]} * double{header->lowest[c]};
    magnitude += std::fabs(double{query[c]} * double{header->lowest[c]}) +
                 kByteMax * std::fabs(weight) +
                 kByteMax * double{std::numeric_limits<float>::min()};
  }
  in_range_ = magnitude < double{kFloatMax} / 4;
  // Every operation on floats rounds by at most 2^-24 of the magnitude: the weights,
  // the sums here, and the score itself.
  offset_ += magnitude * static_cast<double>(4 * d + 8) * 0x1p-24;
}

float StretchQuery::UpperBoundOf(float sum) const {
  if (!in_range_) return kFloatMax;
  return std::nextafter(static_cast<float>(double{sum} + offset_), kFloatMax);
}

Status StretchQuery::UpperBounds(const IndexBlockReader& blocks, size_t first_stretch,
                                 std::span<float> bounds) const {
  if (!in_range_) {
    std::ranges::fill(bounds, kFloatMax);
    return OkStatus();
  }
  const size_t row_bytes = header_->row_bytes();
  const size_t per_block = header_->stretches_per_block();
  while (!bounds.empty()) {
    const size_t row = first_stretch % per_block;
    const size_t count = std::min(bounds.size(), per_block - row);
    ALAYA_ASSIGN_OR_RETURN(const PinnedBytes block,
                           blocks.ReadBlock(1 + first_stretch / per_block));
    if (block.bytes.size() < (row + count) * row_bytes) return Damaged("short block");
    const std::span<const std::byte> bytes =
        block.bytes.subspan(row * row_bytes, count * row_bytes);
    ByteRowScores(weights_, {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()},
                  bounds.first(count));
    for (float& bound : bounds.first(count)) bound = UpperBoundOf(bound);
    first_stretch += count;
    bounds = bounds.subspan(count);
  }
  return OkStatus();
}

}  // namespace alaya
