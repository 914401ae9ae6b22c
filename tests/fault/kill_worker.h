// Works on a server until it dies: imports, branches, stored sessions, deletions, expiry,
// backups, in an order that a seed decides.

#ifndef ALAYA_TESTS_FAULT_KILL_WORKER_H_
#define ALAYA_TESTS_FAULT_KILL_WORKER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "client/client.h"
#include "storage/types/status.h"
#include "tests/fault/stored_oracle.h"

namespace alaya {

// What contexts carry that the server may evict.
inline constexpr char kEvictLabel[] = "tier";
inline constexpr char kEvictValue[] = "cache";

struct KillWorkerOptions {
  std::string name;              // its contexts' ids begin with it
  pb::Model model;               // registered
  std::string backup_directory;  // for backups; empty: makes none
  // Only imports contexts that the server may evict at any time.
  bool evictable = false;
  uint32_t first_token = 0;    // beyond the random ones; other workers' are far apart
  uint64_t tokens_max = 2500;  // of a new context
};

class KillWorker {
 public:
  explicit KillWorker(KillWorkerOptions options) : options_(std::move(options)) {}

  // Makes calls until one fails, as it does when the server dies. Returns that error.
  Status Run(const client::Client& client, uint64_t seed);
  // Makes calls until told to stop, and compares every attention output and search with
  // the oracle. Goes on after errors that `tolerates` accepts; any other is returned.
  Status RunUntil(const std::atomic<bool>& stop, const client::Client& client, uint64_t seed,
                  const std::function<bool(const Status&)>& tolerates);

  // Deletes what was to expire and is still there: its expiry was refused, or the clock had
  // jumped ahead when its time was set. Never what waits for its eviction.
  Status RemoveLeftovers(const client::Client& client);

  const std::string& name() const { return options_.name; }
  StoredOracle& oracle() { return oracle_; }
  // Backups that were acknowledged since the last call.
  std::vector<std::string> TakeBackups() { return std::exchange(backups_, {}); }
  // Calls that were acknowledged, by name.
  const std::map<std::string, size_t>& counts() const { return counts_; }
  // Calls that RunUntil saw refused and went on, by code, reason and what the message begins with.
  const std::map<std::string, size_t>& refusals() const { return refusals_; }

 private:
  using Random = std::mt19937_64;

  Status Step(const client::Client& client, Random& random);
  Status ImportEvictable(const client::Client& client, Random& random);
  Status ImportNew(const client::Client& client, Random& random);
  Status ImportBranch(const client::Client& client, Random& random, const std::string& parent);
  Status StoreSession(const client::Client& client, Random& random, const std::string& parent);
  Status Remove(const client::Client& client, const std::string& id);
  Status Expire(const client::Client& client, const std::string& id);
  Status Backup(const client::Client& client);
  // A session that generates some tokens, sometimes goes back, forks, and is closed.
  // Errors: DataLoss for a wrong answer.
  Status Decode(const client::Client& client, Random& random, const std::string& parent);
  Status Search(const client::Client& client, Random& random, const std::string& id);

  std::string NextId() { return options_.name + "-" + std::to_string(next_id_++); }
  // A token of no other sequence, for the first one that a sequence does not share.
  uint32_t NextToken() { return options_.first_token + static_cast<uint32_t>(next_id_); }

  const KillWorkerOptions options_;
  StoredOracle oracle_;
  uint64_t next_id_ = 1;
  std::vector<std::string> backups_;
  std::map<std::string, size_t> counts_;
  std::map<std::string, size_t> refusals_;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_FAULT_KILL_WORKER_H_
