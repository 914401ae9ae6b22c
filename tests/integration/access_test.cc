// A scripted attacker: without a key, with a wrong one, with too low a role, with another
// tenant's key. Every method of the API stands in one table; none reaches what is not the
// caller's.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "alaya/v1/session_service.grpc.pb.h"
#include "client/credentials.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/grpcpp.h"
#include "tests/integration/secured_server.h"

namespace alaya {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr char kReader[] = "alaya_reader-of-a";
constexpr char kWriter[] = "alaya_writer-of-a";
constexpr char kAdmin[] = "alaya_admin-of-a";
constexpr char kOther[] = "alaya_admin-of-b";

// The least role that may call each method.
const std::map<std::string, std::string>& RolesOfMethods() {
  static const std::map<std::string, std::string> roles = {
      {"ImportContext", "write"},  {"MatchContext", "read"},  {"ReadContext", "read"},
      {"GetContext", "read"},      {"ListContexts", "read"},  {"UpdateContext", "write"},
      {"DeleteContext", "write"},  {"SearchContext", "read"}, {"CreateSession", "read"},
      {"Attend", "read"},          {"StoreSession", "write"}, {"ForkSession", "read"},
      {"TruncateSession", "read"}, {"CloseSession", "read"},  {"GetSession", "read"},
      {"ListSessions", "read"},    {"RegisterModel", "read"}, {"ListModels", "read"},
      {"GetServerInfo", "read"},   {"GetStats", "admin"},     {"CreateBackup", "admin"},
      {"CompactStorage", "admin"}, {"SetLogLevel", "admin"}};
  return roles;
}

// "/alaya.v1.ContextService/GetContext" of every method of the API.
std::vector<const google::protobuf::MethodDescriptor*> MethodsOfTheApi() {
  std::vector<const google::protobuf::MethodDescriptor*> methods;
  for (const google::protobuf::FileDescriptor* file :
       {pb::ImportContextRequest::descriptor()->file(), pb::AttendRequest::descriptor()->file(),
        pb::RegisterModelRequest::descriptor()->file()}) {
    for (int i = 0; i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j) {
        methods.push_back(file->service(i)->method(j));
      }
    }
  }
  return methods;
}

std::string PathOf(const google::protobuf::MethodDescriptor& method) {
  return "/" + method.service()->full_name() + "/" + method.name();
}

// Calls a method, whatever kind it is, with one empty message or with none.
grpc::Status Call(const std::shared_ptr<grpc::Channel>& channel, const std::string& path,
                  const std::vector<std::string>& authorizations, bool sends_message) {
  using Factory = grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  for (const std::string& value : authorizations) context.AddMetadata("authorization", value);
  const grpc::internal::RpcMethod streamed(path.c_str(), grpc::internal::RpcMethod::BIDI_STREAMING);
  const std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> call(
      Factory::Create(channel.get(), streamed, &context));
  if (sends_message) {
    const grpc::Slice nothing("");
    call->WriteLast(grpc::ByteBuffer(&nothing, 1), grpc::WriteOptions());
  }
  grpc::ByteBuffer answer;
  while (call->Read(&answer)) {
  }
  return call->Finish();
}
grpc::Status CallEmpty(const std::shared_ptr<grpc::Channel>& channel,
                       const google::protobuf::MethodDescriptor& method,
                       const std::vector<std::string>& authorizations) {
  return Call(channel, PathOf(method), authorizations, /*sends_message=*/true);
}

std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (!details.ParseFromString(status.error_details()) || details.details_size() == 0 ||
      !details.details(0).UnpackTo(&info)) {
    return "";
  }
  return info.reason();
}

class AccessTest : public SecuredServerTest {
 protected:
  void SetUp() override {
    WriteKeys(KeyLine("reader", "a", "read", kReader) + KeyLine("writer", "a", "write", kWriter) +
              KeyLine("admin", "a", "admin", kAdmin) + KeyLine("other", "b", "admin", kOther));
  }

