// Which stored contexts share a prefix with a token sequence: a radix tree over
// tokens, one per tenant and model.
//
// Compares tokens, never hashes, and holds none of its own: an edge is a slice of the list
// that a segment holds as well. Every node knows when the last context below it
// expires, so a lookup never walks into expired branches.

#ifndef ALAYA_STORAGE_CONTEXT_PREFIX_TREE_H_
#define ALAYA_STORAGE_CONTEXT_PREFIX_TREE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "storage/context/stored_context.h"
#include "storage/context/token_list.h"
#include "storage/types/ids.h"

namespace alaya {

// Threads: const methods may run at the same time; others alone.
class PrefixTree {
 public:
  static constexpr WallTime kNever = WallTime::max();

  PrefixTree();

  // Requires: `id` is not in the tree; tokens are not empty.
  // Cost: of all methods one pass over the tokens, plus the branches on the way.
  void Insert(std::span<const TokenSlice> tokens, const std::string& id, WallTime expire_time);
  // Requires: inserted with these tokens, whatever their slices were.
  void Remove(std::span<const TokenSlice> tokens, const std::string& id);

  struct Match {
    std::string id;  // of a context that starts with the matched tokens
    uint64_t matched_tokens = 0;
  };
  // The longest prefix of `tokens` that an unexpired context starts with; an empty
  // id with 0 tokens if there is none.
  Match FindLongest(std::span<const TokenId> tokens, WallTime now) const;

  size_t node_count() const { return nodes_.size() - free_nodes_.size(); }

 private:
  // Nodes refer to each other by number: a chain as deep as a context is long must
  // not be destroyed by recursion.
  using NodeIndex = uint32_t;
  static constexpr NodeIndex kRoot = 0;

  struct Node {
    // Tokens between the parent and here. Those before them in their list are those on the
    // way to the parent.
    TokenSlice edge;
    NodeIndex parent = kRoot;
    std::map<TokenId, NodeIndex> children;        // by the first token of their edge
    std::map<std::string, WallTime> contexts;     // that end here, with their expiry
    WallTime last_expire_time = WallTime::min();  // of all contexts here and below
  };

  NodeIndex NewNode(NodeIndex parent, const TokenSlice& edge);
  NodeIndex SplitEdge(NodeIndex child, size_t head_tokens);
  NodeIndex FindOrAddNode(std::span<const TokenSlice> tokens);
  void RefreshUpwards(NodeIndex index);
  void PruneUpwards(NodeIndex index);
  WallTime LastExpireTime(const Node& node) const;
  const std::string& AnyContextBelow(NodeIndex index, WallTime now) const;

  std::vector<Node> nodes_;
  std::vector<NodeIndex> free_nodes_;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_PREFIX_TREE_H_
