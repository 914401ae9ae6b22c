// What must be on disk after a crash: contexts by id, each stored, gone, or not known
// because the server died before it answered.

#ifndef ALAYA_TESTS_FAULT_STORED_ORACLE_H_
#define ALAYA_TESTS_FAULT_STORED_ORACLE_H_

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "client/client.h"
#include "storage/types/status.h"
#include "tests/integration/kv_sequence.h"

namespace alaya {

class StoredOracle {
 public:
  using Sequence = std::shared_ptr<const KvSequence>;

  // A call is told before it is made and when it was acknowledged; between the two
  // either outcome is right.
  void WillStore(const std::string& id, Sequence sequence);
  void Stored(const std::string& id);
  void WillRemove(const std::string& id);
  void Removed(const std::string& id);
  // The server may remove it at any time from now on: it expires, or space is short.
  void MayGo(const std::string& id);

  // Ids that are surely there.
  std::vector<std::string> stored_ids() const;
  // Ids that may be there, and may be gone at any moment.
  std::vector<std::string> passing_ids() const;
  Sequence sequence(const std::string& id) const { return contexts_.at(id).sequence; }
  size_t acknowledged_count() const { return acknowledged_count_; }

  // Compares with what the server has, every byte of it, and takes its word for what was
  // not known. `ids` are those of the server.
  // Errors: DataLoss for a context that is lost, back, unknown or different.
  Status Settle(const client::Client& client, const std::vector<std::string>& ids);

 private:
  enum class State { kStored, kUnknown, kMayGo, kGone };
  std::vector<std::string> IdsIn(State state) const;
  struct Context {
    Sequence sequence;
    State state = State::kUnknown;
  };

  std::map<std::string, Context> contexts_;
  size_t acknowledged_count_ = 0;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_FAULT_STORED_ORACLE_H_
