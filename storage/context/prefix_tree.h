// Which stored contexts share a prefix with a token sequence: a radix tree over tokens, one
// per tenant and model, that holds no tokens but the first of each edge.
//
// Whoever looks for a prefix follows those tokens without looking at what lies between
// them. The context that is found shares the longest prefix, if any does: where that one ends,
// every token at which contexts part was followed. How long it is, comparing the tokens of
// that one context tells, and no hash: what does not match is found there.
//
// Every node knows when the last context below it expires, so a lookup never walks into
// expired branches.
//
// Source: Morrison, PATRICIA, J. ACM 15(4), 1968.

#ifndef ALAYA_STORAGE_CONTEXT_PREFIX_TREE_H_
#define ALAYA_STORAGE_CONTEXT_PREFIX_TREE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "storage/context/chain_tokens.h"
#include "storage/context/stored_context.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"

namespace alaya {

// Threads: const methods may run at the same time; others alone.
class PrefixTree {
 public:
  using ContextPointer = std::shared_ptr<const StoredContext>;

  PrefixTree();

  // A context unexpired at `now` such that none shares more tokens with `tokens`; null only
  // if none shares any. It may share none itself: compare its tokens.
  // Cost: the branches on the way; reads no tokens.
  ContextPointer FindCandidate(std::span<const TokenId> tokens, WallTime now) const;

  using NodeIndex = uint32_t;
  // Where a context belongs; for Insert, and good until the tree changes.
  struct Place {
    NodeIndex node = 0;
    // Where the edge to the node is split, and the token with which its rest begins then.
    struct Split {
      uint64_t depth = 0;
      TokenId rest_token = 0;
    };
    std::optional<Split> split = {};
    // Of a new edge from there to the context's end; none: it ends there.
    std::optional<TokenId> first_token = {};
  };
  // Errors: those of `read`. Requires: the context has tokens.
  // Cost: the branches on the way, and what TokenSource says; segments in common cost nothing.
  StatusOr<Place> FindPlace(const StoredContext& context, const TokenSource& read) const;
  // Requires: no context of this id is in the tree; the place was found for its tokens.
  void Insert(const Place& place, ContextPointer context);
  // Puts another snapshot, with the same tokens, in the place of the one with its id.
  // Requires: there is one.
  void Replace(ContextPointer context);
  // Requires: it is there.
  void Remove(const std::string& id);

  size_t node_count() const { return nodes_.size() - free_nodes_.size(); }

 private:
  // Nodes refer to each other by number: a chain as deep as a context is long must
  // not be destroyed by recursion.
  static constexpr NodeIndex kRoot = 0;

  struct ById {
    using is_transparent = void;
    bool operator()(const auto& a, const auto& b) const { return IdOf(a) < IdOf(b); }
    static const std::string& IdOf(const ContextPointer& context) { return context->id; }
    static const std::string& IdOf(const std::string& id) { return id; }
  };
  struct Node {
    uint64_t depth = 0;  // tokens from the root to here; the edge here begins at the parent's
    NodeIndex parent = kRoot;
    TokenId first_token = 0;                       // of the edge
    absl::btree_map<TokenId, NodeIndex> children;  // by their first_token
    std::set<ContextPointer, ById> contexts;       // that end here
    WallTime last_expire_time = WallTime::min();   // of all contexts here and below
  };

  NodeIndex NewNode(NodeIndex parent, TokenId first_token, uint64_t depth);
  NodeIndex SplitEdge(NodeIndex child, uint64_t depth, TokenId rest_token);
  void RefreshUpwards(NodeIndex index);
  void PruneUpwards(NodeIndex index);
  WallTime LastExpireTime(const Node& node) const;
  const ContextPointer& ContextBelow(NodeIndex index, WallTime now) const;
  const ContextPointer& LastContextBelow(NodeIndex index) const;

  std::vector<Node> nodes_;
  std::vector<NodeIndex> free_nodes_;
  absl::flat_hash_map<std::string, NodeIndex> places_;  // of contexts, by id
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_PREFIX_TREE_H_
