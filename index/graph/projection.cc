#include "index/graph/projection.h"

#include <algorithm>
#include <utility>

namespace alaya {
namespace {

// Of a token that many queries found, so many speak for all.
constexpr size_t kQueriesPerToken = 32;
// Sponsors that are looked for, per sponsor that is wanted: some have no room.
constexpr size_t kSponsorsPerWanted = 3;
constexpr size_t kTokensPerTask = 64;
constexpr size_t kTasksAtOnce = 64;

// A sponsor's place in one query's list. Those that the query found first are also
// what a walk meets first.
struct Membership {
  uint32_t token;
  uint32_t list;
  float weight;
};
constexpr float kHalfWeightRank = 16;

// All places of others in the lists that have `token`, by token and list.
std::span<const Membership> Memberships(const QueryLists& lists, std::span<const uint32_t> queries,
                                        uint32_t token) {
  thread_local std::vector<Membership> members;
  members.clear();
  for (size_t i = 0; i < queries.size(); ++i) {
    const std::span<const uint32_t> list = lists.list(queries[i]);
    for (size_t rank = 0; rank < list.size(); ++rank) {
      if (list[rank] == token) continue;
      const float weight = kHalfWeightRank / (kHalfWeightRank + static_cast<float>(rank));
      members.push_back({list[rank], static_cast<uint32_t>(i), weight});
    }
  }
  std::ranges::sort(members, {},
                    [](const Membership& member) { return std::pair(member.token, member.list); });
  return members;
}

// The places of one possible sponsor, and how much of the queries' need it would meet
// when last looked at: never more than this, as needs only shrink.
struct Candidate {
  float gain_bound;
  uint32_t begin;
  uint32_t end;

  bool operator<(const Candidate& other) const {
    return gain_bound < other.gain_bound || (gain_bound == other.gain_bound && begin > other.begin);
  }
};

// Tokens through which `token` should be found, the most useful first.
std::vector<uint32_t> FindSponsors(const QueryLists& lists, const QueriesOfTokens& queries_of,
                                   uint32_t token, size_t count_max) {
  const std::span<const uint32_t> all = queries_of.queries(token);
  std::vector<uint32_t> queries(std::min(all.size(), kQueriesPerToken));
  for (size_t i = 0; i < queries.size(); ++i) queries[i] = all[i * all.size() / queries.size()];
  const std::span<const Membership> members = Memberships(lists, queries, token);
  std::vector<float> need(queries.size(), 1.0F);
  const auto gain = [&](const Candidate& candidate) {
    float sum = 0;
    for (const Membership& member :
         members.subspan(candidate.begin, candidate.end - candidate.begin)) {
      sum += member.weight * need[member.list];
    }
    return sum;
  };
  std::vector<Candidate> heap;
  for (uint32_t begin = 0; begin < members.size();) {
    uint32_t end = begin;
    while (end < members.size() && members[end].token == members[begin].token) ++end;
    heap.push_back({0, begin, end});
    heap.back().gain_bound = gain(heap.back());
    begin = end;
  }
  std::make_heap(heap.begin(), heap.end());
  std::vector<uint32_t> sponsors;
  while (sponsors.size() < count_max && !heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    Candidate best = heap.back();
    heap.pop_back();
    best.gain_bound = gain(best);
    if (!heap.empty() && best < heap.front()) {
      heap.push_back(best);
      std::push_heap(heap.begin(), heap.end());
      continue;
    }
    sponsors.push_back(members[best.begin].token);
    for (const Membership& member : members.subspan(best.begin, best.end - best.begin)) {
      need[member.list] *= 1 - member.weight / 2;
    }
  }
  return sponsors;
}

// Round by round every token gets its next sponsor that has room.
std::vector<std::vector<uint32_t>> AssignSponsors(const std::vector<std::vector<uint32_t>>& wishes,
                                                  const GraphBuildOptions& options) {
  std::vector<std::vector<uint32_t>> neighbors(wishes.size());
  std::vector<size_t> next(wishes.size());
  std::vector<uint32_t> open;
  for (size_t t = 0; t < wishes.size(); ++t) {
    if (!wishes[t].empty()) open.push_back(static_cast<uint32_t>(t));
  }
  for (size_t round = 0; round < options.sponsor_count && !open.empty(); ++round) {
    std::erase_if(open, [&](uint32_t token) {
      size_t& i = next[token];
      while (i < wishes[token].size() && neighbors[wishes[token][i]].size() >= options.degree_max) {
        ++i;
      }
      if (i == wishes[token].size()) return true;
      neighbors[wishes[token][i++]].push_back(token);
      return false;
    });
  }
  return neighbors;
}

}  // namespace

StatusOr<std::vector<std::vector<uint32_t>>> ProjectGraph(const QueryLists& lists,
                                                          size_t token_count,
                                                          const GraphBuildOptions& options,
                                                          BuildProgress& progress) {
  const QueriesOfTokens queries_of(lists, options.sponsored_rank, token_count);
  std::vector<std::vector<uint32_t>> sponsors(token_count);
  constexpr size_t kBatch = kTokensPerTask * kTasksAtOnce;
  for (size_t first = 0; first < token_count; first += kBatch) {
    progress.Report(first, token_count);
    const size_t last = std::min(first + kBatch, token_count);
    options.parallel_for((last - first + kTokensPerTask - 1) / kTokensPerTask, [&](size_t task) {
      if (progress.should_stop()) return;
      const size_t begin = first + task * kTokensPerTask;
      for (size_t t = begin; t < std::min(begin + kTokensPerTask, last); ++t) {
        sponsors[t] = FindSponsors(lists, queries_of, static_cast<uint32_t>(t),
                                   kSponsorsPerWanted * options.sponsor_count);
      }
    });
    ALAYA_RETURN_IF_ERROR(progress.Stopped());
  }
  return AssignSponsors(sponsors, options);
}

}  // namespace alaya
