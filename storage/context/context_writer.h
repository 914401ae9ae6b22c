// Writes one new context: streams the KV of one new segment to disk in bounded
// memory and commits all or nothing.
//
// Life: BeginContext -> Append / AppendQueries (layers interleaved at will, each
// layer in token order) -> Commit. Destroying the writer before that discards it.

#ifndef ALAYA_STORAGE_CONTEXT_CONTEXT_WRITER_H_
#define ALAYA_STORAGE_CONTEXT_CONTEXT_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "storage/context/stored_context.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"

namespace alaya {

struct ContextDraft {
  std::string id;
  std::string tenant;
  std::shared_ptr<const RegisteredModel> model;
  // Shared with contexts stored before; may be empty.
  std::vector<SegmentLink> prefix;
  // Tokens after the prefix. Empty: the context is just the prefix.
  std::vector<TokenId> tokens;
  Labels labels;
  WallTime create_time;
  std::optional<WallTime> expire_time;
  std::vector<uint8_t> wanted_indexes;  // of the new segment, as Segment's
};

class ContextWriter {
 public:
  virtual ~ContextWriter() = default;

  // Appends keys and values of the next tokens of a layer: each [T, num_kv_heads,
  // head_dim] in the model's dtype. The first call of a layer begins at the first
  // token after the prefix.
  //
  // Errors: InvalidArgument for sizes that do not match or more tokens than the
  //   draft has; what the disk says. After an error only destruction makes sense.
  virtual Status Append(LayerIndex layer, std::span<const std::byte> keys,
                        std::span<const std::byte> values) = 0;
  // Appends sampled queries of a layer: [T', num_query_heads, head_dim], in the
  // model's dtype.
  virtual Status AppendQueries(LayerIndex layer, std::span<const std::byte> queries) = 0;

  // Tokens appended to a layer so far, the prefix not counted.
  virtual uint64_t appended_tokens(LayerIndex layer) const = 0;

  // Makes the context durable and visible. Returns it, and the bytes added to disk.
  // Errors: FailedPrecondition, naming the layer, if tokens are missing.
  struct Committed {
    std::shared_ptr<const StoredContext> context;
    uint64_t stored_bytes = 0;
  };
  virtual StatusOr<Committed> Commit() = 0;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_CONTEXT_WRITER_H_
