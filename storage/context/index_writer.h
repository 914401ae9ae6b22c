// Writes one index of one segment and commits it all or nothing.
//
// Life: BeginIndex -> AppendBlock by rising (layer, head) -> Commit. Destroying the
// writer before that discards it.

#ifndef ALAYA_STORAGE_CONTEXT_INDEX_WRITER_H_
#define ALAYA_STORAGE_CONTEXT_INDEX_WRITER_H_

#include <cstddef>
#include <span>

#include "storage/context/stored_index.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"

namespace alaya {

class IndexWriter {
 public:
  virtual ~IndexWriter() = default;

  // Appends the head's next block, 1 to kPagePayloadBytesMax bytes.
  //
  // Errors: InvalidArgument for another size, or a layer or head that does not exist or
  //   comes after its turn; what the disk says. After an error only destruction makes
  //   sense.
  virtual Status AppendBlock(LayerIndex layer, KvHeadIndex head,
                             std::span<const std::byte> block) = 0;

  // Makes the index durable and gives it to the segment; an older one of its kind is
  // replaced.
  // Errors: NotFound if no context needs the segment any more.
  virtual Status Commit() = 0;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_INDEX_WRITER_H_
