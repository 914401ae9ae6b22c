#include "index/flat/flat_builder.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "index/flat/query_fit.h"
#include "index/kernels/encoding.h"
#include "index/scratch_buffer.h"

namespace alaya {
namespace {

// Any number does; this one is part of what a rebuilt index has in common with its
// predecessor.
constexpr uint64_t kRotationSeed = 0x414C415941;
// Keys that stand for all. Neighbours in the text are alike, so that they must be from all over it.
constexpr size_t kSampleKeys = 4096;

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

// Every so many keys of the text, [any, head_dim].
StatusOr<std::vector<float>> SampleKeys(const KvReader& reader, size_t token_count) {
  const size_t head_dim = reader.head_dim();
  const size_t step = std::max<size_t>(1, token_count / kSampleKeys);
  std::vector<float> keys;
  keys.reserve((token_count / step + 1) * head_dim);
  for (uint64_t token = 0; token < token_count;) {
    const uint64_t block_begin = token / reader.block_tokens() * reader.block_tokens();
    ALAYA_ASSIGN_OR_RETURN(const PinnedRows block,
                           reader.ReadBlock(KvKind::kKey, token / reader.block_tokens()));
    const uint64_t end = std::min<uint64_t>(block_begin + block.rows.rows, token_count);
    for (; token < end; token += step) {
      const EncodedMatrixView row = block.rows.rows_range(token - block_begin, 1);
      keys.resize(keys.size() + head_dim);
      DecodeElements(row.dtype, row.bytes(), std::span(keys).last(head_dim));
    }
  }
  return keys;
}

// None: codes are as good without one.
StatusOr<std::optional<QueryFit>> FitOf(const KvReader& reader, const FlatHeader& header,
                                        MatrixView<const float> queries) {
  const size_t head_dim = header.head_dim;
  if (queries.empty() || header.token_count < kMapTokensMin) return std::nullopt;
  ALAYA_ASSIGN_OR_RETURN(std::vector<float> keys, SampleKeys(reader, header.token_count));
  for (size_t i = 0; i < keys.size(); ++i) keys[i] -= header.centre[i % head_dim];
  return FitToQueries({keys.data(), keys.size() / head_dim, head_dim}, queries);
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
  FlatHeader header;
  header.head_dim = reader.head_dim();
  header.token_count = token_count;
  header.rotation_seed = kRotationSeed;
  header.block_tokens = FlatBlockTokens(header.head_dim);
  if (header.block_tokens == 0) {
    return InvalidArgument("flat index: head_dim " + std::to_string(header.head_dim) +
                           " is too large: 64 keys do not fit one block");
  }
  header.centre.resize(header.head_dim);
  ALAYA_ASSIGN_OR_RETURN(const std::vector<float> keys, SampleKeys(reader, token_count));
  const size_t count = keys.size() / header.head_dim;
  if (count == 0) return header;
  std::vector<double> sums(header.head_dim);
  for (size_t i = 0; i < keys.size(); ++i) sums[i % header.head_dim] += double{keys[i]};
  std::ranges::transform(sums, header.centre.begin(), [&](double sum) {
    return static_cast<float>(sum / static_cast<double>(count));
  });
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
  ALAYA_ASSIGN_OR_RETURN(FlatHeader header, MakeFlatHeader(reader, reader.token_count()));
  ALAYA_ASSIGN_OR_RETURN(const std::optional<QueryFit> fit, FitOf(reader, header, queries));
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
