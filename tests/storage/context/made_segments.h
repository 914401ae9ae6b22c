// Segments with tokens in memory, for what reads tokens of chains.

#ifndef ALAYA_TESTS_STORAGE_CONTEXT_MADE_SEGMENTS_H_
#define ALAYA_TESTS_STORAGE_CONTEXT_MADE_SEGMENTS_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "storage/context/chain_tokens.h"
#include "storage/context/stored_context.h"

namespace alaya {

class MadeSegments {
 public:
  using Tokens = std::vector<TokenId>;

  // A link to a new segment with these tokens, the first `count` of which belong to the chain.
  SegmentLink Make(uint64_t token_begin, Tokens tokens, uint64_t count) {
    auto segment = std::make_shared<Segment>();
    segment->id = SegmentId{++made_count_};
    segment->token_begin = token_begin;
    segment->token_count = tokens.size();
    tokens_[segment->id] = std::move(tokens);
    return {std::move(segment), count};
  }
  SegmentLink Make(uint64_t token_begin, const Tokens& tokens) {
    return Make(token_begin, tokens, tokens.size());
  }

  // Gives as many tokens as are wanted, or with `random` any number.
  TokenSource Source(std::mt19937* random = nullptr) {
    return [this, random](const Segment& segment, uint64_t offset,
                          uint64_t wanted_count) -> StatusOr<TokenStretch> {
      ++read_count_;
      if (failing_) return Unavailable("the disk is gone");
      const std::span<const TokenId> all(tokens_.at(segment.id));
      const std::span<const TokenId> rest = all.subspan(offset);
      uint64_t count = wanted_count;
      if (random != nullptr) count = 1 + (*random)() % rest.size();
      return TokenStretch(rest.first(std::min<uint64_t>(count, rest.size())));
    };
  }

  uint64_t read_count() const { return read_count_; }
  void set_failing(bool failing) { failing_ = failing; }

 private:
  std::map<SegmentId, Tokens> tokens_;
  uint64_t made_count_ = 0;
  uint64_t read_count_ = 0;
  bool failing_ = false;
};

inline std::shared_ptr<const StoredContext> MakeContext(std::string id,
                                                        std::vector<SegmentLink> chain,
                                                        std::optional<WallTime> expire_time = {}) {
  auto context = std::make_shared<StoredContext>();
  context->id = std::move(id);
  context->chain = std::move(chain);
  context->expire_time = expire_time;
  return context;
}

}  // namespace alaya

#endif  // ALAYA_TESTS_STORAGE_CONTEXT_MADE_SEGMENTS_H_
