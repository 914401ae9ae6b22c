#include "server/engine/tail_index.h"

#include <string>

namespace alaya {

TailIndex::TailIndex(const Tail& tail, LayerIndex layer, uint32_t kv_head_count, size_t head_dim,
                     TailBudget* budget)
    : budget_(budget) {
  for (uint32_t head = 0; head < kv_head_count; ++head) {
    heads_.emplace_back(tail, layer, KvHeadIndex{head}, head_dim);
  }
}

TailIndex::~TailIndex() { budget_->Release(bytes_); }

Status TailIndex::Extend() {
  uint64_t bytes = 0;
  for (Head& head : heads_) {
    ALAYA_RETURN_IF_ERROR(head.index.Extend());
    bytes += head.index.memory_bytes();
  }
  if (bytes > bytes_) {
    ALAYA_RETURN_IF_ERROR(budget_->Reserve(bytes - bytes_));
  } else {
    budget_->Release(bytes_ - bytes);
  }
  bytes_ = bytes;
  return OkStatus();
}

void TailIndex::Truncate(uint64_t token_count) {
  for (Head& head : heads_) head.index.Truncate(token_count);
}

}  // namespace alaya
