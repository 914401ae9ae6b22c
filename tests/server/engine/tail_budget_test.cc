#include "server/engine/tail_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace alaya {
namespace {

using testing::HasSubstr;

std::shared_ptr<TenantAccount> Account(const std::string& name, uint64_t max_tail_bytes) {
  return std::make_shared<TenantAccount>(name, TenantLimits{.max_tail_bytes = max_tail_bytes});
}

TEST(TailBudgetTest, ATenantsPartCountsInTheWhole) {
  TailBudgets budgets(100);
  const auto account = Account("a", 0);
  TailBudget* part = budgets.Of(account);
  EXPECT_EQ(budgets.Of(account), part);

  ASSERT_TRUE(part->Reserve(60).ok());

  EXPECT_EQ(budgets.total().used_bytes(), 60);
  EXPECT_EQ(account->used(QuotaKind::kTailBytes), 60);
  part->Release(60);
  EXPECT_EQ(budgets.total().used_bytes(), 0);
  EXPECT_EQ(account->used(QuotaKind::kTailBytes), 0);
}

TEST(TailBudgetTest, TheTenantsLimitAndTheWholesHold) {
  TailBudgets budgets(100);
  const auto small = Account("small", 30);
  const auto large = Account("large", 0);

  EXPECT_THAT(std::string(Message(budgets.Of(small)->Reserve(31))),
              HasSubstr("max_tail_bytes is 30"));
  ASSERT_TRUE(budgets.Of(small)->Reserve(30).ok());
  const Status refused = budgets.Of(large)->Reserve(71);

  EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(Message(refused)), HasSubstr("max_tail_bytes_total is 100"));
  EXPECT_EQ(large->used(QuotaKind::kTailBytes), 0) << "a refusal takes nothing";
  EXPECT_TRUE(budgets.Of(large)->Reserve(70).ok());
}

}  // namespace
}  // namespace alaya
