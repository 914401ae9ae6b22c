#include "index/flat/open_blocks.h"

#include <utility>

namespace alaya {

StatusOr<bool> OpenBlocks::Next() {
  if (has_current_) blocks_.pop_front();
  if (blocks_.empty() && read_ < groups_.size()) ALAYA_RETURN_IF_ERROR(ReadOne());
  has_current_ = !blocks_.empty();
  if (!has_current_) return false;
  size_t ahead = 0;
  for (size_t i = 1; i < blocks_.size(); ++i) ahead += blocks_[i].groups.size();
  while (ahead < kGroupsAhead && read_ < groups_.size()) {
    ALAYA_RETURN_IF_ERROR(ReadOne());
    ahead += blocks_.back().groups.size();
  }
  upcoming_.clear();
  for (size_t i = 1; i < blocks_.size(); ++i) upcoming_.push_back(blocks_[i].listed());
  return true;
}

Status OpenBlocks::ReadOne() {
  const size_t block_groups = source_.header().block_tokens / kCodeGroupTokens;
  OpenBlock open;
  open.block = groups_[read_] / block_groups;
  const size_t first = open.block * block_groups;
  open.places.begin = read_ * kCodeGroupTokens;
  for (; read_ < groups_.size() && groups_[read_] < first + block_groups; ++read_) {
    open.groups.push_back(static_cast<uint32_t>(groups_[read_] - first));
  }
  open.places.end = read_ * kCodeGroupTokens;
  ALAYA_ASSIGN_OR_RETURN(open.pinned, source_.Block(open.block));
  blocks_.push_back(std::move(open));
  return OkStatus();
}

}  // namespace alaya
