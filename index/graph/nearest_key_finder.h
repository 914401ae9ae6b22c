// Somebody who finds the best keys of many queries at once faster than the CPU: a device
// (cuda/). What it finds is checked (query_lists.h), for graphs are stored for good.

#ifndef ALAYA_INDEX_GRAPH_NEAREST_KEY_FINDER_H_
#define ALAYA_INDEX_GRAPH_NEAREST_KEY_FINDER_H_

#include <cstdint>
#include <functional>

#include "index/kv_reader.h"
#include "storage/types/status.h"
#include "storage/types/views.h"

namespace alaya {

struct NearestKeyQuery {
  const KvReader* keys = nullptr;
  MatrixView<const float> queries;         // [query_count, head_dim]
  uint32_t first_token = 0;                // those before are not listed
  std::function<bool()> should_stop = {};  // asked every few milliseconds
};

// Threads: any.
class NearestKeyFinder {
 public:
  virtual ~NearestKeyFinder() = default;

  // Sets every row of `lists` to its query's best tokens, by falling score, ties by rising
  // token. False: somebody else has to; `lists` is unspecified then. A device that fails is
  // no error but that.
  //
  // Shapes: lists [query_count, width], width at most the number of tokens.
  // Errors: Cancelled; what a read returns.
  virtual StatusOr<bool> Find(const NearestKeyQuery& query, MatrixView<uint32_t> lists) = 0;

  // What it found was wrong: it finds nothing more.
  virtual void GiveUp(const Status& why) = 0;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_NEAREST_KEY_FINDER_H_
