#include "index/graph/graph_build.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "index/graph/anchor_build.h"
#include "index/graph/build_keys.h"
#include "index/graph/build_progress.h"
#include "index/graph/connectivity.h"
#include "index/graph/projection.h"
#include "index/graph/query_lists.h"
#include "index/graph/query_sample.h"

namespace alaya {
namespace {

// What share of the whole each stage takes, about.
constexpr double kAnchorsEnd = 0.05;
constexpr double kListsEnd = 0.6;
constexpr double kProjectionEnd = 0.9;
constexpr size_t kEntryCountAim = kGraphEntriesMax / 2;

Status CheckOptions(const GraphBuildOptions& options) {
  if (!(options.sample_share > 0 && options.sample_share <= 1)) {
    return InvalidArgument("sample_share " + std::to_string(options.sample_share) +
                           ": must be in (0, 1]");
  }
  const struct {
    const char* name;
    size_t value;
    size_t limit;
  } counts[] = {{"sample_count_max", options.sample_count_max, SIZE_MAX},
                {"query_neighbors", options.query_neighbors, SIZE_MAX},
                {"sponsored_rank", options.sponsored_rank, SIZE_MAX},
                {"sponsor_count", options.sponsor_count, SIZE_MAX},
                {"degree_max", options.degree_max, 256},
                {"link_count", options.link_count, 256},
                {"link_window", options.link_window, SIZE_MAX},
                {"anchor_tokens", options.anchor_tokens, SIZE_MAX},
                {"entry_tokens", options.entry_tokens, SIZE_MAX}};
  for (const auto& count : counts) {
    if (count.value >= 1 && count.value <= count.limit) continue;
    return InvalidArgument(std::string(count.name) + " " + std::to_string(count.value) +
                           ": must be 1 to " + std::to_string(count.limit));
  }
  if (options.anchor_count > kAnchorsMax) {
    return InvalidArgument("anchor_count " + std::to_string(options.anchor_count) +
                           ": must be at most " + std::to_string(kAnchorsMax));
  }
  return OkStatus();
}

// Half of the sampled queries lie in the last seventh of the text.
constexpr double kNearEnd = 1.0 / 32;

// Keys less their mean, in place of queries.
std::vector<float> SampleKeys(const BuildKeys& keys, size_t first_token, size_t count) {
  const size_t d = keys.head_dim();
  const size_t target_count = keys.token_count() - first_token;
  std::vector<float> sample(count * d);
  for (size_t i = 0; i < count; ++i) {
    const std::span<float> row = std::span(sample).subspan(i * d, d);
    keys.Decode(static_cast<uint32_t>(first_token + i * target_count / count), row);
    for (size_t e = 0; e < d; ++e) row[e] -= keys.mean()[e];
  }
  return sample;
}

// Of every stretch of text the token that the most queries found.
std::vector<uint32_t> ChooseEntries(const QueryLists& lists, size_t first_token, size_t token_count,
                                    size_t stretch) {
  std::vector<uint32_t> found(token_count);
  for (size_t q = 0; q < lists.query_count(); ++q) {
    for (const uint32_t token : lists.list(q)) ++found[token];
  }
  std::vector<uint32_t> entries;
  for (size_t begin = first_token; begin < token_count; begin += stretch) {
    const auto first = found.begin() + static_cast<ptrdiff_t>(begin);
    const auto last =
        found.begin() + static_cast<ptrdiff_t>(std::min(begin + stretch, token_count));
    entries.push_back(static_cast<uint32_t>(std::max_element(first, last) - found.begin()));
  }
  return entries;
}

}  // namespace

StatusOr<KeyGraph> BuildKeyGraph(const KvReader& reader, MatrixView<const float> queries,
                                 const GraphBuildOptions& given_options) {
  ALAYA_RETURN_IF_ERROR(CheckOptions(given_options));
  GraphBuildOptions options = given_options;
  if (!options.parallel_for) {
    options.parallel_for = [](size_t count, const std::function<void(size_t)>& function) {
      for (size_t i = 0; i < count; ++i) function(i);
    };
  }
  BuildProgress progress(&options);
  const size_t token_count = reader.token_count();
  KeyGraph graph;
  graph.first_token = std::min(options.first_token, token_count);
  graph.neighbors.resize(token_count);
  graph.anchors.head_dim = reader.head_dim();
  graph.anchors.begins.resize(token_count + 1);
  if (graph.first_token == token_count) return graph;

  ALAYA_ASSIGN_OR_RETURN(const BuildKeys keys, BuildKeys::Read(reader));
  const double wanted = std::ceil(options.sample_share * static_cast<double>(token_count));
  const size_t sample_max = std::min(static_cast<size_t>(wanted), options.sample_count_max);
  const std::vector<float> sample =
      queries.empty()
          ? SampleKeys(keys, graph.first_token,
                       std::min(sample_max, token_count - graph.first_token))
          : SampleQueries(queries, std::min(sample_max, queries.rows()), kNearEnd, keys.dtype());
  const MatrixView<const float> sampled(sample.data(), sample.size() / keys.head_dim(),
                                        keys.head_dim());
  progress.BeginStage(0, kAnchorsEnd);
  ALAYA_ASSIGN_OR_RETURN(graph.anchors, BuildAnchorScores(reader, queries, options, progress));
  progress.BeginStage(kAnchorsEnd, kListsEnd);
  ALAYA_ASSIGN_OR_RETURN(const QueryLists lists,
                         FindQueryLists(reader, sampled, options, progress));
  graph.entries = ChooseEntries(lists, graph.first_token, token_count,
                                std::max(options.entry_tokens, token_count / kEntryCountAim));
  progress.BeginStage(kListsEnd, kProjectionEnd);
  ALAYA_ASSIGN_OR_RETURN(graph.neighbors, ProjectGraph(lists, token_count, options, progress));
  progress.BeginStage(kProjectionEnd, 1);
  ALAYA_RETURN_IF_ERROR(LinkNearKeys(keys, options, progress, &graph));
  ReachAllTokens(&graph);
  progress.Report(1, 1);
  return graph;
}

}  // namespace alaya
