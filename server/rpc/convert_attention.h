// Targets, options and statistics of attention: API to engine and back.

#ifndef ALAYA_SERVER_RPC_CONVERT_ATTENTION_H_
#define ALAYA_SERVER_RPC_CONVERT_ATTENTION_H_

#include "alaya/v1/attention.pb.h"
#include "index/target.h"
#include "server/engine/attend_types.h"
#include "server/rpc/field_path.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"

namespace alaya {

// Errors of all: InvalidArgument for a value outside its documented domain.
StatusOr<AttendOptions> FromProto(const v1::AttendOptions& proto, const FieldPath& field);
StatusOr<Target> FromProto(const v1::DiprTarget& proto, const FieldPath& field);
StatusOr<Target> FromProto(const v1::TopKTarget& proto, const FieldPath& field);
StatusOr<TokenRange> FromProto(const v1::TokenRange& proto, const FieldPath& field);
StatusOr<double> ScaleFromProto(double scale, const FieldPath& field);

void ToProto(const AttendStats& stats, v1::AttendStats* proto);

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_CONVERT_ATTENTION_H_
