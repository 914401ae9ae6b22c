#include "server/rpc/traceparent.h"

#include <gtest/gtest.h>

#include <string>

namespace alaya {
namespace {

constexpr char kGood[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(TraceparentTest, TheStandardsExampleIsOne) { EXPECT_TRUE(IsTraceparent(kGood)); }

TEST(TraceparentTest, WhatWouldNotBelongIntoALogIsNone) {
  EXPECT_FALSE(IsTraceparent(""));
  EXPECT_FALSE(IsTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"));
  EXPECT_FALSE(IsTraceparent(std::string(kGood) + "-more"));
  EXPECT_FALSE(IsTraceparent("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
  EXPECT_FALSE(IsTraceparent("00-00000000000000000000000000000000-00f067aa0ba902b7-01"));
  EXPECT_FALSE(IsTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"));
  for (size_t i = 0; i < sizeof(kGood) - 1; ++i) {
    for (const char bad : {'G', 'A', ' ', '\n', '"'}) {
      std::string text = kGood;
      text[i] = bad;
      EXPECT_FALSE(IsTraceparent(text)) << text;
    }
  }
}

}  // namespace
}  // namespace alaya
