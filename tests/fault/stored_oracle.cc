#include "tests/fault/stored_oracle.h"

#include <set>
#include <utility>

#include "tests/integration/service_calls.h"

namespace alaya {

void StoredOracle::WillStore(const std::string& id, Sequence sequence) {
  contexts_[id] = {std::move(sequence), State::kUnknown};
}

void StoredOracle::Stored(const std::string& id) {
  contexts_.at(id).state = State::kStored;
  ++acknowledged_count_;
}

void StoredOracle::WillRemove(const std::string& id) { contexts_.at(id).state = State::kUnknown; }

void StoredOracle::Removed(const std::string& id) {
  contexts_.at(id).state = State::kGone;
  ++acknowledged_count_;
}

void StoredOracle::MayGo(const std::string& id) { contexts_.at(id).state = State::kMayGo; }

std::vector<std::string> StoredOracle::stored_ids() const { return IdsIn(State::kStored); }
std::vector<std::string> StoredOracle::passing_ids() const { return IdsIn(State::kMayGo); }

std::vector<std::string> StoredOracle::IdsIn(State state) const {
  std::vector<std::string> ids;
  for (const auto& [id, context] : contexts_) {
    if (context.state == state) ids.push_back(id);
  }
  return ids;
}

Status StoredOracle::Settle(const client::Client& client, const std::vector<std::string>& ids) {
  const std::set<std::string> found(ids.begin(), ids.end());
  for (const std::string& id : found) {
    if (!contexts_.contains(id)) return DataLoss("context " + id + " was never stored");
  }
  for (auto context = contexts_.begin(); context != contexts_.end();) {
    const auto& [id, known] = *context;
    const bool is_there = found.contains(id);
    if (!is_there && known.state == State::kStored) return DataLoss("context " + id + " is lost");
    if (is_there && known.state == State::kGone) return DataLoss("context " + id + " is back");
    if (!is_there) {
      context = contexts_.erase(context);
      continue;
    }
    const Status same = CheckStoredBytes(client, id, *known.sequence);
    const bool gone_since = known.state == State::kMayGo && same.code() == StatusCode::kNotFound;
    if (!same.ok() && !gone_since) return DataLoss("context " + id + ": " + same.ToString());
    if (known.state == State::kUnknown) context->second.state = State::kStored;
    ++context;
  }
  return OkStatus();
}

}  // namespace alaya
