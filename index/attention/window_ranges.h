// Where a window lies in what one query sees.

#ifndef ALAYA_INDEX_ATTENTION_WINDOW_RANGES_H_
#define ALAYA_INDEX_ATTENTION_WINDOW_RANGES_H_

#include <algorithm>
#include <cstdint>

#include "index/target.h"
#include "storage/types/ids.h"

namespace alaya {

// What a query attends to whatever its scores: disjoint ranges of the sequence.
struct WindowRanges {
  TokenRange sink;
  TokenRange recent;

  bool contains(uint64_t token) const { return sink.contains(token) || recent.contains(token); }
  // What a query sees between both.
  TokenRange between() const { return {sink.end, std::max(sink.end, recent.begin)}; }
};

inline WindowRanges RangesOf(const Window& window, TokenRange visible) {
  if (visible.empty()) return {};
  const uint64_t sink_end = std::clamp(window.sink, visible.begin, visible.end);
  const uint64_t recent = std::min(window.recent, visible.size());
  return {{visible.begin, sink_end}, {std::max(visible.end - recent, sink_end), visible.end}};
}

}  // namespace alaya

#endif  // ALAYA_INDEX_ATTENTION_WINDOW_RANGES_H_
