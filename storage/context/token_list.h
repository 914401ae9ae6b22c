// Tokens that are held once, by whoever names them: the segment that stores them and the
// edges of the prefix tree.

#ifndef ALAYA_STORAGE_CONTEXT_TOKEN_LIST_H_
#define ALAYA_STORAGE_CONTEXT_TOKEN_LIST_H_

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "storage/types/ids.h"

namespace alaya {

// Immutable; copies share the tokens.
class TokenList {
 public:
  using value_type = TokenId;
  using const_iterator = std::span<const TokenId>::iterator;

  TokenList() = default;
  TokenList(std::vector<TokenId> tokens)  // NOLINT(google-explicit-constructor): the same tokens
      : tokens_(std::make_shared<const std::vector<TokenId>>(std::move(tokens))) {}

  std::span<const TokenId> span() const {
    return tokens_ == nullptr ? std::span<const TokenId>() : std::span(*tokens_);
  }
  size_t size() const { return span().size(); }
  const_iterator begin() const { return span().begin(); }
  const_iterator end() const { return span().end(); }
  TokenId operator[](size_t i) const { return span()[i]; }

 private:
  std::shared_ptr<const std::vector<TokenId>> tokens_;
};

// Some consecutive tokens of a list.
struct TokenSlice {
  TokenList list;
  size_t begin = 0;
  size_t count = 0;

  std::span<const TokenId> tokens() const { return list.span().subspan(begin, count); }
  TokenSlice First(size_t n) const { return {list, begin, n}; }
  TokenSlice From(size_t offset) const { return {list, begin + offset, count - offset}; }
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_TOKEN_LIST_H_
