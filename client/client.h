// A connection to an AlayaDB server, and every call of its API.
//
// Calls take and return the messages of alaya/v1/*.proto, where shapes, units,
// defaults and errors are documented. Streams have classes of their own:
// ContextImporter, ContextReader, AttendStream.

#ifndef ALAYA_CLIENT_CLIENT_H_
#define ALAYA_CLIENT_CLIENT_H_

#include <grpcpp/security/credentials.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "alaya/v1/admin_service.pb.h"
#include "alaya/v1/context_service.pb.h"
#include "alaya/v1/session_service.pb.h"
#include "client/attend_stream.h"
#include "client/blocking_attend_stream.h"
#include "client/context_importer.h"
#include "client/context_reader.h"
#include "client/credentials.h"
#include "storage/types/status.h"

namespace alaya::client {

namespace pb = ::alaya::v1;

struct ClientOptions {
  // How long Connect may wait for the server; 0: do not wait, connect at the first call.
  std::chrono::milliseconds connect_timeout{10'000};
  // Deadline of each call that is not a stream; 0: none.
  std::chrono::milliseconds call_timeout{60'000};
  // Repeat calls that do no harm if they run twice (idempotency_level in the contract) for
  // about 3 s while the server is away, within call_timeout.
  bool retry_idempotent_calls = true;
  // Largest message that is sent or accepted.
  size_t message_bytes_max = size_t{64} << 20;
  // None: plaintext, as for unix sockets.
  std::optional<TlsOptions> tls;
  // The name that the server's certificate must have; empty: the target's host.
  std::string tls_server_name;
  // Sent with every call; empty: none.
  std::string api_key;
  // Instead of `tls`, for what that cannot say; null: `tls` counts.
  std::shared_ptr<grpc::ChannelCredentials> credentials;
};

// A handle: copies share one connection, which lives until the last of them and the
// last stream made by them is gone.
//
// Errors: the server's code and message, its details through ErrorInfoOf
//   (client/rpc_status.h); Unavailable if it cannot be reached; DeadlineExceeded.
// Threads: any number at a time.
class Client {
 public:
  // `target` is "host:port" or "unix:path".
  // Errors: Unavailable if nobody answers in time; InvalidArgument for files that cannot
  //   be used.
  static StatusOr<Client> Connect(const std::string& target, const ClientOptions& options = {});

  // The same connection, with another deadline for each call; 0: none.
  Client WithCallTimeout(std::chrono::milliseconds timeout) const;

  // Waits until the server accepts work; it may not even be running yet.
  //
  // Errors: DeadlineExceeded, with the last reason met.
  Status WaitUntilServing(std::chrono::milliseconds timeout) const;
  // True if the server accepts work, false if it starts or drains.
  StatusOr<bool> CheckServing() const;

  // ContextService
  StatusOr<ContextImporter> ImportContext(const pb::ImportContextRequest::Header& header,
                                          ContextImporterOptions options = {}) const;
  StatusOr<pb::MatchContextResponse> MatchContext(const pb::MatchContextRequest& request) const;
  ContextReader ReadContext(const pb::ReadContextRequest& request) const;
  StatusOr<pb::GetContextResponse> GetContext(const pb::GetContextRequest& request) const;
  StatusOr<pb::ListContextsResponse> ListContexts(const pb::ListContextsRequest& request) const;
  StatusOr<pb::UpdateContextResponse> UpdateContext(const pb::UpdateContextRequest& request) const;
  StatusOr<pb::DeleteContextResponse> DeleteContext(const pb::DeleteContextRequest& request) const;
  StatusOr<pb::SearchContextResponse> SearchContext(const pb::SearchContextRequest& request) const;

  // SessionService
  StatusOr<pb::CreateSessionResponse> CreateSession(const pb::CreateSessionRequest& request) const;
  AttendStream Attend(AttendStreamOptions options = {}) const;
  BlockingAttendStream AttendBlocking() const;
  StatusOr<pb::StoreSessionResponse> StoreSession(const pb::StoreSessionRequest& request) const;
  StatusOr<pb::ForkSessionResponse> ForkSession(const pb::ForkSessionRequest& request) const;
  StatusOr<pb::TruncateSessionResponse> TruncateSession(
      const pb::TruncateSessionRequest& request) const;
  StatusOr<pb::CloseSessionResponse> CloseSession(const pb::CloseSessionRequest& request) const;
  StatusOr<pb::GetSessionResponse> GetSession(const pb::GetSessionRequest& request) const;
  StatusOr<pb::ListSessionsResponse> ListSessions(const pb::ListSessionsRequest& request) const;

  // AdminService
  StatusOr<pb::RegisterModelResponse> RegisterModel(const pb::RegisterModelRequest& request) const;
  StatusOr<pb::ListModelsResponse> ListModels() const;
  StatusOr<pb::GetServerInfoResponse> GetServerInfo() const;
  StatusOr<pb::GetStatsResponse> GetStats() const;
  StatusOr<pb::CreateBackupResponse> CreateBackup(const pb::CreateBackupRequest& request) const;
  StatusOr<pb::CompactStorageResponse> CompactStorage() const;
  StatusOr<pb::SetLogLevelResponse> SetLogLevel(const pb::SetLogLevelRequest& request) const;

 private:
  struct Connection;
  Client(std::shared_ptr<const Connection> connection, std::chrono::milliseconds call_timeout);

  std::shared_ptr<const Connection> connection_;
  std::chrono::milliseconds call_timeout_;
};

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CLIENT_H_
