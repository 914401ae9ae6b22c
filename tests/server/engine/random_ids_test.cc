#include "server/engine/random_ids.h"

#include <gtest/gtest.h>

#include <set>

namespace alaya {
namespace {

TEST(RandomIdsTest, AnIdIs128BitsInHexadecimal) {
  uint64_t next = 0;
  RandomIds ids([&next] { return next++; });

  EXPECT_EQ(ids.Next(), "00000000000000000000000000000001");
  EXPECT_EQ(ids.Next(), "00000000000000020000000000000003");
}

TEST(RandomIdsTest, TheSystemsEntropyGivesDifferentIds) {
  RandomIds ids(nullptr);
  std::set<std::string> seen;

  for (int i = 0; i < 1000; ++i) seen.insert(ids.Next());

  EXPECT_EQ(seen.size(), 1000U);
  for (const std::string& id : seen) EXPECT_EQ(id.size(), 32U);
}

}  // namespace
}  // namespace alaya
