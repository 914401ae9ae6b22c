#include "tests/integration/service_calls.h"

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <thread>
#include <utility>

namespace alaya {
namespace {

std::string_view Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

Status RegisterModel(const client::Client& client, const pb::Model& model) {
  pb::RegisterModelRequest request;
  *request.mutable_model() = model;
  return client.RegisterModel(request).status();
}

pb::ImportContextRequest::Header ImportHeader(const KvSequence& sequence,
                                              const std::string& context_id) {
  pb::ImportContextRequest::Header header;
  header.set_model(sequence.model().name());
  SetTokens(sequence.tokens(), header);
  if (!context_id.empty()) header.set_context_id(context_id);
  return header;
}

Status AppendLayers(const KvSequence& sequence, size_t first_token,
                    client::ContextImporter& importer) {
  const size_t count = sequence.token_count() - first_token;
  if (count == 0) return OkStatus();
  for (uint32_t layer = 0; layer < sequence.model().num_layers(); ++layer) {
    ALAYA_RETURN_IF_ERROR(importer.AppendChunk({.layer = layer,
                                                .token_begin = first_token,
                                                .key = sequence.Keys(layer, first_token, count),
                                                .value = sequence.Values(layer, first_token, count),
                                                .query = std::nullopt}));
  }
  return OkStatus();
}

StatusOr<pb::ImportContextResponse> Import(const client::Client& client, const KvSequence& sequence,
                                           const std::string& context_id, size_t first_token) {
  ALAYA_ASSIGN_OR_RETURN(auto importer, client.ImportContext(ImportHeader(sequence, context_id)));
  ALAYA_RETURN_IF_ERROR(AppendLayers(sequence, first_token, importer));
  return importer.Commit();
}

StatusOr<pb::ImportContextResponse> ImportOnceFree(const client::Client& client,
                                                   const KvSequence& sequence,
                                                   const std::string& context_id) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (true) {
    auto imported = Import(client, sequence, context_id);
    if (imported.status().code() != StatusCode::kAlreadyExists ||
        std::chrono::steady_clock::now() > deadline) {
      return imported;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

StatusOr<StoredLayers> ReadLayers(const client::Client& client, const std::string& context_id,
                                  const pb::Model& model) {
  StoredLayers layers;
  layers.keys.resize(model.num_layers());
  layers.values.resize(model.num_layers());
  pb::ReadContextRequest request;
  request.set_context_id(context_id);
  client::ContextReader reader = client.ReadContext(request);
  while (true) {
    ALAYA_ASSIGN_OR_RETURN(auto chunk, reader.Next());
    if (!chunk) return layers;
    if (chunk->layer() >= model.num_layers()) return Internal("a layer that the model lacks");
    layers.keys[chunk->layer()] += chunk->key().data();
    layers.values[chunk->layer()] += chunk->value().data();
  }
}

Status CheckStoredBytes(const client::Client& client, const std::string& context_id,
                        const KvSequence& sequence) {
  ALAYA_ASSIGN_OR_RETURN(const StoredLayers stored,
                         ReadLayers(client, context_id, sequence.model()));
  for (uint32_t layer = 0; layer < sequence.model().num_layers(); ++layer) {
    const size_t count = sequence.token_count();
    if (stored.keys[layer] != Text(sequence.Keys(layer, 0, count).data) ||
        stored.values[layer] != Text(sequence.Values(layer, 0, count).data)) {
      return DataLoss("context " + context_id + ": layer " + std::to_string(layer) +
                      " differs from what was imported");
    }
  }
  return OkStatus();
}

StatusOr<std::string> OpenSession(const client::Client& client, const std::string& context_id) {
  pb::CreateSessionRequest request;
  request.set_context_id(context_id);
  ALAYA_ASSIGN_OR_RETURN(const auto response, client.CreateSession(request));
  return response.session_id();
}

StatusOr<pb::CreateSessionResponse> OpenSession(const client::Client& client,
                                                const std::string& model,
                                                const std::vector<uint32_t>& tokens) {
  pb::CreateSessionRequest request;
  request.set_model(model);
  SetTokens(tokens, request);
  return client.CreateSession(request);
}

Status CloseSession(const client::Client& client, const std::string& session_id) {
  pb::CloseSessionRequest request;
  request.set_session_id(session_id);
  return client.CloseSession(request).status();
}

StatusOr<pb::MatchContextResponse> Match(const client::Client& client, const std::string& model,
                                         const std::vector<uint32_t>& tokens) {
  pb::MatchContextRequest request;
  request.set_model(model);
  SetTokens(tokens, request);
  return client.MatchContext(request);
}

StatusOr<uint64_t> Delete(const client::Client& client, const std::string& context_id) {
  pb::DeleteContextRequest request;
  request.set_context_id(context_id);
  ALAYA_ASSIGN_OR_RETURN(const auto response, client.DeleteContext(request));
  return response.freed_bytes();
}

StatusOr<std::vector<std::string>> ContextIds(const client::Client& client) {
  std::vector<std::string> ids;
  pb::ListContextsRequest request;
  do {
    ALAYA_ASSIGN_OR_RETURN(const auto page, client.ListContexts(request));
    for (const pb::Context& context : page.contexts()) ids.push_back(context.context_id());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return ids;
}

StatusOr<ServerState> ReadServerState(const client::Client& client) {
  ALAYA_ASSIGN_OR_RETURN(const auto stats, client.GetStats());
  return ServerState{.models = stats.models(),
                     .contexts = stats.contexts(),
                     .segments = stats.segments(),
                     .stored_tokens = stats.stored_tokens(),
                     .sessions = stats.sessions(),
                     .tail_bytes = stats.tail_bytes()};
}

}  // namespace alaya
