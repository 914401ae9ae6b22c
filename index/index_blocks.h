// How a built index is kept: as a sequence of byte blocks.
//
// The index of one kind over one kv head of one layer of one segment writes its
// blocks once, in order, and reads them back by number, pinned in memory. Blocks fit
// the frames of the memory tier, so an index larger than its budget still works. What
// a block means is the index's own matter; each kind checks what it reads, as a
// damaged block must become DataLoss and not a crash.

#ifndef ALAYA_INDEX_INDEX_BLOCKS_H_
#define ALAYA_INDEX_INDEX_BLOCKS_H_

#include <cstddef>
#include <functional>
#include <span>

#include "index/kv_reader.h"
#include "storage/types/status.h"

namespace alaya {

inline constexpr size_t kIndexBlockBytesMax = size_t{64} << 10;

struct PinnedBytes {
  std::span<const std::byte> bytes;  // 64-byte aligned; valid while pin lives
  BlockPin pin;
};

class IndexBlockReader {
 public:
  virtual ~IndexBlockReader() = default;

  virtual size_t block_count() const = 0;

  // May read from disk. Hold few pins at a time, as with KvReader.
  //
  // Requires: block_index < block_count().
  // Errors: as KvReader::ReadBlock.
  // Threads: any number of calls at a time.
  virtual StatusOr<PinnedBytes> ReadBlock(size_t block_index) const = 0;
};

// Takes the next block of a new index, 1 to kIndexBlockBytesMax bytes; an error ends
// the build and is what it returns.
using IndexBlockSink = std::function<Status(std::span<const std::byte>)>;

}  // namespace alaya

#endif  // ALAYA_INDEX_INDEX_BLOCKS_H_
