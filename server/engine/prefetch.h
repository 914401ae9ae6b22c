// Tells the store what a session will need before it asks: for every layer the windows
// and the index blocks of its segments, or all keys and values where there is no index.

#ifndef ALAYA_SERVER_ENGINE_PREFETCH_H_
#define ALAYA_SERVER_ENGINE_PREFETCH_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "storage/context/context_store.h"
#include "storage/types/ids.h"

namespace alaya {

// Appends the pages of keys and values of `tokens`, positions in the segment, of one
// layer, in the order in which they lie on disk.
void AppendTokenPages(const Segment& segment, LayerIndex layer, TokenRange tokens,
                      std::vector<PageId>* ids);

// Announces the first layers of a new session, as many as fill half of memory: more
// would push each other out before they are used.
// Cost: some microseconds per layer if all is in memory.
void PrefetchSession(ContextStore* store, const std::vector<SegmentLink>& chain);

// Announces one layer, while the one before it computes. Does nothing for layers that
// the model does not have or that, by sample, are in memory.
void PrefetchLayer(ContextStore* store, const std::vector<SegmentLink>& chain, LayerIndex layer);

// Reads all keys and values of `tokens`, positions in the segment, of one layer that a plan
// reads whole, as they lie on disk: that is several times as fast as a head at a time, which
// is how they are used. Waits for them, and announces those of the next layer, instead of what
// was announced of both before. False, and
// nothing is done, if they take more than half of memory: they would push each other out.
bool LoadWhole(ContextStore* store, const std::shared_ptr<const Segment>& segment, LayerIndex layer,
               TokenRange tokens);

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_PREFETCH_H_
