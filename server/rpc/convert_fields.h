// Fields that requests of several services share: names, ids, tokens, labels, times.

#ifndef ALAYA_SERVER_RPC_CONVERT_FIELDS_H_
#define ALAYA_SERVER_RPC_CONVERT_FIELDS_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "google/protobuf/duration.pb.h"
#include "google/protobuf/map.h"
#include "google/protobuf/repeated_field.h"
#include "google/protobuf/timestamp.pb.h"
#include "server/rpc/field_path.h"
#include "storage/context/stored_context.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"

namespace alaya {

// 1 to 128 characters of [A-Za-z0-9._-], for models also '/'. Errors: InvalidArgument.
StatusOr<std::string> IdFromProto(const std::string& id, const FieldPath& field);
StatusOr<std::string> ModelNameFromProto(const std::string& name, const FieldPath& field);

// Errors: InvalidArgument for fewer than `count_min` tokens, ResourceExhausted for more
// than `count_max`.
StatusOr<std::vector<TokenId>> TokensFromProto(
    const google::protobuf::RepeatedField<uint32_t>& tokens, uint64_t count_min, uint64_t count_max,
    const FieldPath& field);

// At most 64 labels; keys up to 63 characters of [A-Za-z0-9._/-], values up to 255 bytes.
StatusOr<Labels> LabelsFromProto(const google::protobuf::Map<std::string, std::string>& labels,
                                 const FieldPath& field);
void ToProto(const Labels& labels, google::protobuf::Map<std::string, std::string>* proto);

// Rounded up to whole milliseconds. Errors: InvalidArgument if malformed, negative or
// more than 10000 years.
StatusOr<std::chrono::milliseconds> DurationFromProto(const google::protobuf::Duration& duration,
                                                      const FieldPath& field);
// The same, for times to live of new things: 0 is refused too.
StatusOr<std::chrono::milliseconds> TtlFromProto(const google::protobuf::Duration& duration,
                                                 const FieldPath& field);
void ToProto(WallTime time, google::protobuf::Timestamp* proto);

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_CONVERT_FIELDS_H_
