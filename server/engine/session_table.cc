#include "server/engine/session_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/engine/quota_error.h"
#include "server/engine/tenant_quota.h"
#include "storage/types/check.h"

namespace alaya {
namespace {

// A few kilobytes; whoever comes back after more sessions ended learns less.
constexpr size_t kEndedSessionsKept = 1024;

}  // namespace

Status SessionTable::Unknown(std::string_view tenant, std::string_view id) const {
  const auto ended = std::ranges::find_if(
      ended_, [&](const Ended& each) { return each.id == id && each.tenant == tenant; });
  if (ended == ended_.end()) return NotFound(fmt::format("session '{}' does not exist", id));
  return NotFound(
      fmt::format("session '{}' ended: it was not used for {} ms, the session_idle_timeout", id,
                  ended->timeout.count()));
}

Status SessionTable::Insert(std::shared_ptr<Session> session) {
  const std::scoped_lock lock(mutex_);
  if (sessions_.size() >= session_count_max_) {
    return QuotaError({.subject = TenantQuota::kTotalSubject,
                       .description = fmt::format("{} sessions are open, max_sessions is {}",
                                                  sessions_.size(), session_count_max_),
                       .retry_after = kRetryLater});
  }
  session->Touch(clock_->steady_now());
  std::string id = session->id();
  ALAYA_CHECK(sessions_.emplace(std::move(id), std::move(session)).second);
  return OkStatus();
}

StatusOr<std::shared_ptr<Session>> SessionTable::Find(std::string_view tenant,
                                                      std::string_view id) const {
  const std::scoped_lock lock(mutex_);
  const auto found = sessions_.find(id);
  if (found == sessions_.end() || found->second->tenant() != tenant) return Unknown(tenant, id);
  found->second->Touch(clock_->steady_now());
  return found->second;
}

StatusOr<std::shared_ptr<Session>> SessionTable::Remove(std::string_view tenant,
                                                        std::string_view id) {
  const std::scoped_lock lock(mutex_);
  const auto found = sessions_.find(id);
  if (found == sessions_.end() || found->second->tenant() != tenant) return Unknown(tenant, id);
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

std::vector<std::shared_ptr<Session>> SessionTable::RemoveUnused(
    std::chrono::milliseconds timeout) {
  const std::scoped_lock lock(mutex_);
  const auto used_after = clock_->steady_now() - timeout;
  std::vector<std::shared_ptr<Session>> removed;
  for (auto i = sessions_.begin(); i != sessions_.end();) {
    // Whoever holds it got it here, under this lock: one owner means that nobody does.
    if (i->second.use_count() > 1 || i->second->last_use() > used_after) {
      ++i;
      continue;
    }
    ended_.push_back({i->first, i->second->tenant(), timeout});
    if (ended_.size() > kEndedSessionsKept) ended_.pop_front();
    removed.push_back(std::move(i->second));
    i = sessions_.erase(i);
  }
  return removed;
}

size_t SessionTable::size() const {
  const std::scoped_lock lock(mutex_);
  return sessions_.size();
}

}  // namespace alaya
