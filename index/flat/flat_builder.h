// Building a flat index: codes of keys and summaries of values, block by block.

#ifndef ALAYA_INDEX_FLAT_FLAT_BUILDER_H_
#define ALAYA_INDEX_FLAT_FLAT_BUILDER_H_

#include <cstddef>

#include "index/flat/flat_blocks.h"
#include "index/index_blocks.h"
#include "index/kernels/key_codes.h"
#include "index/kv_reader.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

// Gives `sink` the blocks of an index over all tokens of `reader`, the header first. Codes suit
// queries like `queries` (query_fit.h), if there are some and kMapTokensMin tokens.
//
// Shapes: queries [any, head_dim], as IndexBuildInput's.
// Errors: InvalidArgument if a group's codes do not fit one block (head_dim above about
//   1900); whatever a block read or the sink returns.
// Cost: reads every key and value once, keys of 256 blocks twice; memory for one block and 4,096
// keys. A map takes 4 * head_dim^2 bytes, of this many tokens' keys and values less than one in
// 100.
inline constexpr size_t kMapTokensMin = size_t{16} * 1024;
Status BuildFlatIndex(const KvReader& reader, MatrixView<const float> queries,
                      const IndexBlockSink& sink);

// The header of an index over the first `token_count` tokens of `reader`; the centre is
// the mean of a sample of their keys.
//
// Requires: token_count <= reader.token_count().
// Errors: as BuildFlatIndex.
StatusOr<FlatHeader> MakeFlatHeader(const KvReader& reader, size_t token_count);

// Writes groups of a code block.
class FlatGroupEncoder {
 public:
  // `header` and `map` must outlive the encoder. No map: the rotation.
  explicit FlatGroupEncoder(const FlatHeader* header, const KeyMap* map = nullptr)
      : header_(header), map_(map), rotation_(header->head_dim, header->rotation_seed) {}

  // Codes and summary of `tokens`, at most 64, as group `group` of `block`.
  //
  // Errors: whatever a block read returns; the group is unspecified then.
  Status Encode(const KvReader& reader, TokenRange tokens, size_t group,
                const MutableFlatBlock& block) const;

 private:
  const FlatHeader* header_;
  const KeyMap* map_;
  const Rotation rotation_;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_FLAT_FLAT_BUILDER_H_
