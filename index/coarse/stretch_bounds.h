// Bounds of the keys in stretches of consecutive tokens: per channel the lowest and
// the highest element, in 8 bits each.
//
// The bytes are rounded outwards, so a bound on a query's scores in the stretch that is
// taken from them holds.
//
// Source: Quest, arXiv:2406.10774 (bounds per page of keys).

#ifndef ALAYA_INDEX_COARSE_STRETCH_BOUNDS_H_
#define ALAYA_INDEX_COARSE_STRETCH_BOUNDS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "index/index_blocks.h"
#include "index/kv_reader.h"
#include "storage/types/status.h"

namespace alaya {

struct CoarseBuildOptions {
  size_t stretch_tokens = 64;  // 1 to 4096
  // Asked every few milliseconds; true ends the build with Cancelled. May sleep; may be
  // unset.
  std::function<bool()> should_stop;
};

// How bytes stand for elements, and the shape of it all.
struct StretchHeader {
  uint32_t token_count = 0;
  uint32_t head_dim = 0;
  uint32_t stretch_tokens = 0;
  // Byte b of channel c stands for lowest[c] + b * step[c]; [head_dim], finite, steps
  // not negative.
  std::vector<float> lowest;
  std::vector<float> step;

  size_t stretch_count() const {
    return (size_t{token_count} + stretch_tokens - 1) / stretch_tokens;
  }
  // A row of bytes: upper bounds of all channels, then lower ones.
  size_t row_bytes() const { return size_t{2} * head_dim; }
  size_t stretches_per_block() const { return kIndexBlockBytesMax / row_bytes(); }
};

// Reads all keys once and writes their bounds to `sink`.
//
// Errors: InvalidArgument if options are outside their limits; Cancelled; what
//   `reader` and `sink` return.
// Memory: 8 * head_dim bytes per stretch.
Status BuildStretchBounds(const KvReader& reader, const CoarseBuildOptions& options,
                          const IndexBlockSink& sink);

// Errors: DataLoss unless the header fits itself and the blocks; what `blocks` returns.
StatusOr<StretchHeader> ReadStretchHeader(const IndexBlockReader& blocks);

// A query in the form that meets rows of bytes.
class StretchQuery {
 public:
  // `header` must outlive it.
  StretchQuery(const StretchHeader* header, std::span<const float> query);

  // bounds[i]: no key of stretch first_stretch + i has a higher score.
  //
  // Errors: DataLoss if the block is too short; what `blocks` returns.
  Status UpperBounds(const IndexBlockReader& blocks, size_t first_stretch,
                     std::span<float> bounds) const;

  // The same of sums that somebody else took: of weights() times the bytes of a row, in float
  // and in any order.
  std::span<const float> weights() const { return weights_; }  // [2 * head_dim]
  float UpperBoundOf(float sum) const;

 private:
  const StretchHeader* header_;
  std::vector<float> weights_;  // [2 * head_dim], of upper and lower bytes
  double offset_ = 0;           // score of all bytes 0, and what rounding may hide
  bool in_range_ = true;        // false: sums may leave float's range, nothing is known
};

}  // namespace alaya

#endif  // ALAYA_INDEX_COARSE_STRETCH_BOUNDS_H_
