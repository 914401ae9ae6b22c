#include "server/engine/session_table.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace alaya {
namespace {

class SessionTableTest : public testing::Test {
 protected:
  std::shared_ptr<Session> NewSession(std::string id, std::string_view tenant) {
    return std::make_shared<Session>(
        SessionOwner{std::move(id), tenants_.AccountOf(tenant), model_, WallTime()},
        SessionPrefix(), Tail(model_->model, &budget_), &pool_);
  }

  const std::shared_ptr<const RegisteredModel> model_ = std::make_shared<RegisteredModel>(
      RegisteredModel{ModelId{1}, {"m", 1, 1, 1, 8, DType::kF32}});
  TenantQuota tenants_{TenantLimitsTable()};
  TailBudget budget_{1 << 20};
  WorkerPool pool_{"test", 1};
  class ManualClock final : public Clock {
   public:
    WallTime now() const override { return WallTime(); }
    std::chrono::steady_clock::time_point steady_now() const override { return time; }
    std::chrono::steady_clock::time_point time{std::chrono::hours(1)};
  };
  ManualClock clock_;
  SessionTable table_{3, &clock_};
};

TEST_F(SessionTableTest, SessionsAreFoundByTheirOwnTenantOnly) {
  ASSERT_TRUE(table_.Insert(NewSession("a", "me")).ok());

  EXPECT_EQ((*table_.Find("me", "a"))->id(), "a");
  EXPECT_EQ(table_.Find("you", "a").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(table_.Remove("you", "a").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(table_.Find("you", "a").status(), NotFound("session 'a' does not exist"));
  EXPECT_EQ(table_.size(), 1U);
}

TEST_F(SessionTableTest, AFullTableTakesNoMore) {
  for (const char* id : {"a", "b", "c"}) ASSERT_TRUE(table_.Insert(NewSession(id, "me")).ok());

  EXPECT_EQ(table_.Insert(NewSession("d", "me")).code(), StatusCode::kResourceExhausted);
  ASSERT_TRUE(table_.Remove("me", "b").ok());
  EXPECT_TRUE(table_.Insert(NewSession("d", "me")).ok());
}

TEST_F(SessionTableTest, PagesGoByRisingIdAfterTheLastOne) {
  ASSERT_TRUE(table_.Insert(NewSession("c", "me")).ok());
  ASSERT_TRUE(table_.Insert(NewSession("a", "me")).ok());
  ASSERT_TRUE(table_.Insert(NewSession("b", "you")).ok());
  const auto ids = [this](std::string_view after, size_t limit) {
    std::vector<std::string> page;
    for (const auto& session : table_.List("me", after, limit)) page.push_back(session->id());
    return page;
  };

  EXPECT_EQ(ids("", 10), (std::vector<std::string>{"a", "c"}));
  EXPECT_EQ(ids("", 1), (std::vector<std::string>{"a"}));
  EXPECT_EQ(ids("a", 1), (std::vector<std::string>{"c"}));
  EXPECT_EQ(ids("c", 1), (std::vector<std::string>{}));
}

TEST_F(SessionTableTest, ASessionThatNobodyUsesEndsAndItsOwnerLearnsWhy) {
  using std::chrono::milliseconds;
  ASSERT_TRUE(table_.Insert(NewSession("used", "me")).ok());
  ASSERT_TRUE(table_.Insert(NewSession("unused", "me")).ok());
  clock_.time += milliseconds(60);
  ASSERT_TRUE(table_.Find("me", "used").ok());
  clock_.time += milliseconds(60);

  EXPECT_EQ(table_.RemoveUnused(milliseconds(100)).size(), 1U);

  EXPECT_TRUE(table_.Find("me", "used").ok());
  EXPECT_EQ(table_.Find("me", "unused").status(),
            NotFound("session 'unused' ended: it was not used for 100 ms, the "
                     "session_idle_timeout"));
  EXPECT_EQ(table_.Find("you", "unused").status(), NotFound("session 'unused' does not exist"));
}

TEST_F(SessionTableTest, ASessionThatSomebodyHoldsStays) {
  ASSERT_TRUE(table_.Insert(NewSession("a", "me")).ok());
  auto held = table_.Find("me", "a");
  clock_.time += std::chrono::hours(1);

  EXPECT_TRUE(table_.RemoveUnused(std::chrono::seconds(1)).empty());
  held = NotFound("let go");
  EXPECT_EQ(table_.RemoveUnused(std::chrono::seconds(1)).size(), 1U);
}

}  // namespace
}  // namespace alaya
