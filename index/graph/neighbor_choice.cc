#include "index/graph/neighbor_choice.h"

#include "index/scratch_buffer.h"

namespace alaya {
namespace {

// A chosen neighbour occludes a candidate from this ratio of squared distances on.
// Keys that a query finds together are about equally far from each other, so a ratio
// of 1 would drop half of them by chance.
constexpr float kOcclusionRatio = 1.5F;

}  // namespace

std::vector<uint32_t> ChooseNeighbors(const BuildKeys& keys, uint32_t token,
                                      std::span<const uint32_t> candidates, size_t count_max,
                                      bool fill) {
  thread_local ScratchBuffer<float> key_buffer;
  thread_local ScratchBuffer<float> closeness_buffer;
  const std::span<float> key = key_buffer.Take(keys.head_dim());
  // The token itself stands first, then the chosen ones.
  std::vector<uint32_t> chosen = {token};
  std::vector<uint32_t> occluded;
  for (const uint32_t candidate : candidates) {
    if (chosen.size() > count_max) break;
    keys.Decode(candidate, key);
    const std::span<float> closeness = closeness_buffer.Take(chosen.size());
    keys.Closeness(key, chosen, closeness);
    const float self = keys.half_norm(candidate);
    const float distance = self - closeness[0];
    bool is_occluded = false;
    for (size_t i = 1; i < closeness.size() && !is_occluded; ++i) {
      is_occluded = kOcclusionRatio * (self - closeness[i]) < distance;
    }
    (is_occluded ? occluded : chosen).push_back(candidate);
  }
  chosen.erase(chosen.begin());
  if (fill) {
    for (const uint32_t candidate : occluded) {
      if (chosen.size() >= count_max) break;
      chosen.push_back(candidate);
    }
  }
  return chosen;
}

}  // namespace alaya
