#include "index/flat/flat_builder.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "index/flat/query_fit.h"
#include "index/kernels/encoding.h"
#include "index/scratch_buffer.h"

namespace alaya {
namespace {

// Any number does; this one is part of what a rebuilt index has in common with its
// predecessor.
constexpr uint64_t kRotationSeed = 0x414C415941;
// Keys that stand for all, some of each of so many blocks: neighbours in the text are alike, so
// that they must be from all over it.
constexpr size_t kSampleKeys = 4096;
constexpr size_t kSampleBlocksMax = 256;

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

// [any, head_dim]
StatusOr<std::vector<float>> SampleKeys(const KvReader& reader, size_t token_count) {
  const size_t head_dim = reader.head_dim();
  const size_t block_count = (token_count + reader.block_tokens() - 1) / reader.block_tokens();
  const size_t sample_count = std::min(block_count, kSampleBlocksMax);
  std::vector<float> keys;
  for (size_t sample = 0; sample < sample_count; ++sample) {
    const size_t b = sample * block_count / sample_count;
    ALAYA_ASSIGN_OR_RETURN(const PinnedRows block, reader.ReadBlock(KvKind::kKey, b));
    const size_t count = std::min(block.rows.rows, token_count - b * reader.block_tokens());
    const size_t step = std::max<size_t>(1, count * sample_count / kSampleKeys);
    for (size_t i = 0; i < count; i += step) {
      keys.resize(keys.size() + head_dim);
      DecodeElements(block.rows.dtype, block.rows.rows_range(i, 1).bytes(),
                     std::span(keys).last(head_dim));
    }
  }
  return keys;
}

// With the mean of the sample as centre.
StatusOr<FlatHeader> HeaderOf(size_t head_dim, size_t token_count, std::span<const float> keys) {
  FlatHeader header;
  header.head_dim = head_dim;
  header.token_count = token_count;
  header.rotation_seed = kRotationSeed;
  header.block_tokens = FlatBlockTokens(head_dim);
  if (header.block_tokens == 0) {
    return InvalidArgument("flat index: head_dim " + std::to_string(head_dim) +
                           " is too large: 64 keys do not fit one block");
  }
  header.centre.resize(head_dim);
  if (keys.empty()) return header;
  std::vector<double> sums(head_dim);
  for (size_t i = 0; i < keys.size(); ++i) sums[i % head_dim] += double{keys[i]};
  const auto count = static_cast<double>(keys.size() / head_dim);
  std::ranges::transform(sums, header.centre.begin(),
                         [&](double sum) { return static_cast<float>(sum / count); });
  return header;
}

// None: codes are as good without one.
std::optional<QueryFit> FitOf(const FlatHeader& header, std::vector<float> keys,
                              MatrixView<const float> queries) {
  if (queries.empty() || header.token_count < kMapTokensMin) return std::nullopt;
  for (size_t i = 0; i < keys.size(); ++i) keys[i] -= header.centre[i % header.head_dim];
  return FitToQueries({keys.data(), keys.size() / header.head_dim, header.head_dim}, queries);
}

Status WriteMap(const FlatHeader& header, std::span<const float> rows, const IndexBlockSink& sink) {
  const size_t block_elements = FlatHeader::MapRowsPerBlock(header.head_dim) * header.head_dim;
  for (size_t begin = 0; begin < rows.size(); begin += block_elements) {
    const size_t count = std::min(block_elements, rows.size() - begin);
    ALAYA_RETURN_IF_ERROR(sink(std::as_bytes(rows.subspan(begin, count))));
  }
  return OkStatus();
}

}  // namespace

StatusOr<FlatHeader> MakeFlatHeader(const KvReader& reader, size_t token_count) {
  assert(token_count <= reader.token_count());
  ALAYA_ASSIGN_OR_RETURN(const std::vector<float> keys, SampleKeys(reader, token_count));
  return HeaderOf(reader.head_dim(), token_count, keys);
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
  const KeyEncoding encoding = {&rotation_, header_->centre, map_};
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

Status BuildFlatIndex(const KvReader& reader, MatrixView<const float> queries,
                      const IndexBlockSink& sink) {
  ALAYA_ASSIGN_OR_RETURN(std::vector<float> keys, SampleKeys(reader, reader.token_count()));
  ALAYA_ASSIGN_OR_RETURN(FlatHeader header,
                         HeaderOf(reader.head_dim(), reader.token_count(), keys));
  const std::optional<QueryFit> fit = FitOf(header, std::move(keys), queries);
  if (fit) header.query_map = fit->facts;
  ALAYA_RETURN_IF_ERROR(sink(EncodeFlatHeader(header)));
  if (fit) ALAYA_RETURN_IF_ERROR(WriteMap(header, fit->queries, sink));
  const FlatGroupEncoder encoder(&header, fit ? &fit->keys : nullptr);
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
