#include "storage/context/prefix_tree.h"

#include <algorithm>
#include <utility>

#include "storage/types/check.h"

namespace alaya {
namespace {

constexpr WallTime kNever = WallTime::max();

WallTime ExpireTime(const StoredContext& context) {
  return context.pinned ? kNever : context.expire_time.value_or(kNever);
}

}  // namespace

PrefixTree::PrefixTree() : nodes_(1) {}

// ---- Changing

PrefixTree::NodeIndex PrefixTree::NewNode(NodeIndex parent, TokenId first_token, uint64_t depth) {
  auto index = static_cast<NodeIndex>(nodes_.size());
  if (free_nodes_.empty()) {
    nodes_.emplace_back();
  } else {
    index = free_nodes_.back();
    free_nodes_.pop_back();
  }
  Node& node = nodes_[index];
  node.depth = depth;
  node.parent = parent;
  node.first_token = first_token;
  nodes_[parent].children[first_token] = index;
  return index;
}

// Puts a node onto the edge to `child`.
PrefixTree::NodeIndex PrefixTree::SplitEdge(NodeIndex child, uint64_t depth, TokenId rest_token) {
  const NodeIndex middle = NewNode(nodes_[child].parent, nodes_[child].first_token, depth);
  nodes_[child].parent = middle;
  nodes_[child].first_token = rest_token;
  nodes_[middle].children[rest_token] = child;
  nodes_[middle].last_expire_time = nodes_[child].last_expire_time;
  return middle;
}

void PrefixTree::Insert(const Place& place, ContextPointer context) {
  NodeIndex index = place.node;
  if (place.split) index = SplitEdge(index, place.split->depth, place.split->rest_token);
  if (place.first_token) index = NewNode(index, *place.first_token, context->token_count());
  ALAYA_CHECK(index != kRoot && nodes_[index].depth == context->token_count());
  const bool is_new = places_.emplace(context->id, index).second;
  ALAYA_CHECK(is_new);
  nodes_[index].contexts.insert(std::move(context));
  RefreshUpwards(index);
}

void PrefixTree::Replace(ContextPointer context) {
  const NodeIndex index = places_.at(context->id);
  std::set<ContextPointer, ById>& contexts = nodes_[index].contexts;
  ALAYA_CHECK(contexts.erase(context) == 1);
  contexts.insert(std::move(context));
  RefreshUpwards(index);
}

void PrefixTree::Remove(const std::string& id) {
  const auto place = places_.find(id);
  ALAYA_CHECK(place != places_.end());
  const NodeIndex index = place->second;
  places_.erase(place);
  std::set<ContextPointer, ById>& contexts = nodes_[index].contexts;
  contexts.erase(contexts.find(id));
  RefreshUpwards(index);
  PruneUpwards(index);
}

WallTime PrefixTree::LastExpireTime(const Node& node) const {
  WallTime last = WallTime::min();
  for (const ContextPointer& context : node.contexts) {
    last = std::max(last, ExpireTime(*context));
  }
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
    nodes_[parent].children.erase(nodes_[index].first_token);
    nodes_[index] = Node();
    free_nodes_.push_back(index);
    index = parent;
  }
  Node& node = nodes_[index];
  if (index == kRoot || !node.contexts.empty() || node.children.size() != 1) return;
  const NodeIndex child = node.children.begin()->second;
  nodes_[child].parent = node.parent;
  nodes_[child].first_token = node.first_token;
  nodes_[node.parent].children[node.first_token] = child;
  node = Node();
  free_nodes_.push_back(index);
}

// ---- Looking

PrefixTree::ContextPointer PrefixTree::FindCandidate(std::span<const TokenId> tokens,
                                                     WallTime now) const {
  NodeIndex index = kRoot;
  while (nodes_[index].depth < tokens.size()) {
    const Node& node = nodes_[index];
    const auto child = node.children.find(tokens[node.depth]);
    if (child == node.children.end()) break;
    if (nodes_[child->second].last_expire_time <= now) break;
    index = child->second;
  }
  return index == kRoot ? nullptr : ContextBelow(index, now);
}

// A context here or below that is unexpired at `now`, one of the nearest. Requires: there is one.
const PrefixTree::ContextPointer& PrefixTree::ContextBelow(NodeIndex index, WallTime now) const {
  for (;;) {
    const Node& node = nodes_[index];
    for (const ContextPointer& context : node.contexts) {
      if (ExpireTime(*context) > now) return context;
    }
    const auto next = std::find_if(node.children.begin(), node.children.end(), [&](const auto& c) {
      return nodes_[c.second].last_expire_time > now;
    });
    ALAYA_CHECK(next != node.children.end());
    index = next->second;
  }
}

// One that no other goes on. Requires: not the root of an empty tree.
const PrefixTree::ContextPointer& PrefixTree::LastContextBelow(NodeIndex index) const {
  while (!nodes_[index].children.empty()) index = nodes_[index].children.begin()->second;
  return *nodes_[index].contexts.begin();
}

// Goes down by comparing with one context below after the other, each time to where they part.
StatusOr<PrefixTree::Place> PrefixTree::FindPlace(const StoredContext& context,
                                                  const TokenSource& read) const {
  const uint64_t token_count = context.token_count();
  ALAYA_CHECK(token_count > 0);
  Place place;
  while (nodes_[place.node].depth < token_count) {
    const uint64_t depth = nodes_[place.node].depth;
    ALAYA_ASSIGN_OR_RETURN(const TokenId token, ReadChainToken(context.chain, depth, read));
    const auto child = nodes_[place.node].children.find(token);
    if (child == nodes_[place.node].children.end()) {
      place.first_token = token;
      break;
    }
    const StoredContext& other = *LastContextBelow(child->second);
    ALAYA_ASSIGN_OR_RETURN(const uint64_t common,
                           CountCommonTokens(context.chain, other.chain, depth + 1, read));
    // The first node on the way to the other context that lies beyond.
    NodeIndex beyond = places_.at(other.id);
    while (nodes_[nodes_[beyond].parent].depth >= common) beyond = nodes_[beyond].parent;
    place.node = beyond;
    if (nodes_[beyond].depth == common) continue;
    ALAYA_ASSIGN_OR_RETURN(const TokenId rest_token, ReadChainToken(other.chain, common, read));
    place.split = Place::Split{common, rest_token};
    if (common < token_count) {
      ALAYA_ASSIGN_OR_RETURN(place.first_token, ReadChainToken(context.chain, common, read));
    }
    break;
  }
  return place;
}

}  // namespace alaya
