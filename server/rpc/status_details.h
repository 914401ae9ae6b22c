// Errors as they go over the wire: a canonical code, a message, and a
// google.rpc.ErrorInfo with a reason that programs can switch on.
//
// The ErrorInfo's domain is "alayadb". Its reason is the one the converter gave
// (RequestError) or follows from the code; metadata "field" names the request's field. A
// limit that is used up adds google.rpc.QuotaFailure, and RetryInfo if waiting may help:
// one of engine/quota_error.h says whose it is, any other RESOURCE_EXHAUSTED is the
// server's disk or memory.

#ifndef ALAYA_SERVER_RPC_STATUS_DETAILS_H_
#define ALAYA_SERVER_RPC_STATUS_DETAILS_H_

#include <string_view>

#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"
#include "server/rpc/field_path.h"
#include "storage/types/status.h"

namespace alaya {

// INVALID_ARGUMENT "field: message" with a reason of its own, UPPER_SNAKE_CASE.
Status RequestError(std::string_view reason, const FieldPath& field, std::string_view message);

// RESOURCE_EXHAUSTED "field: message": a request larger than any may be.
Status RequestLimitError(const FieldPath& field, std::string_view message);

// INVALID_ARGUMENT: no message came, or one that is none of this type.
Status MessageError(std::string_view type);

// Any error with a reason of its own.
Status ReasonedError(StatusCode code, std::string_view reason, std::string_view message);

// The same status for a whole call; details travel as grpc-status-details-bin.
grpc::Status ToGrpcStatus(const Status& status);

// The same status inside a response. Requires: `proto` is empty. OK leaves it empty.
void ToProto(const Status& status, google::rpc::Status* proto);

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_STATUS_DETAILS_H_
