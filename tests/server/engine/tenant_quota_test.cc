#include "server/engine/tenant_quota.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/engine/quota_error.h"

namespace alaya {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

std::shared_ptr<TenantAccount> Account(const TenantLimits& limits) {
  return std::make_shared<TenantAccount>(
      "team-a", limits,
      std::make_shared<TenantAccount>(TenantQuota::kTotalSubject, TenantLimits()));
}

TEST(TenantAccountTest, TakesUpToItsLimitAndSaysWhichOneItIs) {
  const auto account = Account({.max_sessions = 2});
  auto first = TenantAccount::TakeShare(account, QuotaKind::kSessions, 1);
  auto second = TenantAccount::TakeShare(account, QuotaKind::kSessions, 1);
  ASSERT_TRUE(first.ok() && second.ok());

  const Status refused = account->Take(QuotaKind::kSessions, 1);

  EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(Message(refused)), HasSubstr("max_sessions is 2"));
  const auto violation = QuotaViolationOf(refused);
  ASSERT_TRUE(violation.has_value());
  EXPECT_EQ(violation->subject, "tenant:team-a");
  EXPECT_GT(violation->retry_after.count(), 0);
  EXPECT_EQ(account->used(QuotaKind::kSessions), 2);
  EXPECT_EQ(account->refused_count(), 1);
}

TEST(TenantAccountTest, AShareIsGivenBackOnceWhereverItWent) {
  const auto account = Account({.max_bytes_in_flight = 10});
  {
    TenantAccount::Share share =
        TenantAccount::TakeShare(account, QuotaKind::kBytesInFlight, 10).value();
    TenantAccount::Share moved = std::move(share);
    EXPECT_EQ(account->used(QuotaKind::kBytesInFlight), 10);
    moved.Release();
    EXPECT_EQ(account->used(QuotaKind::kBytesInFlight), 0);
    moved = TenantAccount::TakeShare(account, QuotaKind::kBytesInFlight, 4).value();
  }
  EXPECT_EQ(account->used(QuotaKind::kBytesInFlight), 0);
}

TEST(TenantAccountTest, HugeAmountsAreRefusedNotWrappedAround) {
  const auto account = Account({.max_tail_bytes = 100});
  ASSERT_TRUE(account->Take(QuotaKind::kTailBytes, 60).ok());

  for (const uint64_t amount : {uint64_t{41}, uint64_t{101}, UINT64_MAX, UINT64_MAX - 60}) {
    EXPECT_FALSE(account->Take(QuotaKind::kTailBytes, amount).ok()) << amount;
  }
  EXPECT_TRUE(account->Take(QuotaKind::kTailBytes, 40).ok());
}

TEST(TenantAccountTest, WhatIsStoredCountsBesideWhatIsWritten) {
  const auto account = Account({.max_stored_bytes = 100});
  auto writing = TenantAccount::TakeStorage(account, /*stored_bytes=*/50, 30);
  ASSERT_TRUE(writing.ok());

  EXPECT_FALSE(TenantAccount::TakeStorage(account, 50, 21).ok());
  EXPECT_FALSE(TenantAccount::TakeStorage(account, 200, 1).ok());
  EXPECT_TRUE(TenantAccount::TakeStorage(account, 50, 20).ok());
}

TEST(TenantAccountTest, WithoutALimitEverythingIsCountedAndNothingRefused) {
  const auto account = Account({});

  EXPECT_TRUE(account->Take(QuotaKind::kStreams, 1'000'000).ok());
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(account->CountRequest(steady_clock::now()).ok());

  EXPECT_EQ(account->used(QuotaKind::kStreams), 1'000'000);
  EXPECT_EQ(account->request_count(), 1000);
}

TEST(TenantAccountTest, RequestsPassAtTheirRateAfterABurst) {
  const auto account = Account({.max_requests_per_second = 10});
  const steady_clock::time_point start = steady_clock::now();
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(account->CountRequest(start).ok()) << i;

  const Status refused = account->CountRequest(start);

  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(QuotaViolationOf(refused)->retry_after, milliseconds(100));
  EXPECT_FALSE(account->CountRequest(start + milliseconds(99)).ok());
  EXPECT_TRUE(account->CountRequest(start + milliseconds(100)).ok());
  EXPECT_FALSE(account->CountRequest(start + milliseconds(100)).ok());
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(account->CountRequest(start + std::chrono::minutes(1)).ok());
  }
  EXPECT_FALSE(account->CountRequest(start + std::chrono::minutes(1)).ok());
}

TEST(TenantAccountTest, ThreadsNeverTakeMoreThanTheLimit) {
  const auto account = Account({.max_streams = 3});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 2000; ++j) {
        const auto share = TenantAccount::TakeShare(account, QuotaKind::kStreams, 1);
        EXPECT_LE(account->used(QuotaKind::kStreams), 3);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(account->used(QuotaKind::kStreams), 0);
}

struct LimitCase {
  const char* name;
  uint64_t TenantLimits::*limit;
  QuotaKind kind;
};

class TenantQuotaLimitTest : public testing::TestWithParam<LimitCase> {
 protected:
  static TenantLimits With(uint64_t value) {
    TenantLimits limits;
    limits.*GetParam().limit = value;
    return limits;
  }
};

