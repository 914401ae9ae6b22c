#include "index/graph/connectivity.h"

#include <algorithm>
#include <vector>

#include "index/graph/graph_walk.h"
#include "index/graph/neighbor_choice.h"
#include "index/scratch_buffer.h"
#include "index/selection.h"
#include "storage/types/check.h"

namespace alaya {
namespace {

constexpr size_t kTokensPerTask = 32;
constexpr size_t kTasksAtOnce = 64;

// The graph as built so far; scores are closeness to one key.
class BuildAccess : public GraphAccess {
 public:
  BuildAccess(const KeyGraph& graph, const BuildKeys& keys, std::span<const float> key)
      : graph_(graph), keys_(keys), key_(key) {}

  StatusOr<std::span<const uint32_t>> Neighbors(uint32_t token) override {
    return std::span<const uint32_t>(graph_.neighbors[token]);
  }
  Status Score(std::span<const uint32_t> tokens, std::span<float> scores) override {
    keys_.Closeness(key_, tokens, scores);
    return OkStatus();
  }

 private:
  const KeyGraph& graph_;
  const BuildKeys& keys_;
  std::span<const float> key_;
};

// Falling closeness to a token.
std::vector<uint32_t> ByCloseness(const BuildKeys& keys, uint32_t token,
                                  std::span<const uint32_t> others) {
  thread_local ScratchBuffer<float> key_buffer;
  thread_local ScratchBuffer<float> closeness_buffer;
  const std::span<float> key = key_buffer.Take(keys.head_dim());
  keys.Decode(token, key);
  const std::span<float> closeness = closeness_buffer.Take(others.size());
  keys.Closeness(key, others, closeness);
  std::vector<ScoredToken> order(others.size());
  for (size_t i = 0; i < others.size(); ++i) order[i] = {others[i], closeness[i]};
  std::ranges::sort(order, RanksBefore<ScoredToken>);
  std::vector<uint32_t> tokens(others.size());
  std::ranges::transform(order, tokens.begin(), &ScoredToken::token);
  return tokens;
}

// The nearest keys of a token that a walk finds and that lie in different directions.
StatusOr<std::vector<uint32_t>> FindLinks(const BuildKeys& keys, const KeyGraph& graph,
                                          uint32_t token, const GraphBuildOptions& options) {
  thread_local ScratchBuffer<float> buffer;
  const std::span<float> key = buffer.Take(keys.head_dim());
  keys.Decode(token, key);
  BuildAccess access(graph, keys, key);
  GraphWalkOptions walk_options;
  walk_options.node_count = keys.token_count();
  walk_options.visible = {0, keys.token_count()};
  walk_options.entries = graph.entries;
  walk_options.beam_width = options.link_beam;
  ALAYA_ASSIGN_OR_RETURN(GraphWalk walk, WalkGraph(walk_options, access));
  std::ranges::sort(walk.found, RanksBefore<ScoredToken>);
  std::vector<uint32_t> candidates;
  for (const ScoredToken& found : walk.found) {
    if (found.token != token) candidates.push_back(found.token);
    if (candidates.size() == options.link_beam) break;
  }
  return ChooseNeighbors(keys, token, candidates, options.link_count, /*fill=*/false);
}

// Tokens from first_token on that are nobody's neighbour.
std::vector<uint32_t> LoneTokens(const KeyGraph& graph) {
  std::vector<bool> has_sponsor(graph.neighbors.size());
  for (const std::vector<uint32_t>& neighbors : graph.neighbors) {
    for (const uint32_t neighbor : neighbors) has_sponsor[neighbor] = true;
  }
  std::vector<uint32_t> lone;
  for (size_t t = graph.first_token; t < graph.neighbors.size(); ++t) {
    if (!has_sponsor[t]) lone.push_back(static_cast<uint32_t>(t));
  }
  return lone;
}

// Adds those of `others` that the token does not have.
void AddNeighbors(std::span<const uint32_t> others, std::vector<uint32_t>* neighbors) {
  const size_t before = neighbors->size();
  for (const uint32_t other : others) {
    const auto end = neighbors->begin() + static_cast<ptrdiff_t>(before);
    if (std::find(neighbors->begin(), end, other) == end) neighbors->push_back(other);
  }
}

}  // namespace

Status LinkLoneTokens(const BuildKeys& keys, const GraphBuildOptions& options,
                      BuildProgress& progress, KeyGraph* graph) {
  const std::vector<uint32_t> lone = LoneTokens(*graph);
  // All walks see the graph as it was, so their order does not matter.
  std::vector<std::vector<uint32_t>> links(lone.size());
  constexpr size_t kBatch = kTokensPerTask * kTasksAtOnce;
  for (size_t first = 0; first < lone.size(); first += kBatch) {
    progress.Report(first, lone.size());
    const size_t last = std::min(first + kBatch, lone.size());
    options.parallel_for((last - first + kTokensPerTask - 1) / kTokensPerTask, [&](size_t task) {
      if (progress.should_stop()) return;
      const size_t begin = first + task * kTokensPerTask;
      for (size_t i = begin; i < std::min(begin + kTokensPerTask, last); ++i) {
        StatusOr<std::vector<uint32_t>> found = FindLinks(keys, *graph, lone[i], options);
        ALAYA_CHECK(found.ok());  // nothing is read but memory
        links[i] = *std::move(found);
      }
    });
    ALAYA_RETURN_IF_ERROR(progress.Stopped());
  }

  std::vector<std::vector<uint32_t>> wishes(graph->neighbors.size());
  for (size_t i = 0; i < lone.size(); ++i) {
    for (const uint32_t link : links[i]) wishes[link].push_back(lone[i]);
    AddNeighbors(links[i], &graph->neighbors[lone[i]]);
  }
  const size_t task_count = (wishes.size() + kTokensPerTask - 1) / kTokensPerTask;
  options.parallel_for(task_count, [&](size_t task) {
    const size_t end = std::min((task + 1) * kTokensPerTask, wishes.size());
    for (size_t t = task * kTokensPerTask; t < end; ++t) {
      if (wishes[t].empty() || progress.should_stop()) continue;
      const auto token = static_cast<uint32_t>(t);
      AddNeighbors(ChooseNeighbors(keys, token, ByCloseness(keys, token, wishes[t]),
                                   options.link_count, /*fill=*/true),
                   &graph->neighbors[t]);
    }
  });
  return progress.Stopped();
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
