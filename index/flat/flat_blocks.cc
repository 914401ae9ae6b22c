// Layouts; numbers are little-endian.
//
//   header  u32 "AFL1" | u32 head_dim | u64 token_count | u64 rotation_seed |
//           u32 coarse_dim, 0: no map | f32 rest_size | f32 rest_share | f32 rounding |
//           zeros up to byte 64 | f32 centre[head_dim]
//   map     f32 row[head_dim], as many as fit a block
//   codes   u32 "AFB1" | u32 block | u32 token_count | zeros up to byte 64 |
//           high | coarse_scale | coarse_error | low | fine_scale | fine_error |
//           value_means | value_deviations, each as long as the groups need and
//           beginning at a multiple of 64

#include "index/flat/flat_blocks.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "index/kernels/bf16.h"

namespace alaya {
namespace {

constexpr uint32_t kHeaderMagic = 0x314C4641;  // "AFL1"
constexpr uint32_t kBlockMagic = 0x31424641;   // "AFB1"
constexpr size_t kPreludeBytes = 64;
constexpr size_t kAlignment = 64;

struct HeaderPrelude {
  uint32_t magic = kHeaderMagic;
  uint32_t head_dim = 0;
  uint64_t token_count = 0;
  uint64_t rotation_seed = 0;
  uint32_t coarse_dim = 0;
  float rest_size = 0;
  float rest_share = 0;
  float map_rounding = 0;
  uint64_t reserved[3] = {};
};
static_assert(sizeof(HeaderPrelude) == kPreludeBytes);

struct BlockPrelude {
  uint32_t magic = kBlockMagic;
  uint32_t block = 0;
  uint32_t token_count = 0;
  uint32_t reserved[13] = {};
};
static_assert(sizeof(BlockPrelude) == kPreludeBytes);

// Where the sections of a code block begin.
struct Sections {
  size_t high, coarse_scale, coarse_error, low, fine_scale, fine_error, value_means,
      value_deviations, end;
};

Sections SectionsOf(size_t head_dim, size_t group_count) {
  size_t end = kPreludeBytes;
  const auto next = [&](size_t group_bytes) {
    const size_t begin = end;
    end += (group_count * group_bytes + kAlignment - 1) / kAlignment * kAlignment;
    return begin;
  };
  const size_t number_bytes = kCodeGroupTokens * sizeof(uint16_t);
  Sections sections{};
  sections.high = next(HighBytes(head_dim));
  sections.coarse_scale = next(number_bytes);
  sections.coarse_error = next(number_bytes);
  sections.low = next(LowBytes(head_dim));
  sections.fine_scale = next(number_bytes);
  sections.fine_error = next(number_bytes);
  sections.value_means = next(head_dim * sizeof(uint16_t));
  sections.value_deviations = next(sizeof(float));
  sections.end = end;
  return sections;
}

template <typename T>
FlatBlockOf<T> ViewOf(size_t head_dim, size_t token_count, T* bytes) {
  using Number = typename FlatBlockOf<T>::Number;
  const Sections sections = SectionsOf(head_dim, CodeGroupCount(token_count));
  const auto numbers = [&](size_t begin) { return reinterpret_cast<Number*>(bytes + begin); };
  FlatBlockOf<T> block;
  block.token_count = token_count;
  block.codes.head_dim = head_dim;
  block.codes.group_count = CodeGroupCount(token_count);
  block.codes.high = bytes + sections.high;
  block.codes.low = bytes + sections.low;
  block.codes.coarse_scale = numbers(sections.coarse_scale);
  block.codes.coarse_error = numbers(sections.coarse_error);
  block.codes.fine_scale = numbers(sections.fine_scale);
  block.codes.fine_error = numbers(sections.fine_error);
  block.value_means = numbers(sections.value_means);
  block.value_deviations =
      reinterpret_cast<typename FlatBlockOf<T>::Float*>(bytes + sections.value_deviations);
  return block;
}

Status Damaged(const std::string& what) { return DataLoss("flat index: " + what); }

// Scales as a builder writes them keep every sum of scores finite.
bool AreScales(std::span<const uint16_t> numbers) {
  constexpr uint16_t kMax = 0x5F80;  // 2^64
  return std::ranges::all_of(numbers, [](uint16_t number) { return number <= kMax; });
}
bool AreErrors(std::span<const uint16_t> numbers) {
  constexpr uint16_t kInfinity = 0x7F80;
  return std::ranges::all_of(numbers, [](uint16_t number) { return number <= kInfinity; });
}

StatusOr<std::optional<QueryMap>> MapOf(const HeaderPrelude& prelude) {
  const CoarseElements coarse = {prelude.coarse_dim, prelude.rest_size, prelude.rest_share};
  const QueryMap map = {coarse, prelude.map_rounding};
  const bool is_all = coarse.count == prelude.head_dim;
  const bool is_none = coarse.count == 0;
  const auto is_share = [](float x) { return x >= 0 && x <= 1; };
  if (coarse.count > prelude.head_dim || coarse.count % 4 != 0 || !is_share(coarse.rest_size) ||
      !is_share(coarse.rest_share) || !is_share(map.rounding) ||
      (is_none || is_all) != (coarse.rest_size == 0) || (is_none && map.rounding != 0)) {
    return Damaged("a map of queries is out of range");
  }
  return is_none ? std::nullopt : std::optional(map);
}

Status CheckNumbers(const FlatBlock& block) {
  const size_t count = block.codes.token_count();
  if (!AreScales({block.codes.coarse_scale, count}) ||
      !AreScales({block.codes.fine_scale, count}) ||
      !AreErrors({block.codes.coarse_error, count}) ||
      !AreErrors({block.codes.fine_error, count})) {
    return Damaged("a scale or an error is out of range");
  }
  const std::span means(block.value_means, block.codes.group_count * block.codes.head_dim);
  const std::span deviations(block.value_deviations, block.codes.group_count);
  if (!std::ranges::all_of(means, [](uint16_t x) { return std::isfinite(BF16ToFloat(x)); }) ||
      !std::ranges::all_of(deviations, [](float x) { return std::isfinite(x) && x >= 0; })) {
    return Damaged("a summary of values is out of range");
  }
  return OkStatus();
}

}  // namespace

size_t FlatBlockTokens(size_t head_dim) {
  const size_t one = SectionsOf(head_dim, 1).end;
  if (one > kIndexBlockBytesMax) return 0;
  size_t groups = kIndexBlockBytesMax / (HighBytes(head_dim) + LowBytes(head_dim));
  while (SectionsOf(head_dim, groups).end > kIndexBlockBytesMax) --groups;
  return groups * kCodeGroupTokens;
}

size_t FlatHeader::map_block_count() const {
  const size_t rows = MapRowsPerBlock(head_dim);
  return query_map ? (head_dim + rows - 1) / rows : 0;
}

StatusOr<MatrixView<const float>> DecodeMapBlock(const FlatHeader& header, size_t block,
                                                 std::span<const std::byte> bytes) {
  const size_t begin = block * FlatHeader::MapRowsPerBlock(header.head_dim);
  const size_t rows =
      std::min(header.head_dim - begin, FlatHeader::MapRowsPerBlock(header.head_dim));
  if (bytes.size() != rows * header.head_dim * sizeof(float)) {
    return Damaged("block " + std::to_string(block) + " of a map of queries has " +
                   std::to_string(bytes.size()) + " bytes");
  }
  return MatrixView(reinterpret_cast<const float*>(bytes.data()), rows, header.head_dim);
}

size_t FlatHeader::block_token_count(size_t block) const {
  return std::min(block_tokens, token_count - block * block_tokens);
}

std::vector<std::byte> EncodeFlatHeader(const FlatHeader& header) {
  HeaderPrelude prelude;
  prelude.head_dim = static_cast<uint32_t>(header.head_dim);
  prelude.token_count = header.token_count;
  prelude.rotation_seed = header.rotation_seed;
  if (header.query_map) {
    const CoarseElements& coarse = header.query_map->coarse;
    prelude.coarse_dim = static_cast<uint32_t>(coarse.count);
    prelude.rest_size = coarse.rest_size;
    prelude.rest_share = coarse.rest_share;
    prelude.map_rounding = header.query_map->rounding;
  }
  std::vector<std::byte> bytes(kPreludeBytes + header.centre.size() * sizeof(float));
  std::memcpy(bytes.data(), &prelude, kPreludeBytes);
  std::memcpy(&bytes[kPreludeBytes], header.centre.data(), header.centre.size() * sizeof(float));
  return bytes;
}

StatusOr<FlatHeader> DecodeFlatHeader(std::span<const std::byte> bytes) {
  HeaderPrelude prelude;
  if (bytes.size() < kPreludeBytes) return Damaged("the header is too short");
  std::memcpy(&prelude, bytes.data(), kPreludeBytes);
  const bool has_reserved =
      std::ranges::any_of(prelude.reserved, [](uint64_t word) { return word != 0; });
  if (prelude.magic != kHeaderMagic || has_reserved) return Damaged("no header of format 1");
  FlatHeader header;
  header.head_dim = prelude.head_dim;
  header.token_count = prelude.token_count;
  header.rotation_seed = prelude.rotation_seed;
  header.block_tokens = header.head_dim == 0 ? 0 : FlatBlockTokens(header.head_dim);
  if (header.head_dim == 0 || header.head_dim % 8 != 0 ||
      bytes.size() != kPreludeBytes + header.head_dim * sizeof(float)) {
    return Damaged("head_dim " + std::to_string(header.head_dim) + " in a header of " +
                   std::to_string(bytes.size()) + " bytes");
  }
  if (header.block_tokens == 0 || header.token_count > std::numeric_limits<uint32_t>::max()) {
    return Damaged("head_dim " + std::to_string(header.head_dim) + " with " +
                   std::to_string(header.token_count) + " tokens");
  }
  ALAYA_ASSIGN_OR_RETURN(header.query_map, MapOf(prelude));
  header.centre.resize(header.head_dim);
  std::memcpy(header.centre.data(), &bytes[kPreludeBytes], header.head_dim * sizeof(float));
  if (!std::ranges::all_of(header.centre, [](float x) { return std::isfinite(x); })) {
    return Damaged("the centre is not finite");
  }
  return header;
}

size_t FlatBlockBytes(size_t head_dim, size_t token_count) {
  return SectionsOf(head_dim, CodeGroupCount(token_count)).end;
}

void StartFlatBlock(size_t head_dim, size_t block, size_t token_count, std::span<std::byte> bytes) {
  assert(bytes.size() == FlatBlockBytes(head_dim, token_count));
  (void)head_dim;
  BlockPrelude prelude;
  prelude.block = static_cast<uint32_t>(block);
  prelude.token_count = static_cast<uint32_t>(token_count);
  std::memcpy(bytes.data(), &prelude, kPreludeBytes);
}

MutableFlatBlock MutableFlatBlockOf(size_t head_dim, size_t token_count,
                                    std::span<std::byte> bytes) {
  return ViewOf(head_dim, token_count, bytes.data());
}

StatusOr<FlatBlock> DecodeFlatBlock(const FlatHeader& header, size_t block,
                                    std::span<const std::byte> bytes) {
  assert(block < header.block_count());
  const size_t token_count = header.block_token_count(block);
  if (bytes.size() != FlatBlockBytes(header.head_dim, token_count)) {
    return Damaged("block " + std::to_string(block) + " has " + std::to_string(bytes.size()) +
                   " bytes");
  }
  BlockPrelude expected;
  expected.block = static_cast<uint32_t>(block);
  expected.token_count = static_cast<uint32_t>(token_count);
  if (std::memcmp(bytes.data(), &expected, kPreludeBytes) != 0) {
    return Damaged("this is not block " + std::to_string(block));
  }
  const FlatBlock view = ViewFlatBlock(header, block, bytes);
  ALAYA_RETURN_IF_ERROR(CheckNumbers(view));
  return view;
}

FlatBlock ViewFlatBlock(const FlatHeader& header, size_t block, std::span<const std::byte> bytes) {
  const size_t token_count = header.block_token_count(block);
  assert(bytes.size() == FlatBlockBytes(header.head_dim, token_count));
  return ViewOf(header.head_dim, token_count, bytes.data());
}

}  // namespace alaya
