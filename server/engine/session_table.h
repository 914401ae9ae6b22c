// The open sessions, by id, and which ones ended because nobody used them.
//
// Asking for a session renews its lease. Leases are told by a clock that never jumps, and a
// session that somebody holds, for an item in flight say, does not end.

#ifndef ALAYA_SERVER_ENGINE_SESSION_TABLE_H_
#define ALAYA_SERVER_ENGINE_SESSION_TABLE_H_

#include <chrono>
#include <cstddef>
#include <deque>
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
  // `clock` must outlive the table.
  SessionTable(size_t session_count_max, const Clock* clock)
      : session_count_max_(session_count_max), clock_(clock) {}

  // Errors: ResourceExhausted if the table is full.
  Status Insert(std::shared_ptr<Session> session);

  // Errors: NotFound, with the reason for a session that ended unused a while ago; also
  //   for another tenant's session, which must not be told apart.
  StatusOr<std::shared_ptr<Session>> Find(std::string_view tenant, std::string_view id) const;
  StatusOr<std::shared_ptr<Session>> Remove(std::string_view tenant, std::string_view id);

  // A tenant's sessions by rising id, beginning after `after_id`.
  std::vector<std::shared_ptr<Session>> List(std::string_view tenant, std::string_view after_id,
                                             size_t limit) const;

  // Removes the sessions that nobody used for `timeout` or holds now. They are the
  // caller's to close.
  std::vector<std::shared_ptr<Session>> RemoveUnused(std::chrono::milliseconds timeout);

  size_t size() const;

 private:
  // A session that ended unused, remembered so that its owner learns why.
  struct Ended {
    std::string id;
    std::string tenant;
    std::chrono::milliseconds timeout;
  };
  // With mutex_ held.
  Status Unknown(std::string_view tenant, std::string_view id) const;

  const size_t session_count_max_;
  const Clock* const clock_;
  mutable std::mutex mutex_;  // guards the rest
  std::map<std::string, std::shared_ptr<Session>, std::less<>> sessions_;
  std::deque<Ended> ended_;  // the last ones
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_SESSION_TABLE_H_