  std::shared_ptr<grpc::Channel> Channel() {
    return grpc::CreateChannel(server().grpc_address(), grpc::InsecureChannelCredentials());
  }
  client::Client ClientWith(const std::string& key) {
    auto client = Connect(PlainOptions(key));
    EXPECT_OK(client);
    return *std::move(client);
  }
};

TEST_F(AccessTest, EveryMethodIsInTheTable) {
  for (const auto* method : MethodsOfTheApi()) {
    EXPECT_TRUE(RolesOfMethods().contains(method->name())) << method->full_name();
  }
  EXPECT_EQ(MethodsOfTheApi().size(), RolesOfMethods().size());
}

// Whatever the method and however the caller comes, it learns the reason, and nothing that
// it sends is read before.
void ExpectNothingAnswersWithoutAKey(const std::shared_ptr<grpc::Channel>& channel) {
  const std::map<std::string, std::vector<std::string>> attempts = {
      {"KEY_MISSING", {}},
      {"KEY_UNKNOWN", {"Bearer alaya_guessed"}},
      {"KEY_REPEATED", {std::string("Bearer ") + kAdmin, "Bearer alaya_guessed"}}};

  for (const auto* method : MethodsOfTheApi()) {
    for (const auto& [reason, authorizations] : attempts) {
      const grpc::Status status =
          Call(channel, PathOf(*method), authorizations, /*sends_message=*/false);
      EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED)
          << method->full_name() << ": " << status.error_message();
      EXPECT_EQ(ReasonOf(status), reason) << method->full_name();
    }
  }
}

TEST_F(AccessTest, WithoutAKeyOfThisServerNothingAnswers) {
  auto arguments = KeyArguments();
  arguments.insert(arguments.end(), {"--listen", "unix:" + path("socket")});
  ASSERT_NO_FATAL_FAILURE(Start(arguments));
  const auto channel = Channel();

  ExpectNothingAnswersWithoutAKey(channel);
  ExpectNothingAnswersWithoutAKey(
      grpc::CreateChannel("unix:" + path("socket"), grpc::InsecureChannelCredentials()));
  for (const std::string& bad :
       {std::string(kAdmin), std::string("Basic ") + kAdmin, std::string("Bearer"),
        std::string("Bearer "), std::string("Bearer  ") + kAdmin,
        std::string("Bearer ") + kAdmin + "x"}) {
    EXPECT_EQ(CallEmpty(channel, *MethodsOfTheApi().front(), {bad}).error_code(),
              grpc::StatusCode::UNAUTHENTICATED)
        << bad;
  }
}

TEST_F(AccessTest, WithoutAKeyNothingAnswersThroughTls) {
  InstallCertificate(authority().Issue("server"));
  auto arguments = KeyArguments();
  const auto tls = TlsArguments();
  arguments.insert(arguments.end(), tls.begin(), tls.end());
  ASSERT_NO_FATAL_FAILURE(Start(arguments));
  ASSERT_OK_AND_ASSIGN(const auto credentials, client::TlsCredentials(*TlsOptions().tls));

  ExpectNothingAnswersWithoutAKey(grpc::CreateChannel(server().grpc_address(), credentials));
}

