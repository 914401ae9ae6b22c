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
  return std::make_shared<TenantAccount>("team-a", limits);
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
