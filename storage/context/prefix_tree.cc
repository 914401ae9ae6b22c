#include "storage/context/prefix_tree.h"

#include <algorithm>
#include <utility>

#include "storage/types/check.h"

namespace alaya {
namespace {

size_t CommonTokens(std::span<const TokenId> a, std::span<const TokenId> b) {
  const size_t shorter = std::min(a.size(), b.size());
  const auto end = a.begin() + static_cast<ptrdiff_t>(shorter);
  return static_cast<size_t>(std::mismatch(a.begin(), end, b.begin()).first - a.begin());
}

}  // namespace

PrefixTree::PrefixTree() : nodes_(1) {}

PrefixTree::NodeIndex PrefixTree::NewNode(NodeIndex parent, const TokenSlice& edge) {
  NodeIndex index = static_cast<NodeIndex>(nodes_.size());
  if (free_nodes_.empty()) {
    nodes_.emplace_back();
  } else {
    index = free_nodes_.back();
    free_nodes_.pop_back();
  }
  nodes_[index].parent = parent;
  nodes_[index].edge = edge;
  nodes_[parent].children[edge.tokens().front()] = index;
  return index;
}

// Puts a node onto the edge to `child`, after its first head_tokens tokens.
PrefixTree::NodeIndex PrefixTree::SplitEdge(NodeIndex child, size_t head_tokens) {
  const TokenSlice edge = nodes_[child].edge;
  const NodeIndex middle = NewNode(nodes_[child].parent, edge.First(head_tokens));
  nodes_[child].edge = edge.From(head_tokens);
  nodes_[child].parent = middle;
  nodes_[middle].children[nodes_[child].edge.tokens().front()] = child;
  nodes_[middle].last_expire_time = nodes_[child].last_expire_time;
  return middle;
}

PrefixTree::NodeIndex PrefixTree::FindOrAddNode(std::span<const TokenSlice> tokens) {
  NodeIndex index = kRoot;
  size_t passed = 0;  // of the edge to `index`: a slice may end anywhere on it
  for (TokenSlice rest : tokens) {
    while (rest.count > 0) {
      if (passed == nodes_[index].edge.count) {
        const auto entry = nodes_[index].children.find(rest.tokens().front());
        const bool is_new = entry == nodes_[index].children.end();
        index = is_new ? NewNode(index, rest) : entry->second;
        passed = 0;
      }
      const size_t common =
          CommonTokens(nodes_[index].edge.tokens().subspan(passed), rest.tokens());
      passed += common;
      rest = rest.From(common);
      const bool is_fork = rest.count > 0 && passed < nodes_[index].edge.count;
      if (is_fork) index = SplitEdge(index, passed);
    }
  }
  return passed < nodes_[index].edge.count ? SplitEdge(index, passed) : index;
}

void PrefixTree::Insert(std::span<const TokenSlice> tokens, const std::string& id,
                        WallTime expire_time) {
  const NodeIndex index = FindOrAddNode(tokens);
  ALAYA_CHECK(index != kRoot);
  const bool inserted = nodes_[index].contexts.emplace(id, expire_time).second;
  ALAYA_CHECK(inserted);
  RefreshUpwards(index);
}

void PrefixTree::Remove(std::span<const TokenSlice> tokens, const std::string& id) {
  const NodeIndex index = FindOrAddNode(tokens);
  const size_t removed = nodes_[index].contexts.erase(id);
  ALAYA_CHECK(removed == 1);
  RefreshUpwards(index);
  PruneUpwards(index);
}

WallTime PrefixTree::LastExpireTime(const Node& node) const {
  WallTime last = WallTime::min();
  for (const auto& [id, expire_time] : node.contexts) last = std::max(last, expire_time);
  for (const auto& [token, child] : node.children) {
    if (last == kNever) break;
    last = std::max(last, nodes_[child].last_expire_time);
  }
  return last;
}

void PrefixTree::RefreshUpwards(NodeIndex index) {
  for (;;) {
    Node& node = nodes_[index];
    const WallTime last = LastExpireTime(node);
    if (last == node.last_expire_time) return;  // nothing changes further up
    node.last_expire_time = last;
    if (index == kRoot) return;
    index = node.parent;
  }
}

// Drops nodes that hold nothing, then joins the last one with an only child, if that one's
// list has the tokens of both: lists of two segments are not joined.
void PrefixTree::PruneUpwards(NodeIndex index) {
  while (index != kRoot && nodes_[index].contexts.empty() && nodes_[index].children.empty()) {
    const NodeIndex parent = nodes_[index].parent;
    nodes_[parent].children.erase(nodes_[index].edge.tokens().front());
    nodes_[index] = Node();
    free_nodes_.push_back(index);
    index = parent;
  }
  Node& node = nodes_[index];
  if (index == kRoot || !node.contexts.empty() || node.children.size() != 1) return;
  const NodeIndex child = node.children.begin()->second;
  TokenSlice& edge = nodes_[child].edge;
  if (edge.begin < node.edge.count) return;
  edge = {edge.list, edge.begin - node.edge.count, edge.count + node.edge.count};
  nodes_[child].parent = node.parent;
  nodes_[node.parent].children[edge.tokens().front()] = child;
  node = Node();
  free_nodes_.push_back(index);
}

PrefixTree::Match PrefixTree::FindLongest(std::span<const TokenId> tokens, WallTime now) const {
  NodeIndex index = kRoot;
  uint64_t matched = 0;
  while (matched < tokens.size()) {
    const std::span<const TokenId> rest = tokens.subspan(matched);
    const auto entry = nodes_[index].children.find(rest.front());
    if (entry == nodes_[index].children.end()) break;
    const Node& child = nodes_[entry->second];
    if (child.last_expire_time <= now) break;
    index = entry->second;
    const size_t common = CommonTokens(child.edge.tokens(), rest);
    matched += common;
    if (common < child.edge.count) break;
  }
  if (matched == 0) return {};
  return {AnyContextBelow(index, now), matched};
}

// Requires a context here or below that is unexpired at `now`.
const std::string& PrefixTree::AnyContextBelow(NodeIndex index, WallTime now) const {
  for (;;) {
    const Node& node = nodes_[index];
    for (const auto& [id, expire_time] : node.contexts) {
      if (expire_time > now) return id;
    }
    const auto next = std::find_if(node.children.begin(), node.children.end(), [&](const auto& c) {
      return nodes_[c.second].last_expire_time > now;
    });
    ALAYA_CHECK(next != node.children.end());
    index = next->second;
  }
}

}  // namespace alaya
