// The calls that most tests make, one line each, over the real client.

#ifndef ALAYA_TESTS_INTEGRATION_SERVICE_CALLS_H_
#define ALAYA_TESTS_INTEGRATION_SERVICE_CALLS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "alaya/v1/admin_service.pb.h"
#include "alaya/v1/context_service.pb.h"
#include "alaya/v1/session_service.pb.h"
#include "client/client.h"
#include "storage/types/status.h"
#include "tests/integration/kv_sequence.h"

namespace alaya {

Status RegisterModel(const client::Client& client, const pb::Model& model);

// The header of an import of the whole sequence. An empty id lets the server choose.
pb::ImportContextRequest::Header ImportHeader(const KvSequence& sequence,
                                              const std::string& context_id);
// Sends the keys and values of all layers from `first_token` on.
Status AppendLayers(const KvSequence& sequence, size_t first_token,
                    client::ContextImporter& importer);
// Imports a sequence; tokens before `first_token` are left out.
StatusOr<pb::ImportContextResponse> Import(const client::Client& client, const KvSequence& sequence,
                                           const std::string& context_id, size_t first_token = 0);
// The same, and waits while the id is still taken by an import that was given up.
StatusOr<pb::ImportContextResponse> ImportOnceFree(const client::Client& client,
                                                   const KvSequence& sequence,
                                                   const std::string& context_id);

// Keys and values of all layers as they are stored, in the order of KvSequence's rows.
struct StoredLayers {
  std::vector<std::string> keys;  // [num_layers]
  std::vector<std::string> values;
};
StatusOr<StoredLayers> ReadLayers(const client::Client& client, const std::string& context_id,
                                  const pb::Model& model);
// DataLoss, naming the layer, unless every stored byte equals the sequence's.
Status CheckStoredBytes(const client::Client& client, const std::string& context_id,
                        const KvSequence& sequence);

// Opens a session on a context, or on the longest stored prefix of tokens.
StatusOr<std::string> OpenSession(const client::Client& client, const std::string& context_id);
StatusOr<pb::CreateSessionResponse> OpenSession(const client::Client& client,
                                                const std::string& model,
                                                const std::vector<uint32_t>& tokens);
Status CloseSession(const client::Client& client, const std::string& session_id);

StatusOr<pb::MatchContextResponse> Match(const client::Client& client, const std::string& model,
                                         const std::vector<uint32_t>& tokens);
StatusOr<uint64_t> Delete(const client::Client& client, const std::string& context_id);
// Ids of all contexts, in the server's order.
StatusOr<std::vector<std::string>> ContextIds(const client::Client& client);

// What bad input must leave as it was.
struct ServerState {
  uint64_t models = 0;
  uint64_t contexts = 0;
  uint64_t segments = 0;
  uint64_t stored_tokens = 0;
  uint64_t sessions = 0;
  uint64_t tail_bytes = 0;

  friend bool operator==(const ServerState&, const ServerState&) = default;
};
StatusOr<ServerState> ReadServerState(const client::Client& client);

}  // namespace alaya

#endif  // ALAYA_TESTS_INTEGRATION_SERVICE_CALLS_H_
