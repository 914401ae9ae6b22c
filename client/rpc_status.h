// From gRPC's errors to the project's Status, details kept.
//
// The server attaches google.rpc.ErrorInfo to its errors: a stable reason in
// UPPER_SNAKE_CASE for programs, beside the message for people. Here details become
// payloads of the absl status, so they travel with it.

#ifndef ALAYA_CLIENT_RPC_STATUS_H_
#define ALAYA_CLIENT_RPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <optional>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "storage/types/status.h"

namespace alaya::client {

Status ToStatus(const grpc::Status& status);
Status ToStatus(const google::rpc::Status& status);

// The server's reason for an error; none if it gave none.
std::optional<google::rpc::ErrorInfo> ErrorInfoOf(const Status& status);

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_RPC_STATUS_H_