TEST_F(AccessTest, ARoleReachesItsMethodsAndNoMore) {
  ASSERT_NO_FATAL_FAILURE(Start(KeyArguments()));
  const auto channel = Channel();
  const std::map<std::string, int> ranks = {{"read", 0}, {"write", 1}, {"admin", 2}};

  for (const auto* method : MethodsOfTheApi()) {
    const std::string& required = RolesOfMethods().at(method->name());
    for (const auto& [role, key] : std::map<std::string, std::string>{
             {"read", kReader}, {"write", kWriter}, {"admin", kAdmin}}) {
      const grpc::Status status = CallEmpty(channel, *method, {"Bearer " + key});
      const bool denied = status.error_code() == grpc::StatusCode::PERMISSION_DENIED;
      EXPECT_EQ(denied, ranks.at(role) < ranks.at(required))
          << method->full_name() << " as " << role << ": " << status.error_message();
      if (denied) {
        EXPECT_EQ(ReasonOf(status), "ROLE_TOO_LOW");
      }
      EXPECT_NE(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << method->full_name();
    }
  }
}

TEST_F(AccessTest, OnlyAnAdminAddsAModelAndAnybodyMayAskForOneThatIsThere) {
  ASSERT_NO_FATAL_FAILURE(Start(KeyArguments()));
  const KvSequence sequence(MakeModel("test/access"), 16, /*seed=*/1);

  EXPECT_EQ(RegisterModel(ClientWith(kWriter), sequence.model()).code(),
            StatusCode::kPermissionDenied);
  EXPECT_OK(RegisterModel(ClientWith(kAdmin), sequence.model()));
  EXPECT_OK(RegisterModel(ClientWith(kReader), sequence.model()));
  pb::Model other_shape = sequence.model();
  other_shape.set_num_layers(other_shape.num_layers() + 1);
  EXPECT_EQ(RegisterModel(ClientWith(kOther), other_shape).code(), StatusCode::kAlreadyExists);
}

// What tenant a owns, and the calls with which b tries to reach it.
class OtherTenantTest : public AccessTest {
 protected:
  static constexpr char kContext[] = "diary";

  void SetUp() override {
    AccessTest::SetUp();
    ASSERT_NO_FATAL_FAILURE(Start(KeyArguments()));
    owner_.emplace(ClientWith(kAdmin));
    thief_.emplace(ClientWith(kOther));
    ASSERT_OK(RegisterModel(*owner_, sequence_.model()));
    ASSERT_OK(Import(*owner_, sequence_, kContext));
    ASSERT_OK_AND_ASSIGN(session_, OpenSession(*owner_, kContext));
  }

  // The outcomes of everything that b can do with a context's name.
  std::vector<Status> TryContext(const std::string& id) const {
    pb::GetContextRequest get;
    get.set_context_id(id);
    pb::ReadContextRequest read;
    read.set_context_id(id);
    pb::UpdateContextRequest update;
    update.set_context_id(id);
    update.set_pinned(true);
    pb::DeleteContextRequest remove;
    remove.set_context_id(id);
    pb::SearchContextRequest search;
    search.set_context_id(id);
    *search.mutable_query() = QueryTensor();
    search.mutable_top_k()->set_k(3);
    pb::CreateSessionRequest create;
    create.set_context_id(id);
    return {thief_->GetContext(get).status(),       thief_->ReadContext(read).Next().status(),
            thief_->UpdateContext(update).status(), thief_->DeleteContext(remove).status(),
            thief_->SearchContext(search).status(), thief_->CreateSession(create).status()};
  }

  // The same with a session's.
  std::vector<Status> TrySession(const std::string& id) const {
    pb::AttendItem item;
    item.set_session_id(id);
    *item.mutable_query() = QueryTensor();
    pb::StoreSessionRequest store;
    store.set_session_id(id);
    store.add_tokens(1);
    pb::ForkSessionRequest fork;
    fork.set_session_id(id);
    pb::TruncateSessionRequest truncate;
    truncate.set_session_id(id);
    pb::CloseSessionRequest close;
    close.set_session_id(id);
    pb::GetSessionRequest get;
    get.set_session_id(id);
    return {thief_->AttendBlocking().AttendOne(item).status(),
            thief_->StoreSession(store).status(),
            thief_->ForkSession(fork).status(),
            thief_->TruncateSession(truncate).status(),
            thief_->CloseSession(close).status(),
            thief_->GetSession(get).status()};
  }

  pb::Tensor QueryTensor() const {
    const pb::Model& model = sequence_.model();
    pb::Tensor tensor;
    tensor.set_dtype(pb::DTYPE_F32);
    for (const uint32_t size : {1U, model.num_query_heads(), model.head_dim()}) {
      tensor.add_shape(size);
    }
    tensor.set_data(std::string(sizeof(float) * model.num_query_heads() * model.head_dim(), '\1'));
    return tensor;
  }

  // The theft fails as it would if nothing were there: same codes, same words.
  static void ExpectSameAsNothing(const std::vector<Status>& tried, const std::string& id,
                                  const std::vector<Status>& nothing, const std::string& absent) {
    ASSERT_EQ(tried.size(), nothing.size());
    for (size_t i = 0; i < tried.size(); ++i) {
      EXPECT_EQ(tried[i].code(), StatusCode::kNotFound) << i << ": " << tried[i];
      std::string expected(Message(nothing[i]));
      for (size_t at; (at = expected.find(absent)) != std::string::npos;) {
        expected.replace(at, absent.size(), id);
      }
      EXPECT_EQ(Message(tried[i]), expected) << i;
    }
  }

  const KvSequence sequence_{MakeModel("test/access"), 200, /*seed=*/7};
  std::string session_;
  std::optional<client::Client> owner_;
  std::optional<client::Client> thief_;
};

TEST_F(OtherTenantTest, AnothersContextsAreAsGoodAsNotThere) {
  ExpectSameAsNothing(TryContext(kContext), kContext, TryContext("nowhere"), "nowhere");

  EXPECT_THAT(ContextIds(*thief_).value(), IsEmpty());
  EXPECT_EQ(Match(*thief_, sequence_.model().name(), sequence_.tokens()).value().matched_tokens(),
            0);
  EXPECT_THAT(ContextIds(*owner_).value(), ElementsAre(kContext));
  EXPECT_OK(CheckStoredBytes(*owner_, kContext, sequence_));
}

TEST_F(OtherTenantTest, AnothersSessionsAreAsGoodAsNotThere) {
  const std::string absent(session_.size(), '0');
  ExpectSameAsNothing(TrySession(session_), session_, TrySession(absent), absent);

  EXPECT_EQ(thief_->ListSessions({}).value().sessions_size(), 0);
  EXPECT_EQ(owner_->ListSessions({}).value().sessions_size(), 1);
  pb::GetSessionRequest get;
  get.set_session_id(session_);
  EXPECT_OK(owner_->GetSession(get));
}

TEST_F(OtherTenantTest, TheSameNameAndTokensAreTwoContexts) {
  const KvSequence other(MakeModel("test/access"), 200, /*seed=*/8);
  const auto imported = Import(*thief_, sequence_, kContext);
  ASSERT_OK(imported);
  EXPECT_EQ(imported->reused_tokens(), 0) << "tenants share no segments";

  ASSERT_OK(Delete(*thief_, kContext));
  ASSERT_OK(Import(*thief_, other, kContext));

  EXPECT_OK(CheckStoredBytes(*owner_, kContext, sequence_));
  EXPECT_OK(CheckStoredBytes(*thief_, kContext, other));
  ASSERT_OK(Delete(*owner_, kContext));
  EXPECT_OK(CheckStoredBytes(*thief_, kContext, other));
}

TEST_F(OtherTenantTest, TenantsSurviveARestart) {
  ASSERT_OK(server().Terminate());
  ASSERT_NO_FATAL_FAILURE(Start(KeyArguments()));

  EXPECT_OK(CheckStoredBytes(ClientWith(kReader), kContext, sequence_));
  EXPECT_THAT(ContextIds(ClientWith(kOther)).value(), IsEmpty());
}

TEST_F(AccessTest, WhatWasStoredWithoutKeysBelongsToTenantDefault) {
  const KvSequence sequence(MakeModel("test/access"), 64, /*seed=*/3);
  ASSERT_NO_FATAL_FAILURE(Start({}));
  ASSERT_OK(RegisterModel(ClientWith(""), sequence.model()));
  ASSERT_OK(Import(ClientWith(""), sequence, "old"));
  ASSERT_OK(server().Terminate());
  WriteKeys(KeyLine("one", "default", "read", kReader) + KeyLine("other", "b", "admin", kOther));

  ASSERT_NO_FATAL_FAILURE(Start(KeyArguments()));

  EXPECT_OK(CheckStoredBytes(ClientWith(kReader), "old", sequence));
  EXPECT_THAT(ContextIds(ClientWith(kOther)).value(), IsEmpty());
}

TEST_F(AccessTest, AKeyThatIsTakenAwayEndsCallsThatRun) {
  ASSERT_NO_FATAL_FAILURE(Start(KeyArguments()));
  const KvSequence sequence(MakeModel("test/access"), 64, /*seed=*/5);
  ASSERT_OK(RegisterModel(ClientWith(kAdmin), sequence.model()));
  ASSERT_OK(Import(ClientWith(kWriter), sequence, "context"));
  const client::Client client = ClientWith(kWriter);
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client, "context"));
  auto stream = client.AttendBlocking();
  pb::AttendItem item;
  item.set_session_id(session);
  item.mutable_query()->set_dtype(pb::DTYPE_F32);
  const pb::Model& model = sequence.model();
  for (const uint32_t size : {1U, model.num_query_heads(), model.head_dim()}) {
    item.mutable_query()->add_shape(size);
  }
  item.mutable_query()->set_data(
      std::string(sizeof(float) * model.num_query_heads() * model.head_dim(), '\1'));
  ASSERT_OK(stream.AttendOne(item));

  WriteKeys(KeyLine("writer-2", "a", "write", "alaya_new-writer"));
  ASSERT_EQ(kill(server().pid(), SIGHUP), 0);
  EXPECT_TRUE(ReachesInTime(PlainOptions("alaya_new-writer")));

  EXPECT_EQ(client.GetServerInfo().status().code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(stream.AttendOne(item).status().code(), StatusCode::kUnauthenticated);
}

