#include "tests/fault/kill_worker.h"

#include <chrono>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "client/rpc_status.h"
#include "tests/integration/expected_answer.h"
#include "tests/integration/service_calls.h"

namespace alaya {
namespace {

constexpr size_t kContextsMax = 8;
// Far beyond what any call takes, also on a busy machine.
constexpr auto kAnswerTimeout = std::chrono::seconds(60);

// 1 .. most.
uint64_t Draw(std::mt19937_64& random, uint64_t most) { return 1 + random() % most; }

// A target whose answer is defined exactly.
void SetTarget(std::mt19937_64& random, pb::AttendItem& item) {
  pb::AttendOptions& options = *item.mutable_options();
  if (random() % 2 == 0) {
    options.mutable_full();
  } else {
    options.mutable_dipr()->set_alpha(random() % 2 == 0 ? 0.012 : 0.3);
    options.mutable_dipr()->set_sound(true);
    options.set_tail_estimate(false);
  }
  if (random() % 2 == 0) {
    options.mutable_window()->set_sink(4);
    options.mutable_window()->set_recent(32);
  }
}

// The same for all errors of a kind: the words before the first number, name or cause.
std::string RefusalName(const Status& status) {
  const std::string message(Message(status));
  std::string words = message.substr(0, message.find_first_of(":0123456789\"'/"));
  words.erase(words.find_last_not_of(' ') + 1);
  const auto info = client::ErrorInfoOf(status);
  return absl::StatusCodeToString(status.code()) + " " +
         (info ? info->reason() : std::string("without a reason")) + ": " + words;
}

}  // namespace

Status KillWorker::Run(const client::Client& client, uint64_t seed) {
  Random random(seed);
  for (;;) {
    const Status status = Step(client, random);
    // What was evicted takes space until nobody holds it, an index build for example.
    if (status.code() == StatusCode::kResourceExhausted) continue;
    ALAYA_RETURN_IF_ERROR(status);
  }
}

Status KillWorker::RunUntil(const std::atomic<bool>& stop, const client::Client& client,
                            uint64_t seed, const std::function<bool(const Status&)>& tolerates) {
  Random random(seed);
  while (!stop) {
    const std::vector<std::string> ids = oracle_.stored_ids();
    const uint64_t dice = random() % 100;
    Status status;
    if (ids.empty() || options_.evictable || dice < 40) {
      status = Step(client, random);
    } else {
      const std::string& id = ids[random() % ids.size()];
      status = dice < 80 ? Decode(client, random, id) : Search(client, random, id);
    }
    if (status.ok()) continue;
    if (!tolerates(status)) return status;
    ++refusals_[RefusalName(status)];
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return OkStatus();
}

Status KillWorker::Step(const client::Client& client, Random& random) {
  if (options_.evictable) return ImportEvictable(client, random);
  const std::vector<std::string> ids = oracle_.stored_ids();
  const uint64_t dice = random() % 100;
  if (ids.empty() || dice < 25) return ImportNew(client, random);
  const std::string& id = ids[random() % ids.size()];
  if (ids.size() >= kContextsMax || dice < 35) {
    return dice % 2 == 0 ? Remove(client, id) : Expire(client, id);
  }
  if (dice < 60) return ImportBranch(client, random, id);
  if (dice < 93 || options_.backup_directory.empty()) return StoreSession(client, random, id);
  return Backup(client);
}

Status KillWorker::ImportEvictable(const client::Client& client, Random& random) {
  const std::string id = NextId();
  const auto sequence =
      std::make_shared<KvSequence>(options_.model, Draw(random, options_.tokens_max), random());
  sequence->SetToken(0, NextToken());
  pb::ImportContextRequest::Header header = ImportHeader(*sequence, id);
  (*header.mutable_labels())[kEvictLabel] = kEvictValue;
  oracle_.WillStore(id, sequence);
  oracle_.MayGo(id);
  ALAYA_ASSIGN_OR_RETURN(auto importer, client.ImportContext(header));
  ALAYA_RETURN_IF_ERROR(AppendLayers(*sequence, 0, importer));
  ALAYA_RETURN_IF_ERROR(importer.Commit().status());
  ++counts_["evictable"];
  return OkStatus();
}

Status KillWorker::ImportNew(const client::Client& client, Random& random) {
  const std::string id = NextId();
  const auto sequence =
      std::make_shared<KvSequence>(options_.model, Draw(random, options_.tokens_max), random());
  sequence->SetToken(0, NextToken());
  oracle_.WillStore(id, sequence);
  ALAYA_RETURN_IF_ERROR(Import(client, *sequence, id).status());
  oracle_.Stored(id);
  ++counts_["import"];
  return OkStatus();
}

// Shares a prefix with a stored context, which the server finds by itself.
Status KillWorker::ImportBranch(const client::Client& client, Random& random,
                                const std::string& parent) {
  const std::string id = NextId();
  const auto from = oracle_.sequence(parent);
  const uint64_t shared = Draw(random, from->token_count());
  const auto sequence = std::make_shared<KvSequence>(
      from->Branch(shared, shared + Draw(random, options_.tokens_max / 4), random()));
  sequence->SetToken(shared, NextToken());
  oracle_.WillStore(id, sequence);
  ALAYA_RETURN_IF_ERROR(Import(client, *sequence, id).status());
  oracle_.Stored(id);
  ++counts_["branch"];
  return OkStatus();
}

Status KillWorker::StoreSession(const client::Client& client, Random& random,
                                const std::string& parent) {
  const std::string id = NextId();
  const auto from = oracle_.sequence(parent);
  const size_t begin = from->token_count();
  const size_t count = Draw(random, 200);
  const auto sequence = std::make_shared<KvSequence>(from->Branch(begin, begin + count, random()));
  sequence->SetToken(begin, NextToken());
  ALAYA_ASSIGN_OR_RETURN(const std::string session, OpenSession(client, parent));
  client::AttendStream stream = client.Attend();
  for (uint32_t layer = 0; layer < options_.model.num_layers(); ++layer) {
    pb::AttendItem item = sequence->AskAndAppend(session, layer, begin, count);
    item.clear_query();
    ALAYA_RETURN_IF_ERROR(stream.AttendOne(item, kAnswerTimeout).status());
  }
  pb::StoreSessionRequest request;
  request.set_session_id(session);
  request.set_context_id(id);
  SetTokens(sequence->tokens(), request);
  oracle_.WillStore(id, sequence);
  ALAYA_RETURN_IF_ERROR(client.StoreSession(request).status());
  oracle_.Stored(id);
  ++counts_["session"];
  return CloseSession(client, session);
}

Status KillWorker::Remove(const client::Client& client, const std::string& id) {
  oracle_.WillRemove(id);
  ALAYA_RETURN_IF_ERROR(Delete(client, id).status());
  oracle_.Removed(id);
  ++counts_["delete"];
  return OkStatus();
}

Status KillWorker::RemoveLeftovers(const client::Client& client) {
  if (options_.evictable) return OkStatus();
  for (const std::string& id : oracle_.passing_ids()) {
    const Status deleted = Delete(client, id).status();
    if (deleted.code() != StatusCode::kNotFound) ALAYA_RETURN_IF_ERROR(deleted);
  }
  return OkStatus();
}

Status KillWorker::Expire(const client::Client& client, const std::string& id) {
  pb::UpdateContextRequest request;
  request.set_context_id(id);
  request.mutable_ttl()->set_nanos(1'000'000);
  oracle_.MayGo(id);
  ALAYA_RETURN_IF_ERROR(client.UpdateContext(request).status());
  ++counts_["expire"];
  return OkStatus();
}

Status KillWorker::Backup(const client::Client& client) {
  pb::CreateBackupRequest request;
  request.set_directory(options_.backup_directory + "/" + NextId());
  ALAYA_RETURN_IF_ERROR(client.CreateBackup(request).status());
  backups_.push_back(request.directory());
  ++counts_["backup"];
  return OkStatus();
}

Status KillWorker::Decode(const client::Client& client, Random& random, const std::string& parent) {
  const auto from = oracle_.sequence(parent);
  const size_t reused = from->token_count();
  const size_t step_count = Draw(random, 4);
  const KvSequence sequence = from->Branch(reused, reused + step_count, random());
  ALAYA_ASSIGN_OR_RETURN(std::string session, OpenSession(client, parent));
  client::AttendStream stream = client.Attend();
  for (size_t step = 0; step < step_count; ++step) {
    const size_t held = reused + step;
    for (uint32_t layer = 0; layer < options_.model.num_layers(); ++layer) {
      pb::AttendItem item = sequence.AskAndAppend(session, layer, held);
      SetTarget(random, item);
      ALAYA_ASSIGN_OR_RETURN(const pb::AttendResult result, stream.AttendOne(item, kAnswerTimeout));
      const auto right = AnswersItem(sequence, {held, reused}, item, result);
      if (!right) return DataLoss("wrong output on " + parent + ": " + right.message());
    }
    if (random() % 4 != 0) continue;
    // The fork goes on, after the token was taken back and given again.
    pb::ForkSessionRequest fork;
    fork.set_session_id(session);
    ALAYA_ASSIGN_OR_RETURN(const auto forked, client.ForkSession(fork));
    ALAYA_RETURN_IF_ERROR(CloseSession(client, session));
    session = forked.session_id();
    pb::TruncateSessionRequest truncate;
    truncate.set_session_id(session);
    truncate.set_token_count(held);
    ALAYA_RETURN_IF_ERROR(client.TruncateSession(truncate).status());
    for (uint32_t layer = 0; layer < options_.model.num_layers(); ++layer) {
      pb::AttendItem item = sequence.AskAndAppend(session, layer, held);
      item.clear_query();
      ALAYA_RETURN_IF_ERROR(stream.AttendOne(item, kAnswerTimeout).status());
    }
  }
  ++counts_["decode"];
  return CloseSession(client, session);
}

Status KillWorker::Search(const client::Client& client, Random& random, const std::string& id) {
  const auto sequence = oracle_.sequence(id);
  pb::SearchContextRequest request;
  request.set_context_id(id);
  request.set_layer(static_cast<uint32_t>(random() % options_.model.num_layers()));
  *request.mutable_query() =
      sequence->Ask("", request.layer(), random() % sequence->token_count()).query();
  if (random() % 2 == 0) {
    request.mutable_top_k()->set_k(static_cast<uint32_t>(Draw(random, 50)));
  } else {
    request.mutable_dipr()->set_alpha(0.05);
  }
  ALAYA_ASSIGN_OR_RETURN(const auto response, client.SearchContext(request));
  const auto right = AnswersSearch(*sequence, request, response);
  if (!right) return DataLoss("wrong search of " + id + ": " + right.message());
  ++counts_["search"];
  return OkStatus();
}

}  // namespace alaya
