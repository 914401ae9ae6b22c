#include "index/graph/connectivity.h"

#include <algorithm>
#include <vector>

#include "index/scratch_buffer.h"
#include "index/selection.h"
#include "index/token_index.h"

namespace alaya {
namespace {

constexpr size_t kTokensPerTask = 256;
constexpr size_t kTasksAtOnce = 64;

// Adds to a token's neighbours the nearest of the keys around it.
void LinkToken(const BuildKeys& keys, const GraphBuildOptions& options, uint32_t token,
               KeyGraph* graph) {
  thread_local ScratchBuffer<float> key_buffer;
  thread_local ScratchBuffer<float> closeness_buffer;
  thread_local std::vector<uint32_t> around;
  thread_local std::vector<ScoredToken> order;
  const size_t end = std::min(token + options.link_window + 1, keys.token_count());
  around.clear();
  for (size_t t =
           std::max(graph->first_token, token - std::min<size_t>(token, options.link_window));
       t < end; ++t) {
    if (t != token) around.push_back(static_cast<uint32_t>(t));
  }
  const std::span<float> key = key_buffer.Take(keys.head_dim());
  keys.Decode(token, key);
  const std::span<float> closeness = closeness_buffer.Take(around.size());
  keys.Closeness(key, around, closeness);
  order.resize(around.size());
  for (size_t i = 0; i < around.size(); ++i) order[i] = {around[i], closeness[i]};
  const size_t count = std::min(options.link_count, order.size());
  std::ranges::partial_sort(
      order, order.begin() + static_cast<ptrdiff_t>(count),
      [](const ScoredToken& a, const ScoredToken& b) { return RanksBefore(a, b); });
  std::vector<uint32_t>& neighbors = graph->neighbors[token];
  const size_t before = neighbors.size();
  for (const ScoredToken& near : std::span(order).first(count)) {
    const auto known_end = neighbors.begin() + static_cast<ptrdiff_t>(before);
    if (std::find(neighbors.begin(), known_end, near.token) == known_end) {
      neighbors.push_back(near.token);
    }
  }
}

}  // namespace

Status LinkNearKeys(const BuildKeys& keys, const GraphBuildOptions& options,
                    BuildProgress& progress, KeyGraph* graph) {
  const size_t token_count = graph->neighbors.size();
  constexpr size_t kBatch = kTokensPerTask * kTasksAtOnce;
  for (size_t first = graph->first_token; first < token_count; first += kBatch) {
    progress.Report(first, token_count);
    const size_t last = std::min(first + kBatch, token_count);
    options.parallel_for((last - first + kTokensPerTask - 1) / kTokensPerTask, [&](size_t task) {
      if (progress.should_stop()) return;
      const size_t begin = first + task * kTokensPerTask;
      for (size_t t = begin; t < std::min(begin + kTokensPerTask, last); ++t) {
        LinkToken(keys, options, static_cast<uint32_t>(t), graph);
      }
    });
    ALAYA_RETURN_IF_ERROR(progress.Stopped());
  }
  return OkStatus();
}

void ReachAllTokens(KeyGraph* graph) {
  std::vector<bool> is_reached(graph->neighbors.size());
  std::vector<uint32_t> open;
  const auto reach_from = [&](uint32_t start) {
    open.push_back(start);
    is_reached[start] = true;
    while (!open.empty()) {
      const uint32_t token = open.back();
      open.pop_back();
      for (const uint32_t neighbor : graph->neighbors[token]) {
        if (is_reached[neighbor]) continue;
        is_reached[neighbor] = true;
        open.push_back(neighbor);
      }
    }
  };
  for (const uint32_t entry : graph->entries) {
    if (!is_reached[entry]) reach_from(entry);
  }
  for (size_t t = graph->first_token; t < graph->neighbors.size(); ++t) {
    if (is_reached[t]) continue;
    // The first token of all has none before it: an entry.
    if (t == graph->first_token) {
      graph->entries.insert(graph->entries.begin(), static_cast<uint32_t>(t));
    } else {
      graph->neighbors[t - 1].push_back(static_cast<uint32_t>(t));
    }
    reach_from(static_cast<uint32_t>(t));
  }
}

}  // namespace alaya
