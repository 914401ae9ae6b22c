#include "server/rpc/rpc_service.h"

#include <string_view>

#include "storage/types/check.h"

namespace alaya {

const RpcService::Method& RpcService::MethodOf(const google::protobuf::Descriptor& request) {
  constexpr std::string_view kSuffix = "Request";
  const google::protobuf::FileDescriptor& file = *request.file();
  ALAYA_CHECK(file.service_count() == 1 && request.name().ends_with(kSuffix));
  const std::string name = request.name().substr(0, request.name().size() - kSuffix.size());
  const Method* method = file.service(0)->FindMethodByName(name);
  ALAYA_CHECK(method != nullptr && method->input_type() == &request);
  return *method;
}

void RpcService::Add(const Method& method, grpc::internal::RpcMethod::RpcType type,
                     grpc::internal::MethodHandler* handler) {
  paths_.push_back("/" + method.service()->full_name() + "/" + method.name());
  auto* added = new grpc::internal::RpcServiceMethod(paths_.back().c_str(), type, handler);
  added->SetServerApiType(grpc::internal::RpcServiceMethod::ApiType::CALL_BACK);
  AddMethod(added);
}

}  // namespace alaya
