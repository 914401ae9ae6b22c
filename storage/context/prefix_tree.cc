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

PrefixTree::NodeIndex PrefixTree::NewNode(NodeIndex parent, std::span<const TokenId> edge) {
  NodeIndex index = static_cast<NodeIndex>(nodes_.size());
  if (free_nodes_.empty()) {
    nodes_.emplace_back();
  } else {
    index = free_nodes_.back();
    free_nodes_.pop_back();
  }
  nodes_[index].parent = parent;
  nodes_[index].edge.assign(edge.begin(), edge.end());
  nodes_[parent].children[edge.front()] = index;
  return index;
}

// Puts a node onto the edge to `child`, after its first head_tokens tokens.
PrefixTree::NodeIndex PrefixTree::SplitEdge(NodeIndex child, size_t head_tokens) {
  const std::vector<TokenId> edge = std::move(nodes_[child].edge);
  const std::span<const TokenId> tokens(edge);
  const NodeIndex middle = NewNode(nodes_[child].parent, tokens.first(head_tokens));
  const std::span<const TokenId> rest = tokens.subspan(head_tokens);
  nodes_[child].edge.assign(rest.begin(), rest.end());
  nodes_[child].parent = middle;
  nodes_[middle].children[rest.front()] = child;
  nodes_[middle].last_expire_time = nodes_[child].last_expire_time;
  return middle;
}

PrefixTree::NodeIndex PrefixTree::FindOrAddNode(std::span<const TokenId> tokens) {
  NodeIndex index = kRoot;
  while (!tokens.empty()) {
    const auto entry = nodes_[index].children.find(tokens.front());
    if (entry == nodes_[index].children.end()) return NewNode(index, tokens);
    const NodeIndex child = entry->second;
    const size_t common = CommonTokens(nodes_[child].edge, tokens);
    index = common < nodes_[child].edge.size() ? SplitEdge(child, common) : child;
    tokens = tokens.subspan(common);
  }
  return index;
}

PrefixTree::NodeIndex PrefixTree::FindNode(std::span<const TokenId> tokens) const {
  NodeIndex index = kRoot;
  while (!tokens.empty()) {
    const auto entry = nodes_[index].children.find(tokens.front());
    ALAYA_CHECK(entry != nodes_[index].children.end());
    index = entry->second;
    const std::vector<TokenId>& edge = nodes_[index].edge;
    ALAYA_CHECK(CommonTokens(edge, tokens) == edge.size());
    tokens = tokens.subspan(edge.size());
  }
  return index;
}

void PrefixTree::Insert(std::span<const TokenId> tokens, const std::string& id,
                        WallTime expire_time) {
  ALAYA_CHECK(!tokens.empty());
  const NodeIndex index = FindOrAddNode(tokens);
  const bool inserted = nodes_[index].contexts.emplace(id, expire_time).second;
  ALAYA_CHECK(inserted);
  RefreshUpwards(index);
}

void PrefixTree::Remove(std::span<const TokenId> tokens, const std::string& id) {
  const NodeIndex index = FindNode(tokens);
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

// Drops nodes that hold nothing, then joins the last one with an only child.
void PrefixTree::PruneUpwards(NodeIndex index) {
  while (index != kRoot && nodes_[index].contexts.empty() && nodes_[index].children.empty()) {
    const NodeIndex parent = nodes_[index].parent;
    nodes_[parent].children.erase(nodes_[index].edge.front());
    nodes_[index] = Node();
    free_nodes_.push_back(index);
    index = parent;
  }
  Node& node = nodes_[index];
  if (index == kRoot || !node.contexts.empty() || node.children.size() != 1) return;
  const NodeIndex child = node.children.begin()->second;
  nodes_[child].edge.insert(nodes_[child].edge.begin(), node.edge.begin(), node.edge.end());
  nodes_[child].parent = node.parent;
  nodes_[node.parent].children[node.edge.front()] = child;
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
    const size_t common = CommonTokens(child.edge, rest);
    matched += common;
    if (common < child.edge.size()) break;
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
