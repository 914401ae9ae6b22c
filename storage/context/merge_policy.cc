#include "storage/context/merge_policy.h"

#include <algorithm>

namespace alaya {
namespace {

bool IsWhole(const SegmentLink& link) { return link.token_count == link.segment->token_count; }

}  // namespace

std::vector<std::shared_ptr<const Segment>> FindMergeRun(const std::vector<SegmentLink>& chain,
                                                         const IsOnlySuccessor& is_only_successor,
                                                         const MergeOptions& options) {
  for (size_t end = chain.size(); end >= options.segments_min; --end) {
    if (!IsWhole(chain[end - 1])) continue;
    size_t begin = end - 1;
    uint64_t tokens = chain[begin].token_count;
    for (; begin > 0; --begin) {
      const SegmentLink& before = chain[begin - 1];
      const Segment& after = *chain[begin].segment;
      if (!IsWhole(before) || before.token_count > tokens ||
          before.token_count + tokens > options.tokens_max ||
          before.segment->wanted_indexes != after.wanted_indexes ||
          !is_only_successor(*before.segment, after)) {
        break;
      }
      tokens += before.token_count;
    }
    if (end - begin < options.segments_min) continue;
    std::vector<std::shared_ptr<const Segment>> run;
    for (size_t i = begin; i < end; ++i) run.push_back(chain[i].segment);
    return run;
  }
  return {};
}

}  // namespace alaya
