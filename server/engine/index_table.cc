#include "server/engine/index_table.h"

#include <mutex>

namespace alaya {

std::shared_ptr<OpenIndexes> IndexTable::Find(const std::shared_ptr<const Segment>& segment) {
  {
    const std::shared_lock lock(mutex_);
    const auto entry = entries_.find(segment->id);
    if (entry != entries_.end()) return entry->second.indexes;
  }
  const std::unique_lock lock(mutex_);
  std::erase_if(entries_, [](const auto& entry) { return entry.second.segment.expired(); });
  Entry& entry = entries_[segment->id];
  if (entry.indexes == nullptr) {
    entry.segment = segment;
    entry.indexes = std::make_shared<OpenIndexes>(store_, *segment, &kinds_, &listener_);
  }
  return entry.indexes;
}

}  // namespace alaya
