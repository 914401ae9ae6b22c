// The life of a context: imported, found, read, changed, shared, backed up, deleted.

#include <gmock/gmock.h>
#include <google/protobuf/util/time_util.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/service_test.h"

namespace alaya {
namespace {

using google::protobuf::util::TimeUtil;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

int64_t UnixMilliseconds() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count();
}

class LifecycleTest : public ServiceTest {
 protected:
  void SetUp() override {
    StartServer();
    if (HasFatalFailure()) return;
    ASSERT_OK(RegisterModel(client(), model_));
  }

  StatusOr<pb::GetContextResponse> Get(const std::string& context_id, bool with_tokens = false) {
    pb::GetContextRequest request;
    request.set_context_id(context_id);
    request.set_include_tokens(with_tokens);
    return client().GetContext(request);
  }

  // Whether the context is gone before the timeout.
  bool ExpiresWithin(const std::string& context_id, std::chrono::seconds timeout) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (std::chrono::steady_clock::now() < deadline) {
      if (Get(context_id).status().code() == StatusCode::kNotFound) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return false;
  }

  const pb::Model model_ = MakeModel("test/lifecycle");
  const KvSequence sequence_{model_, 1000, /*seed=*/21};
};

TEST_F(LifecycleTest, RegisteringAModelIsIdempotentAndAnotherShapeIsRefused) {
  pb::RegisterModelRequest request;
  *request.mutable_model() = MakeModel("meta-llama/Llama-3.1-8B", {.layers = 32});

  ASSERT_OK_AND_ASSIGN(const auto first, client().RegisterModel(request));
  ASSERT_OK_AND_ASSIGN(const auto second, client().RegisterModel(request));
  request.mutable_model()->set_head_dim(64);
  const auto other = client().RegisterModel(request);

  EXPECT_TRUE(first.created());
  EXPECT_FALSE(second.created());
  EXPECT_TRUE(IsError(other.status(), StatusCode::kAlreadyExists, {"meta-llama/Llama-3.1-8B"}));
  ASSERT_OK_AND_ASSIGN(const auto models, client().ListModels());
  ASSERT_EQ(models.models_size(), 2);
  EXPECT_EQ(models.models(0).name(), "meta-llama/Llama-3.1-8B");
  EXPECT_EQ(models.models(0).head_dim(), 128);
  EXPECT_EQ(models.models(1).SerializeAsString(), model_.SerializeAsString());
}

TEST_F(LifecycleTest, AnImportedContextReadsBackByteForByte) {
  ASSERT_OK_AND_ASSIGN(const auto imported, Import(client(), sequence_, "context"));

  EXPECT_EQ(imported.context_id(), "context");
  EXPECT_EQ(imported.reused_tokens(), 0);
  EXPECT_GE(imported.stored_bytes(), sequence_.token_count() * 2 * 2 * 8 * 128 * 2);
  EXPECT_OK(CheckStoredBytes(client(), "context", sequence_));
}

TEST_F(LifecycleTest, ReadingReturnsTheLayersAndTokensAskedFor) {
  ASSERT_OK(Import(client(), sequence_, "context"));
  pb::ReadContextRequest request;
  request.set_context_id("context");
  request.add_layers(1);
  request.mutable_token_range()->set_begin(70);
  request.mutable_token_range()->set_end(901);

  client::ContextReader reader = client().ReadContext(request);
  std::string keys;
  uint64_t next_token = 70;
  while (true) {
    ASSERT_OK_AND_ASSIGN(const auto chunk, reader.Next());
    if (!chunk) break;
    EXPECT_EQ(chunk->layer(), 1);
    EXPECT_EQ(chunk->token_begin(), next_token);
    next_token += static_cast<uint64_t>(chunk->key().shape(0));
    keys += chunk->key().data();
  }

  EXPECT_EQ(next_token, 901);
  const auto expected = sequence_.Keys(1, 70, 831).data;
  EXPECT_TRUE(keys == std::string(reinterpret_cast<const char*>(expected.data()), expected.size()));
}

TEST_F(LifecycleTest, TheServerNamesAContextThatHasNoName) {
  ASSERT_OK_AND_ASSIGN(const auto first, Import(client(), sequence_, ""));
  ASSERT_OK_AND_ASSIGN(const auto second,
                       Import(client(), KvSequence(model_, 10, /*seed=*/22), ""));

  EXPECT_FALSE(first.context_id().empty());
  EXPECT_NE(first.context_id(), second.context_id());
  EXPECT_OK(Get(first.context_id()));
}

TEST_F(LifecycleTest, LayersMayComeInterleavedAndInSmallPieces) {
  ASSERT_OK_AND_ASSIGN(auto importer, client().ImportContext(ImportHeader(sequence_, "context")));
  for (size_t begin = 0; begin < sequence_.token_count();) {
    const size_t count = std::min<size_t>(1 + begin % 137, sequence_.token_count() - begin);
    for (const uint32_t layer : {1U, 0U}) {
      ASSERT_OK(importer.AppendChunk({.layer = layer,
                                      .token_begin = begin,
                                      .key = sequence_.Keys(layer, begin, count),
                                      .value = sequence_.Values(layer, begin, count),
                                      .query = {}}));
    }
    begin += count;
  }
  ASSERT_OK(importer.Commit());

  EXPECT_OK(CheckStoredBytes(client(), "context", sequence_));
}

TEST_F(LifecycleTest, NothingIsVisibleBeforeTheCommit) {
  {
    ASSERT_OK_AND_ASSIGN(auto importer, client().ImportContext(ImportHeader(sequence_, "context")));
    ASSERT_OK(AppendLayers(sequence_, 0, importer));

    EXPECT_TRUE(IsError(Get("context").status(), StatusCode::kNotFound, {"context"}));
    ASSERT_OK_AND_ASSIGN(const auto match, Match(client(), model_.name(), sequence_.tokens()));
    EXPECT_EQ(match.matched_tokens(), 0);
  }  // given up

  ASSERT_OK(ImportOnceFree(client(), sequence_, "context"));
  EXPECT_OK(CheckStoredBytes(client(), "context", sequence_));
}

TEST_F(LifecycleTest, GetShowsWhatWasImported) {
  const int64_t before = UnixMilliseconds();
  ASSERT_OK_AND_ASSIGN(auto header_owner, client().ImportContext([&] {
    auto header = ImportHeader(sequence_, "context");
    (*header.mutable_labels())["user"] = "alice";
    header.mutable_ttl()->set_seconds(3600);
    return header;
  }()));
  ASSERT_OK(AppendLayers(sequence_, 0, header_owner));
  ASSERT_OK(header_owner.Commit());
  const int64_t after = UnixMilliseconds();

  ASSERT_OK_AND_ASSIGN(const auto response, Get("context", /*with_tokens=*/true));

  const pb::Context& context = response.context();
  EXPECT_EQ(context.context_id(), "context");
  EXPECT_EQ(context.model(), model_.name());
  EXPECT_EQ(context.token_count(), sequence_.token_count());
  EXPECT_EQ(context.segment_count(), 1);
  EXPECT_EQ(context.labels().at("user"), "alice");
  // The time to live counts from the commit, which any moment of the import may precede.
  const int64_t expiry = TimeUtil::TimestampToMilliseconds(context.expire_time());
  EXPECT_GE(expiry, before + 3600 * 1000);
  EXPECT_LE(expiry, after + 3600 * 1000);
  EXPECT_FALSE(context.pinned());
  EXPECT_EQ(std::vector<uint32_t>(response.tokens().begin(), response.tokens().end()),
            sequence_.tokens());
}

TEST_F(LifecycleTest, MatchFindsTheLongestStoredPrefix) {
  const KvSequence branch = sequence_.Branch(400, 700, /*seed=*/23);
  ASSERT_OK(Import(client(), sequence_, "whole"));
  ASSERT_OK(Import(client(), branch, "branch"));
  const auto match = [&](const std::vector<uint32_t>& tokens) {
    return *Match(client(), model_.name(), tokens);
  };

  EXPECT_EQ(match(sequence_.tokens()).context_id(), "whole");
  EXPECT_EQ(match(sequence_.tokens()).matched_tokens(), 1000);
  EXPECT_EQ(match(branch.tokens()).context_id(), "branch");
  EXPECT_EQ(match(branch.tokens()).matched_tokens(), 700);
  EXPECT_EQ(match(sequence_.Prefix(399)).matched_tokens(), 399);
  EXPECT_EQ(match(sequence_.Branch(555, 1000, /*seed=*/24).tokens()).matched_tokens(), 555);
  EXPECT_EQ(match({4'000'000'000}).matched_tokens(), 0);
  EXPECT_EQ(match({4'000'000'000}).context_id(), "");
}

TEST_F(LifecycleTest, AnImportReusesTheStoredPrefixAndNeedNotSendIt) {
  ASSERT_OK_AND_ASSIGN(const auto whole, Import(client(), sequence_, "whole"));
  const KvSequence longer = sequence_.Branch(1000, 1300, /*seed=*/25);

  ASSERT_OK_AND_ASSIGN(const auto sent_new, Import(client(), longer, "longer", 1000));
  const KvSequence branch = longer.Branch(1300, 1400, /*seed=*/26);
  ASSERT_OK_AND_ASSIGN(const auto sent_all, Import(client(), branch, "branch"));

  EXPECT_EQ(sent_new.reused_tokens(), 1000);
  EXPECT_LT(sent_new.stored_bytes(), whole.stored_bytes() / 2);
  EXPECT_EQ(sent_all.reused_tokens(), 1300);
  EXPECT_OK(CheckStoredBytes(client(), "longer", longer));
  EXPECT_OK(CheckStoredBytes(client(), "branch", branch));
  ASSERT_OK_AND_ASSIGN(const ServerState state, ReadServerState(client()));
  EXPECT_EQ(state.stored_tokens, 1400);
}

TEST_F(LifecycleTest, ListingPagesThroughAllContextsNewestFirst) {
  for (uint64_t i = 0; i < 7; ++i) {
    ASSERT_OK(Import(client(), KvSequence(model_, 3, /*seed=*/100 + i), "c" + std::to_string(i)));
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // creation times differ
  }
  pb::ListContextsRequest request;
  request.set_page_size(3);
  std::vector<std::string> ids;
  std::vector<int> page_sizes;
  do {
    ASSERT_OK_AND_ASSIGN(const auto page, client().ListContexts(request));
    page_sizes.push_back(page.contexts_size());
    for (const pb::Context& context : page.contexts()) ids.push_back(context.context_id());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());

  EXPECT_THAT(ids, ElementsAre("c6", "c5", "c4", "c3", "c2", "c1", "c0"));
  EXPECT_THAT(page_sizes, ElementsAre(3, 3, 1));
}

TEST_F(LifecycleTest, ListingFiltersByModelAndLabels) {
  const pb::Model other = MakeModel("test/other", {.head_dim = 64});
  ASSERT_OK(RegisterModel(client(), other));
  ASSERT_OK(Import(client(), sequence_, "plain"));
  ASSERT_OK(Import(client(), KvSequence(other, 5, /*seed=*/27), "of-other"));
  pb::UpdateContextRequest update;
  update.set_context_id("plain");
  (*update.mutable_labels()->mutable_labels())["team"] = "search";
  ASSERT_OK(client().UpdateContext(update));
  const auto ids = [&](const pb::ListContextsRequest& request) {
    const auto page = client().ListContexts(request);
    EXPECT_OK(page);
    std::vector<std::string> found;
    if (!page.ok()) return found;
    for (const pb::Context& context : page->contexts()) found.push_back(context.context_id());
    return found;
  };

  pb::ListContextsRequest by_model;
  by_model.set_model("test/other");
  pb::ListContextsRequest by_label;
  (*by_label.mutable_labels())["team"] = "search";

  EXPECT_THAT(ids(by_model), ElementsAre("of-other"));
  EXPECT_THAT(ids(by_label), ElementsAre("plain"));
  EXPECT_THAT(ids({}), UnorderedElementsAre("plain", "of-other"));
}

TEST_F(LifecycleTest, AContextExpiresUnlessPinned) {
  for (const char* id : {"expires", "pinned", "kept"}) {
    ASSERT_OK(Import(client(), KvSequence(model_, 4, std::hash<std::string>()(id)), id));
  }
  pb::UpdateContextRequest update;
  update.mutable_ttl()->set_nanos(200'000'000);
  for (const char* id : {"expires", "pinned"}) {
    update.set_context_id(id);
    update.set_pinned(id == std::string("pinned"));
    ASSERT_OK(client().UpdateContext(update));
  }

  EXPECT_TRUE(ExpiresWithin("expires", std::chrono::seconds(60)));
  EXPECT_OK(Get("kept"));
  ASSERT_OK_AND_ASSIGN(const auto pinned, Get("pinned"));
  EXPECT_TRUE(pinned.context().pinned());

  update.set_context_id("pinned");
  update.set_pinned(false);
  ASSERT_OK(client().UpdateContext(update));
  EXPECT_TRUE(ExpiresWithin("pinned", std::chrono::seconds(60)));
}

TEST_F(LifecycleTest, ADeletedContextIsGoneAndWhatOthersShareStays) {
  ASSERT_OK(Import(client(), sequence_, "parent"));
  const KvSequence child = sequence_.Branch(1000, 1200, /*seed=*/28);
  ASSERT_OK(Import(client(), child, "child"));

  ASSERT_OK(Delete(client(), "parent"));

  EXPECT_TRUE(IsError(Get("parent").status(), StatusCode::kNotFound, {"parent"}));
  EXPECT_TRUE(IsError(Delete(client(), "parent").status(), StatusCode::kNotFound, {"parent"}));
  EXPECT_OK(CheckStoredBytes(client(), "child", child));
  ASSERT_OK_AND_ASSIGN(const uint64_t freed_bytes, Delete(client(), "child"));
  EXPECT_GE(freed_bytes, child.token_count() * 2 * 2 * 8 * 128 * 2);
  ASSERT_OK_AND_ASSIGN(const ServerState state, ReadServerState(client()));
  EXPECT_EQ(state.contexts, 0);
  EXPECT_EQ(state.stored_tokens, 0);
}

TEST_F(LifecycleTest, ADeletedContextServesItsOpenSessions) {
  ASSERT_OK(Import(client(), sequence_, "context"));
  ASSERT_OK_AND_ASSIGN(const std::string session, OpenSession(client(), "context"));
  ASSERT_OK(Delete(client(), "context"));
  client::AttendStream stream = client().Attend();
  const pb::AttendItem item = sequence_.Ask(session, 0, 1000);

  ASSERT_OK_AND_ASSIGN(const pb::AttendResult result, stream.AttendOne(item));

  EXPECT_TRUE(AnswersItem(sequence_, {1000, 1000}, item, result));
}

TEST_F(LifecycleTest, ABackupIsADataDirectoryOfItsOwn) {
  ASSERT_OK(Import(client(), sequence_, "context"));
  pb::CreateBackupRequest request;
  request.set_directory(directory() / "backup");

  ASSERT_OK_AND_ASSIGN(const auto backup, client().CreateBackup(request));
  EXPECT_GE(backup.bytes(), sequence_.token_count() * 2 * 2 * 8 * 128 * 2);
  EXPECT_TRUE(IsError(client().CreateBackup(request).status(), StatusCode::kAlreadyExists));
  ASSERT_OK(Delete(client(), "context"));

  ServerProcessOptions options;
  options.data_directory = request.directory();
  ASSERT_OK_AND_ASSIGN(const auto second, ServerProcess::Start(options));
  ASSERT_OK_AND_ASSIGN(const auto second_client, client::Client::Connect(second->grpc_address()));
  EXPECT_OK(CheckStoredBytes(second_client, "context", sequence_));
}

}  // namespace
}  // namespace alaya
