#include "server/access/method_roles.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "alaya/v1/admin_service.pb.h"
#include "alaya/v1/context_service.pb.h"
#include "alaya/v1/session_service.pb.h"

namespace alaya {
namespace {

std::set<std::string> MethodsOfTheApi() {
  std::set<std::string> methods;
  for (const google::protobuf::FileDescriptor* file :
       {v1::ImportContextRequest::descriptor()->file(), v1::AttendRequest::descriptor()->file(),
        v1::RegisterModelRequest::descriptor()->file()}) {
    for (int i = 0; i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j) {
        methods.insert(file->service(i)->method(j)->name());
      }
    }
  }
  return methods;
}

TEST(MethodRolesTest, EveryMethodOfTheApiIsThereOnce) {
  std::set<std::string> methods;
  for (const MethodRole& entry : MethodRoles()) {
    EXPECT_TRUE(methods.emplace(entry.method).second) << entry.method;
  }

  EXPECT_EQ(methods, MethodsOfTheApi());
}

TEST(MethodRolesTest, NobodyMayCallWhatIsNotThere) {
  EXPECT_EQ(RequiredRole("GetContext"), Role::kRead);
  EXPECT_EQ(RequiredRole("CreateBackup"), Role::kAdmin);
  EXPECT_FALSE(RequiredRole("DropEverything").has_value());
}

TEST(MethodRolesTest, NobodyButAWriterChangesWhatIsStored) {
  for (const char* method : {"ImportContext", "UpdateContext", "DeleteContext", "StoreSession"}) {
    EXPECT_EQ(RequiredRole(method), Role::kWrite) << method;
  }
}

}  // namespace
}  // namespace alaya