// A session's creation as it is on the wire.
grpc::Status CreateSession(const std::shared_ptr<grpc::Channel>& channel, const std::string& key,
                           const std::string& model) {
  pb::CreateSessionRequest request;
  request.set_model(model);
  request.add_tokens(1);
  pb::CreateSessionResponse response;
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + key);
  return pb::SessionService::NewStub(channel)->CreateSession(&context, request, &response);
}

TEST_F(AccessTest, ATenantsQuotaEndsItsOwnCallsAndNobodyElses) {
  const auto write_config = [this](const std::string& text) {
    std::ofstream(path("config"), std::ios::trunc) << text;
  };
  write_config("[tenants.a]\nmax_sessions = 2\nmax_stored_bytes = \"3MiB\"\n");
  auto arguments = KeyArguments();
  arguments.insert(arguments.end(), {"--config", path("config")});
  ASSERT_NO_FATAL_FAILURE(Start(arguments));
  const KvSequence sequence(MakeModel("test/access"), 256, /*seed=*/11);  // 2 MiB
  const std::string& model = sequence.model().name();
  ASSERT_OK(RegisterModel(ClientWith(kAdmin), sequence.model()));
  const auto channel = Channel();

  EXPECT_TRUE(CreateSession(channel, kWriter, model).ok());
  EXPECT_TRUE(CreateSession(channel, kWriter, model).ok());
  const grpc::Status refused = CreateSession(channel, kReader, model);

  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(refused.error_details()));
  ASSERT_EQ(details.details_size(), 3);
  google::rpc::QuotaFailure failure;
  google::rpc::RetryInfo retry;
  EXPECT_EQ(ReasonOf(refused), "QUOTA_EXCEEDED");
  ASSERT_TRUE(details.details(1).UnpackTo(&failure) && details.details(2).UnpackTo(&retry));
  EXPECT_EQ(failure.violations(0).subject(), "tenant:a");
  EXPECT_THAT(failure.violations(0).description(), HasSubstr("max_sessions is 2"));
  EXPECT_GT(retry.retry_delay().seconds(), 0);
  EXPECT_TRUE(CreateSession(channel, kOther, model).ok());

  ASSERT_OK(Import(ClientWith(kWriter), sequence, "first"));
  const KvSequence other(MakeModel("test/access"), 256, /*seed=*/12);
  EXPECT_EQ(Import(ClientWith(kWriter), other, "second").status().code(),
            StatusCode::kResourceExhausted);
  EXPECT_OK(Import(ClientWith(kOther), other, "second"));
  ASSERT_OK(Delete(ClientWith(kWriter), "first"));
  EXPECT_OK(Import(ClientWith(kWriter), other, "second"));

  write_config("[tenants.a]\nmax_sessions = 3\n");
  ASSERT_EQ(kill(server().pid(), SIGHUP), 0);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!CreateSession(channel, kWriter, model).ok() &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(ClientWith(kWriter).ListSessions({}).value().sessions_size(), 3);
}

