#include "server/engine/quota_error.h"

#include <gtest/gtest.h>

namespace alaya {
namespace {

TEST(QuotaErrorTest, SaysAgainWhatItWasMadeOf) {
  const Status status = QuotaError({.subject = "tenant:a b",
                                    .description = "too much: 3",
                                    .retry_after = std::chrono::milliseconds(250)});

  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(Message(status), "tenant:a b: too much: 3");
  const auto violation = QuotaViolationOf(status);
  ASSERT_TRUE(violation.has_value());
  EXPECT_EQ(violation->subject, "tenant:a b");
  EXPECT_EQ(violation->description, "too much: 3");
  EXPECT_EQ(violation->retry_after.count(), 250);
}

TEST(QuotaErrorTest, OtherErrorsAreNoViolations) {
  EXPECT_FALSE(QuotaViolationOf(ResourceExhausted("disk")).has_value());
  EXPECT_FALSE(QuotaViolationOf(OkStatus()).has_value());
}

}  // namespace
}  // namespace alaya
