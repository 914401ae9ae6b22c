#include "index/flat/flat_builder.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "index/kernels/encoding.h"
#include "index/scratch_buffer.h"

namespace alaya {
namespace {

// Any number does; this one is part of what a rebuilt index has in common with its
// predecessor.
constexpr uint64_t kRotationSeed = 0x414C415941;
// Blocks whose keys make the centre.
constexpr size_t kCentreBlocksMax = 32;

// Calls use(rows, first_token) with all rows of `tokens`, a piece per block.
template <class Use>
Status ForRows(const KvReader& reader, KvKind kind, TokenRange tokens, const Use& use) {
  for (uint64_t token = tokens.begin; token < tokens.end;) {
    const size_t block = token / reader.block_tokens();
    const size_t first = token % reader.block_tokens();
    ALAYA_ASSIGN_OR_RETURN(const PinnedRows pinned, reader.ReadBlock(kind, block));
    const size_t count = std::min<size_t>(tokens.end - token, pinned.rows.rows - first);
    use(pinned.rows.rows_range(first, count), token);
    token += count;
  }
  return OkStatus();
}

// bf16 of a mean of finite numbers; finite.
uint16_t EncodeMean(double mean) {
  constexpr double kMax = 0x1.FEp127;
  const auto value = static_cast<float>(std::clamp(mean, -kMax, kMax));
  std::byte bytes[2];
  EncodeElements({&value, 1}, DType::kBF16, bytes);
  return static_cast<uint16_t>(std::to_integer<unsigned>(bytes[0]) |
                               std::to_integer<unsigned>(bytes[1]) << 8);
}

// Mean of a group's values and their deviation from it.
class ValueSummary {
 public:
  explicit ValueSummary(size_t head_dim) : sums_(head_dim), row_(head_dim) {}

  void Add(EncodedMatrixView values) {
    for (size_t i = 0; i < values.rows; ++i) {
      DecodeElements(values.dtype, {values.row(i), values.row_bytes()}, row_);
      for (size_t e = 0; e < row_.size(); ++e) {
        const double element = double{row_[e]};
        sums_[e] += element;
        square_sum_ += element * element;
      }
    }
    count_ += static_cast<double>(values.rows);
  }

  void Store(std::span<uint16_t> mean, float& deviation) const {
    for (size_t e = 0; e < mean.size(); ++e) mean[e] = EncodeMean(sums_[e] / count_);
    // Not of the rounded mean: its rounding is far below the deviation.
    double mean_square = 0;
    for (const double sum : sums_) mean_square += sum / count_ * (sum / count_);
    const double variance = std::max(square_sum_ / count_ - mean_square, 0.0);
    constexpr double kMax = double{std::numeric_limits<float>::max()};
    deviation = static_cast<float>(std::min(std::sqrt(variance), kMax));
  }

 private:
  std::vector<double> sums_;
  std::vector<float> row_;
  double square_sum_ = 0;
  double count_ = 0;
};

}  // namespace

StatusOr<FlatHeader> MakeFlatHeader(const KvReader& reader, size_t token_count) {
  assert(token_count <= reader.token_count());
  FlatHeader header;
  header.head_dim = reader.head_dim();
  header.token_count = token_count;
  header.rotation_seed = kRotationSeed;
  header.block_tokens = FlatBlockTokens(header.head_dim);
  if (header.block_tokens == 0) {
    return InvalidArgument("flat index: head_dim " + std::to_string(header.head_dim) +
                           " is too large: 64 keys do not fit one block");
  }
  const size_t block_count = (token_count + reader.block_tokens() - 1) / reader.block_tokens();
  const size_t sample_count = std::min(block_count, kCentreBlocksMax);
  std::vector<double> sums(header.head_dim);
  std::vector<float> row(header.head_dim);
  double count = 0;
  for (size_t sample = 0; sample < sample_count; ++sample) {
    const uint64_t begin = sample * block_count / sample_count * reader.block_tokens();
    const TokenRange tokens = {begin,
                               std::min<uint64_t>(begin + reader.block_tokens(), token_count)};
    ALAYA_RETURN_IF_ERROR(
        ForRows(reader, KvKind::kKey, tokens, [&](EncodedMatrixView rows, uint64_t) {
          for (size_t i = 0; i < rows.rows; ++i) {
            DecodeElements(rows.dtype, {rows.row(i), rows.row_bytes()}, row);
            for (size_t e = 0; e < row.size(); ++e) sums[e] += double{row[e]};
          }
          count += static_cast<double>(rows.rows);
        }));
  }
  header.centre.resize(header.head_dim);
  if (count > 0) {
    std::ranges::transform(sums, header.centre.begin(),
                           [&](double sum) { return static_cast<float>(sum / count); });
  }
  return header;
}

Status FlatGroupEncoder::Encode(const KvReader& reader, TokenRange tokens, size_t group,
                                const MutableFlatBlock& block) const {
  assert(tokens.size() <= kCodeGroupTokens && group < block.codes.group_count);
  const size_t head_dim = header_->head_dim;
  MutableKeyCodes codes = block.codes;
  const size_t first = group * kCodeGroupTokens;
  codes.group_count = 1;
  codes.high += group * HighBytes(head_dim);
  codes.low += group * LowBytes(head_dim);
  codes.coarse_scale += first;
  codes.coarse_error += first;
  codes.fine_scale += first;
  codes.fine_error += first;
  const KeyEncoding encoding = {&rotation_, header_->centre};
  ALAYA_RETURN_IF_ERROR(
      ForRows(reader, KvKind::kKey, tokens, [&](EncodedMatrixView rows, uint64_t token) {
        EncodeKeys(encoding, rows, token - tokens.begin, codes);
      }));
  ValueSummary summary(head_dim);
  ALAYA_RETURN_IF_ERROR(ForRows(reader, KvKind::kValue, tokens,
                                [&](EncodedMatrixView rows, uint64_t) { summary.Add(rows); }));
  summary.Store({block.value_means + group * head_dim, head_dim}, block.value_deviations[group]);
  return OkStatus();
}

Status BuildFlatIndex(const KvReader& reader, const IndexBlockSink& sink) {
  ALAYA_ASSIGN_OR_RETURN(const FlatHeader header, MakeFlatHeader(reader, reader.token_count()));
  ALAYA_RETURN_IF_ERROR(sink(EncodeFlatHeader(header)));
  const FlatGroupEncoder encoder(&header);
  ScratchBuffer<std::byte> buffer;
  for (size_t b = 0; b < header.block_count(); ++b) {
    const size_t count = header.block_token_count(b);
    const std::span<std::byte> bytes = buffer.Take(FlatBlockBytes(header.head_dim, count));
    std::ranges::fill(bytes, std::byte{0});
    StartFlatBlock(header.head_dim, b, count, bytes);
    const MutableFlatBlock block = MutableFlatBlockOf(header.head_dim, count, bytes);
    const uint64_t begin = b * header.block_tokens;
    for (size_t group = 0; group < block.codes.group_count; ++group) {
      const uint64_t first = begin + group * kCodeGroupTokens;
      ALAYA_RETURN_IF_ERROR(encoder.Encode(
          reader, {first, std::min<uint64_t>(first + kCodeGroupTokens, begin + count)}, group,
          block));
    }
    ALAYA_RETURN_IF_ERROR(sink(bytes));
  }
  return OkStatus();
}

}  // namespace alaya
