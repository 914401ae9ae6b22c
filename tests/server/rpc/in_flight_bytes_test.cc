#include "server/rpc/in_flight_bytes.h"

#include <gtest/gtest.h>

#include <utility>

namespace alaya {
namespace {

TEST(InFlightBytesTest, AChargeIsGivenBackOnce) {
  InFlightBytes bytes(100);
  {
    InFlightBytes::Charge first = *bytes.TryCharge(60);
    const InFlightBytes::Charge moved = std::move(first);
    EXPECT_EQ(bytes.used_bytes(), 60U);
  }
  EXPECT_EQ(bytes.used_bytes(), 0U);
}

TEST(InFlightBytesTest, WhatExceedsTheLimitIsRefusedAndNotCharged) {
  InFlightBytes bytes(100);
  const auto first = bytes.TryCharge(100);
  ASSERT_TRUE(first.ok());

  const auto second = bytes.TryCharge(1);

  EXPECT_EQ(second.status(), ResourceExhausted("a message of 1 bytes with 100 bytes under way: "
                                               "max_bytes_in_flight is 100"));
  EXPECT_EQ(bytes.used_bytes(), 100U);
}

TEST(InFlightBytesTest, WhatIsThereAnywayCountsForOthers) {
  InFlightBytes bytes(100);
  InFlightBytes::Charge charge = bytes.ChargeAnyway(150);
  EXPECT_FALSE(bytes.TryCharge(1).ok());

  charge.Release();

  EXPECT_TRUE(bytes.TryCharge(1).ok());
}

}  // namespace
}  // namespace alaya
