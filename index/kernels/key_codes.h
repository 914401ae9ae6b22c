// Keys as 4-bit codes: their layout in memory, and how a key becomes one.
//
// A key is centred and rotated, x = R(key - centre), which spreads outlier channels
// over all elements; R is orthogonal, so <q, key> = <q, centre> + <Rq, x>. Then each
// element becomes one of 16 levels, with a scale of the token's own:
//
//   x ~ fine_scale * (code - 7.5)          code = 4 * high + low, 0 to 15
//   x ~ coarse_scale * (high - 1.5)        from the upper two bits alone
//
// and each token carries what is left, |x - levels|, as a bound: the two errors. Where it is
// known what queries look like, a linear map of the keys takes the rotation's place (KeyMap), and
// coarse codes may do with the first elements. Two planes of two bits lie apart, so that a scan
// may read the upper half only:
//
//   high  per group of 64 tokens, per 4 elements: 64 bytes, one of each token.
//         SIMD lanes are tokens.
//   low   per group, per 16 elements: 4 bytes of each token, together (LowPlace). SIMD
//         lanes are 4 bytes of a token, as integer dot products take them.
//
// In a byte the first of four elements has the lowest bits. Scales and errors are
// bf16: an error is that of the rounded scale, itself rounded upward.
//
// Sources: QJL, RaBitQ and QuIP for rotation before coding; the two planes are ours.

#ifndef ALAYA_INDEX_KERNELS_KEY_CODES_H_
#define ALAYA_INDEX_KERNELS_KEY_CODES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "storage/types/views.h"

namespace alaya {

inline constexpr size_t kCodeGroupTokens = 64;
// Groups of so many tokens; the last one may not be full.
constexpr size_t CodeGroupCount(size_t token_count) {
  return (token_count + kCodeGroupTokens - 1) / kCodeGroupTokens;
}

constexpr size_t HighRowCount(size_t head_dim) { return head_dim / 4; }
// Of one group.
constexpr size_t HighBytes(size_t head_dim) { return HighRowCount(head_dim) * kCodeGroupTokens; }
// Of 16 elements of one group.
inline constexpr size_t kLowRunBytes = 4 * kCodeGroupTokens;
// Of one group; half a run at the end is filled up with zeros.
constexpr size_t LowBytes(size_t head_dim) { return (head_dim + 15) / 16 * kLowRunBytes; }
// Where a group's low plane has elements 4 * row to 4 * row + 3 of a token. The order of
// tokens is the one that a transposition of the high rows by bytes leaves.
constexpr size_t LowPlace(size_t row, size_t token) {
  return row / 4 * kLowRunBytes + token / 4 % 4 * 64 + token / 16 * 16 + token % 4 * 4 + row % 4;
}

// Codes of whole groups; a view, T is std::byte or const std::byte. Tokens that a last
// group does not have are zeros.
template <typename T>
struct KeyCodesOf {
  using Number = std::conditional_t<std::is_const_v<T>, const uint16_t, uint16_t>;

  size_t head_dim = 0;  // a multiple of 8
  size_t group_count = 0;
  T* high = nullptr;               // [group_count, HighRowCount, 64], 64-byte aligned
  T* low = nullptr;                // [group_count, LowBytes], 64-byte aligned
  Number* coarse_scale = nullptr;  // [group_count * 64] bf16, as the next three
  Number* coarse_error = nullptr;
  Number* fine_scale = nullptr;
  Number* fine_error = nullptr;

  size_t token_count() const { return group_count * kCodeGroupTokens; }
};
using KeyCodes = KeyCodesOf<const std::byte>;
using MutableKeyCodes = KeyCodesOf<std::byte>;

// The upper two bits of the code of one element; the lower two.
inline uint32_t HighCode(const KeyCodes& keys, size_t token, size_t element) {
  const size_t row = token / kCodeGroupTokens * HighRowCount(keys.head_dim) + element / 4;
  const auto byte =
      static_cast<uint32_t>(keys.high[row * kCodeGroupTokens + token % kCodeGroupTokens]);
  return byte >> element % 4 * 2 & 3;
}
inline uint32_t LowCode(const KeyCodes& keys, size_t token, size_t element) {
  const size_t place = token / kCodeGroupTokens * LowBytes(keys.head_dim) +
                       LowPlace(element / 4, token % kCodeGroupTokens);
  const auto byte = static_cast<uint32_t>(keys.low[place]);
  return byte >> element % 4 * 2 & 3;
}

// A random orthogonal map of vectors of head_dim elements: signs and Hadamard
// transforms, of all elements or, where head_dim is no power of two, of the first and
// the last ones in turn.
class Rotation {
 public:
  // Requires: head_dim is a multiple of 8.
  Rotation(size_t head_dim, uint64_t seed);

  size_t head_dim() const { return head_dim_; }
  size_t round_count() const { return signs_.size() / head_dim_; }
  // Of one round: +1 or -1 for every element.
  std::span<const float> signs(size_t round) const {
    return std::span(signs_).subspan(round * head_dim_, head_dim_);
  }
  // A round's transform covers `transform_size` elements from here on.
  size_t transform_begin(size_t round) const {
    return round % 2 == 0 ? 0 : head_dim_ - transform_size_;
  }
  size_t transform_size() const { return transform_size_; }

 private:
  size_t head_dim_;
  size_t transform_size_;
  std::vector<float> signs_;
};

// Writes the rotated rows of `vectors` to `rotated`, each with an error of at most
// kRotationError times its length.
//
// Shapes: both [count, head_dim], not overlapping.
inline constexpr double kRotationError = 0x1p-18;
void Rotate(const Rotation& rotation, MatrixView<const float> vectors, MatrixView<float> rotated);

// A token's fine scale is at least this share of the root mean square of x, so that
// |x| <= fine_scale * sqrt(head_dim) / kFineScaleRatio. Near the best for normal
// numbers, for all four bits and for the upper two alone.
inline constexpr double kFineScaleRatio = 0.3;
// Tokens with |x| above this length are not coded: their errors are infinite.
inline constexpr double kCodedLengthMax = 1e18;
// Tokens with |x| below it are taken for zero; their errors say by how much.
inline constexpr double kCodedLengthMin = 1e-15;

// Keys in coordinates that suit the queries to come: x = A (key - centre) meets B query, where
// B^T A = I. Sums of products are the same, but both are even in all elements, or in those that
// matter, and short: so are errors, which grow with both lengths.
struct KeyMap {
  std::vector<float> rows;  // A: [head_dim, head_dim], row i makes element i
  // Coarse codes hold so many elements, from the first, a multiple of 4; the others are left
  // to the error, in which their length counts with this weight.
  size_t coarse_dim = 0;
  float rest_weight = 0;
  double rounding = 0;  // of x in floats, relative to |key - centre|
};

struct KeyEncoding {
  const Rotation* rotation = nullptr;
  std::span<const float> centre;  // [head_dim], finite
  const KeyMap* map = nullptr;    // instead of the rotation
};

// Codes `keys`, at most 64 finite rows, as tokens first_token, first_token + 1, ... of
// a group.
//
// Guarantees: for the rows as stored, |x - levels| <= error, in exact arithmetic, for both pairs
//   of scale and error; with a map's rest_weight for the elements without coarse codes.
// Leaves other tokens and what fills up rows untouched: zeros, if they were.
void EncodeKeys(const KeyEncoding& encoding, EncodedMatrixView keys, size_t first_token,
                MutableKeyCodes group);

}  // namespace alaya

#endif  // ALAYA_INDEX_KERNELS_KEY_CODES_H_
