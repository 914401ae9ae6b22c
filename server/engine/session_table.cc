#include "server/engine/session_table.h"

#include <fmt/format.h>

#include <utility>

#include "storage/types/check.h"

namespace alaya {
namespace {

Status UnknownSession(std::string_view id) {
  return NotFound(fmt::format("session '{}' does not exist", id));
}

}  // namespace

Status SessionTable::Insert(std::shared_ptr<Session> session) {
  const std::scoped_lock lock(mutex_);
  if (sessions_.size() >= session_count_max_) {
    return ResourceExhausted(fmt::format("{} sessions are open, max_sessions is {}",
                                         sessions_.size(), session_count_max_));
  }
  std::string id = session->id();
  ALAYA_CHECK(sessions_.emplace(std::move(id), std::move(session)).second);
  return OkStatus();
}

StatusOr<std::shared_ptr<Session>> SessionTable::Find(std::string_view tenant,
                                                      std::string_view id) const {
  const std::scoped_lock lock(mutex_);
  const auto found = sessions_.find(id);
  if (found == sessions_.end() || found->second->tenant() != tenant) return UnknownSession(id);
  return found->second;
}

StatusOr<std::shared_ptr<Session>> SessionTable::Remove(std::string_view tenant,
                                                        std::string_view id) {
  const std::scoped_lock lock(mutex_);
  const auto found = sessions_.find(id);
  if (found == sessions_.end() || found->second->tenant() != tenant) return UnknownSession(id);
  std::shared_ptr<Session> session = std::move(found->second);
  sessions_.erase(found);
  return session;
}

std::vector<std::shared_ptr<Session>> SessionTable::List(std::string_view tenant,
                                                         std::string_view after_id,
                                                         size_t limit) const {
  const std::scoped_lock lock(mutex_);
  std::vector<std::shared_ptr<Session>> page;
  for (auto i = sessions_.upper_bound(after_id); i != sessions_.end() && page.size() < limit; ++i) {
    if (i->second->tenant() == tenant) page.push_back(i->second);
  }
  return page;
}

size_t SessionTable::size() const {
  const std::scoped_lock lock(mutex_);
  return sessions_.size();
}

}  // namespace alaya
