#include "client/retry_policy.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include "alaya/v1/admin_service.pb.h"
#include "alaya/v1/context_service.pb.h"
#include "alaya/v1/session_service.pb.h"

namespace alaya::client {
namespace {

using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::MethodOptions;
using google::protobuf::ServiceDescriptor;

// Appends the names of a file's idempotent methods, with commas between.
void AppendIdempotentMethods(const FileDescriptor& file, std::string& names) {
  for (int s = 0; s < file.service_count(); ++s) {
    const ServiceDescriptor& service = *file.service(s);
    for (int m = 0; m < service.method_count(); ++m) {
      const MethodDescriptor& method = *service.method(m);
      if (method.options().idempotency_level() == MethodOptions::IDEMPOTENCY_UNKNOWN) continue;
      if (!names.empty()) names += ",";
      names +=
          R"({"service":")" + service.full_name() + R"(","method":")" + method.name() + R"("})";
    }
  }
}

}  // namespace

std::string RetryServiceConfig() {
  std::string names;
  // A service alone has no C++ type here; a message leads to its file.
  for (const auto* message :
       {alaya::v1::GetStatsRequest::descriptor(), alaya::v1::GetContextRequest::descriptor(),
        alaya::v1::GetSessionRequest::descriptor()}) {
    AppendIdempotentMethods(*message->file(), names);
  }
  return R"({"methodConfig":[{"name":[)" + names +
         R"(],"retryPolicy":{"maxAttempts":5,"initialBackoff":"0.2s","maxBackoff":"2s",)"
         R"("backoffMultiplier":2,"retryableStatusCodes":["UNAVAILABLE"]}}]})";
}

}  // namespace alaya::client