TEST_P(TenantQuotaLimitTest, HoldsForATenantAndForAllTogether) {
  const QuotaKind kind = GetParam().kind;
  TenantQuota quota({.all = With(5), .others = With(4), .named = {}});
  const auto one = quota.AccountOf("one");
  const auto two = quota.AccountOf("two");
  auto share = TenantAccount::TakeShare(one, kind, 3);
  ASSERT_TRUE(share.ok());

  const Status beyond_its_own = one->Take(kind, 2);
  const Status beyond_all = two->Take(kind, 3);

  EXPECT_EQ(QuotaViolationOf(beyond_its_own)->subject, "tenant:one");
  EXPECT_THAT(QuotaViolationOf(beyond_its_own)->description,
              HasSubstr(std::string(GetParam().name) + " is 4"));
  EXPECT_EQ(QuotaViolationOf(beyond_all)->subject, "server");
  EXPECT_THAT(QuotaViolationOf(beyond_all)->description,
              HasSubstr(std::string(GetParam().name) + " is 5"));
  EXPECT_GT(QuotaViolationOf(beyond_all)->retry_after.count(), 0);
  EXPECT_EQ(two->used(kind), 0) << "a refusal takes nothing";
  EXPECT_EQ(two->refused_count(), 0) << "its own limit was not reached";
  EXPECT_EQ(quota.total().used(kind), 3);
  EXPECT_EQ(quota.total().refused_count(), 1);
  EXPECT_TRUE(two->Take(kind, 2).ok());
  share->Release();
  EXPECT_EQ(quota.total().used(kind), 2);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, TenantQuotaLimitTest,
    testing::Values(LimitCase{"max_streams", &TenantLimits::max_streams, QuotaKind::kStreams},
                    LimitCase{"max_attend_items_in_flight",
                              &TenantLimits::max_attend_items_in_flight, QuotaKind::kAttendItems},
                    LimitCase{"max_bytes_in_flight", &TenantLimits::max_bytes_in_flight,
                              QuotaKind::kBytesInFlight}),
    [](const auto& limit) { return std::string(limit.param.name); });

TEST(TenantQuotaTest, WhatIsThereAnywayCountsForOthers) {
  TenantQuota quota({.all = {.max_bytes_in_flight = 10}, .others = {}, .named = {}});
  auto share = TenantAccount::TakeShareAnyway(quota.AccountOf("a"), QuotaKind::kBytesInFlight, 12);
  EXPECT_FALSE(quota.AccountOf("b")->Take(QuotaKind::kBytesInFlight, 1).ok());

  share.Release();

  EXPECT_TRUE(quota.AccountOf("b")->Take(QuotaKind::kBytesInFlight, 10).ok());
}

TEST(TenantQuotaTest, TheRateOfAllHoldsAndARefusalDoesNotCountForTheTenant) {
  TenantQuota quota(
      {.all = {.max_requests_per_second = 4}, .others = {.max_requests_per_second = 3}});
  const steady_clock::time_point start = steady_clock::now();
  const auto one = quota.AccountOf("one");
  const auto two = quota.AccountOf("two");
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(one->CountRequest(start).ok());
  ASSERT_TRUE(two->CountRequest(start).ok());

  EXPECT_EQ(QuotaViolationOf(one->CountRequest(start))->subject, "tenant:one");
  const auto refused = QuotaViolationOf(two->CountRequest(start));
  EXPECT_EQ(refused->subject, "server");
  EXPECT_EQ(refused->retry_after, milliseconds(250));
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(two->CountRequest(start).ok());

  // Were they counted, the tenant's own three would be used up.
  EXPECT_TRUE(two->CountRequest(start + milliseconds(250)).ok());
}

TEST(TenantQuotaTest, EqualSharesOfTimePutFewBeforeWhoTakesLittle) {
  TenantQuota quota({.all = {}, .others = {}, .named = {}});
  const auto busy = quota.AccountOf("busy");
  const auto calm = quota.AccountOf("calm");
  ASSERT_TRUE(busy->Take(QuotaKind::kAttendItems, 100).ok());
  ASSERT_TRUE(calm->Take(QuotaKind::kAttendItems, 2).ok());

  EXPECT_EQ(quota.AheadOf(*calm, QuotaKind::kAttendItems), 2 + 3);
  EXPECT_EQ(quota.AheadOf(*busy, QuotaKind::kAttendItems), 100 + 2);
}

TEST(TenantQuotaTest, NamedTenantsHaveTheirOwnLimitsAndNewOnesCountAtOnce) {
  TenantQuota quota({.others = {.max_sessions = 1}, .named = {{"big", {.max_sessions = 5}}}});
  const auto small = quota.AccountOf("small");
  const auto big = quota.AccountOf("big");
  EXPECT_EQ(quota.AccountOf("small"), small);
  EXPECT_FALSE(small->Take(QuotaKind::kSessions, 2).ok());
  EXPECT_TRUE(big->Take(QuotaKind::kSessions, 5).ok());

  quota.SetLimits({.others = {.max_sessions = 2}, .named = {}});

  EXPECT_TRUE(small->Take(QuotaKind::kSessions, 2).ok());
  EXPECT_FALSE(big->Take(QuotaKind::kSessions, 1).ok());
  EXPECT_EQ(big->used(QuotaKind::kSessions), 5) << "what was taken stays taken";
  EXPECT_EQ(quota.accounts().size(), 2);
}

}  // namespace
}  // namespace alaya