TEST_F(AccessTest, ATenantsRateIsBounded) {
  auto arguments = KeyArguments();
  arguments.insert(arguments.end(), {"--tenant-max-requests-per-second", "20"});
  ASSERT_NO_FATAL_FAILURE(Start(arguments));
  const client::Client client = ClientWith(kReader);

  size_t answered = 0;
  size_t refused = 0;
  const auto start = std::chrono::steady_clock::now();
  while (refused == 0 && std::chrono::steady_clock::now() - start < std::chrono::seconds(60)) {
    const Status status = client.ListModels().status();
    if (status.ok()) ++answered;
    if (status.code() == StatusCode::kResourceExhausted) ++refused;
  }

  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(refused, 1);
  EXPECT_GE(answered, 19);
  EXPECT_LE(static_cast<double>(answered), 21 + 20 * seconds.count());
  EXPECT_OK(ClientWith(kOther).ListModels());
}

TEST_F(AccessTest, UnixSocketsMayGoWithoutKeysWhereTcpMayNot) {
  auto arguments = KeyArguments();
  arguments.insert(arguments.end(), {"--listen", "unix:" + path("socket"), "--unix-socket-mode",
                                     "0660", "--unix-socket-keys", "off"});
  ASSERT_NO_FATAL_FAILURE(Start(arguments));

  const auto local = client::Client::Connect("unix:" + path("socket"));
  ASSERT_OK(local);
  EXPECT_OK(local->GetStats());
  EXPECT_EQ(ClientWith("").GetServerInfo().status().code(), StatusCode::kUnauthenticated);
  struct stat status {};
  ASSERT_EQ(stat(path("socket").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0660);
}

TEST_F(AccessTest, TheKernelVouchesForUsersOfUnixSockets) {
  auto arguments = KeyArguments();
  const std::string me = std::to_string(geteuid());
  arguments.insert(arguments.end(), {"--listen", "unix:" + path("socket"), "--unix-socket-tenants",
                                     me + ":a:write"});
  ASSERT_NO_FATAL_FAILURE(Start(arguments));
  const KvSequence sequence(MakeModel("test/access"), 64, /*seed=*/31);
  ASSERT_OK(RegisterModel(ClientWith(kAdmin), sequence.model()));

  for (const char* key : {"", "alaya_nobody"}) {
    SCOPED_TRACE(key);
    ASSERT_OK_AND_ASSIGN(const client::Client local,
                         client::Client::Connect("unix:" + path("socket"), PlainOptions(key)));
    EXPECT_OK(local.GetServerInfo());
    EXPECT_EQ(local.GetStats().status().code(), StatusCode::kPermissionDenied) << "no admin";
  }
  ASSERT_OK_AND_ASSIGN(const client::Client local,
                       client::Client::Connect("unix:" + path("socket")));
  ASSERT_OK(Import(local, sequence, "by-the-user"));

  EXPECT_OK(OpenSession(ClientWith(kReader), "by-the-user")) << "it is of tenant a";
  EXPECT_EQ(OpenSession(ClientWith(kOther), "by-the-user").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ClientWith("").GetServerInfo().status().code(), StatusCode::kUnauthenticated);
}

TEST_F(AccessTest, AUserThatTheServerDoesNotKnowNeedsAKeyOnAUnixSocket) {
  auto arguments = KeyArguments();
  arguments.insert(arguments.end(), {"--listen", "unix:" + path("socket"), "--unix-socket-tenants",
                                     std::to_string(geteuid() + 1) + ":a:admin"});
  ASSERT_NO_FATAL_FAILURE(Start(arguments));
  const auto info = [this](const std::string& key) {
    const auto local = client::Client::Connect("unix:" + path("socket"), PlainOptions(key));
    return local.ok() ? local->GetServerInfo().status() : local.status();
  };

  EXPECT_EQ(info("").code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(info("alaya_nobody").code(), StatusCode::kUnauthenticated);
  EXPECT_OK(info(kReader));
}

TEST_F(AccessTest, ReflectionCanBeSwitchedOff) {
  const auto list = [this] {
    return Call(Channel(), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", {},
                /*sends_message=*/true)
        .error_code();
  };
  ASSERT_NO_FATAL_FAILURE(Start(KeyArguments()));
  EXPECT_EQ(list(), grpc::StatusCode::OK);
  ASSERT_OK(server().Terminate());

  auto arguments = KeyArguments();
  arguments.insert(arguments.end(), {"--reflection", "off"});
  ASSERT_NO_FATAL_FAILURE(Start(arguments));

  EXPECT_EQ(list(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(AccessTest, KeysTokensAndKvReachNoLog) {
  auto arguments = KeyArguments();
  arguments.insert(arguments.end(), {"--log-level", "trace", "--slow-call", "1ms"});
  ASSERT_NO_FATAL_FAILURE(Start(arguments));
  const client::Client client = ClientWith(kAdmin);
  pb::Model model = MakeModel("test/access");
  model.set_dtype(pb::DTYPE_F32);
  ASSERT_OK(RegisterModel(client, model));
  // Eight bytes that are two ordinary floats, and a token that no line has by chance.
  const std::string kv = "KVSECRET";
  constexpr uint32_t kToken = 1'234'567'891;
  const auto fill = [&](uint32_t tokens, pb::Tensor* tensor) {
    tensor->set_dtype(pb::DTYPE_F32);
    for (const uint32_t size : {tokens, model.num_kv_heads(), model.head_dim()}) {
      tensor->add_shape(size);
    }
    const size_t bytes = sizeof(float) * tokens * model.num_kv_heads() * model.head_dim();
    while (tensor->data().size() < bytes) tensor->mutable_data()->append(kv);
    tensor->mutable_data()->resize(bytes);
  };
  pb::CreateSessionRequest create;
  create.set_model(model.name());
  create.add_tokens(kToken);
  const auto created = client.CreateSession(create);
  ASSERT_OK(created);
  pb::AttendItem item;
  item.set_session_id(created->session_id());
  fill(1, item.mutable_query());  // of the wrong shape: an error that talks about it
  fill(1, item.mutable_key());
  fill(2, item.mutable_value());
  EXPECT_FALSE(client.AttendBlocking().AttendOne(item).ok());
  EXPECT_EQ(ClientWith("alaya_wrong-key-of-somebody").GetServerInfo().status().code(),
            StatusCode::kUnauthenticated);
  WriteKeys(KeyLine("reader", "a", "read", kReader) + "oops a read " + kWriter + "\n");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (server().Log().find("reload_failed") == std::string::npos &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }

  ASSERT_OK(server().Terminate());

  const std::string log = server().Log();
  EXPECT_THAT(log, AllOf(HasSubstr("Attend"), HasSubstr("reload_failed")));
  for (const std::string& secret :
       {std::string(kAdmin), std::string(kWriter), std::string(kReader),
        std::string("wrong-key-of-somebody"), kv, std::string("Bearer"), std::to_string(kToken)}) {
    EXPECT_THAT(log, Not(HasSubstr(secret)));
  }
}

}  // namespace
}  // namespace alaya
