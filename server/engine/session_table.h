// The open sessions, by id.

#ifndef ALAYA_SERVER_ENGINE_SESSION_TABLE_H_
#define ALAYA_SERVER_ENGINE_SESSION_TABLE_H_

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "server/engine/session.h"
#include "storage/types/status.h"

namespace alaya {

// Threads: any. Whoever holds a session may finish with it after it was removed.
class SessionTable {
 public:
  explicit SessionTable(size_t session_count_max) : session_count_max_(session_count_max) {}

  // Errors: ResourceExhausted if the table is full.
  Status Insert(std::shared_ptr<Session> session);

  // Errors: NotFound; also for another tenant's session, which must not be told apart.
  StatusOr<std::shared_ptr<Session>> Find(std::string_view tenant, std::string_view id) const;
  StatusOr<std::shared_ptr<Session>> Remove(std::string_view tenant, std::string_view id);

  // A tenant's sessions by rising id, beginning after `after_id`.
  std::vector<std::shared_ptr<Session>> List(std::string_view tenant, std::string_view after_id,
                                             size_t limit) const;

  size_t size() const;

 private:
  const size_t session_count_max_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Session>, std::less<>> sessions_;  // guarded by mutex_
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_SESSION_TABLE_H_
