#include "storage/context/stored_context.h"

#include <algorithm>

#include "storage/page/page.h"
#include "storage/types/check.h"

namespace alaya {

Status CheckStorable(const Model& model) {
  const std::string prefix = "model '" + model.name + "': ";
  if (model.name.empty()) return InvalidArgument("a model needs a name");
  if (model.num_layers == 0 || model.num_kv_heads == 0 || model.num_query_heads == 0) {
    return InvalidArgument(prefix + "layers and heads must be at least 1");
  }
  if (model.num_query_heads % model.num_kv_heads != 0) {
    return InvalidArgument(prefix + "num_query_heads " + std::to_string(model.num_query_heads) +
                           " is no multiple of num_kv_heads " + std::to_string(model.num_kv_heads));
  }
  if (model.head_dim == 0 || model.head_dim % 8 != 0) {
    return InvalidArgument(prefix + "head_dim " + std::to_string(model.head_dim) +
                           " is no positive multiple of 8");
  }
  if (PageTokens(model) * model.row_bytes() > kPagePayloadBytesMax) {
    return InvalidArgument(prefix + "head_dim " + std::to_string(model.head_dim) +
                           " is too large for a page");
  }
  return OkStatus();
}

uint64_t MemoryBytes(const StoredContext& context) {
  // As a heap profile says, with what malloc adds. Its id stands in five places.
  constexpr uint64_t kContextBytes = 960;
  constexpr uint64_t kLinkBytes = 64;
  constexpr uint64_t kLabelBytes = 128;
  uint64_t bytes = kContextBytes + 5 * context.id.size() + context.chain.size() * kLinkBytes;
  for (const auto& [key, value] : context.labels) bytes += kLabelBytes + key.size() + value.size();
  return bytes;
}

std::vector<SegmentLink> ChainPrefix(const std::vector<SegmentLink>& chain, uint64_t token_count) {
  ALAYA_CHECK(token_count <= (chain.empty() ? 0 : chain.back().range().end));
  std::vector<SegmentLink> prefix;
  for (const SegmentLink& link : chain) {
    if (link.range().begin >= token_count) break;
    prefix.push_back(link);
    prefix.back().token_count = std::min(link.token_count, token_count - link.range().begin);
  }
  return prefix;
}

}  // namespace alaya
