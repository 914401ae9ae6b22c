#include "server/access/key_ring.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace alaya {
namespace {

ApiKey Key(const std::string& name, const std::string& secret, Role role = Role::kWrite,
           const std::string& tenant = "default") {
  return {.name = name, .tenant = tenant, .role = role, .hash = HashKey(secret)};
}

TEST(KeyRingTest, FindsTheOwnerOfAKey) {
  KeyRing ring;
  ASSERT_TRUE(ring.Replace({Key("a", "secret-a", Role::kRead, "x"), Key("b", "secret-b")}).ok());

  const auto found = ring.Find("secret-a");

  ASSERT_TRUE(found.ok());
  EXPECT_EQ((*found)->name(), "a");
  EXPECT_EQ((*found)->tenant(), "x");
  EXPECT_EQ((*found)->role(), Role::kRead);
  EXPECT_EQ(ring.Find("secret-b").value()->name(), "b");
}

TEST(KeyRingTest, KnowsNoOtherKeys) {
  KeyRing ring;
  EXPECT_EQ(ring.Find("anything").status().code(), StatusCode::kUnauthenticated);
  ASSERT_TRUE(ring.Replace({Key("a", "secret-a")}).ok());

  for (const char* key : {"", "secret-b", "secret-a ", "SECRET-A", "secret-"}) {
    EXPECT_EQ(ring.Find(key).status().code(), StatusCode::kUnauthenticated) << key;
  }
}

TEST(KeyRingTest, AKeyThatStaysIsNotRevokedAndOneThatGoesOrChangesIs) {
  KeyRing ring;
  ASSERT_TRUE(ring.Replace({Key("stays", "1"), Key("goes", "2"), Key("changes", "3")}).ok());
  const auto stays = ring.Find("1").value();
  const auto goes = ring.Find("2").value();
  const auto changes = ring.Find("3").value();

  ASSERT_TRUE(
      ring.Replace({Key("stays", "1"), Key("changes", "3", Role::kRead), Key("new", "4")}).ok());

  EXPECT_FALSE(stays->revoked());
  EXPECT_TRUE(goes->revoked());
  EXPECT_TRUE(changes->revoked());
  EXPECT_EQ(ring.Find("2").status().code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(ring.Find("3").value()->role(), Role::kRead);
  EXPECT_TRUE(ring.Find("4").ok());
}

TEST(KeyRingTest, TwoKeysOfOneNameOrOneKeyOfTwoNamesChangeNothing) {
  KeyRing ring;
  ASSERT_TRUE(ring.Replace({Key("a", "1")}).ok());

  EXPECT_EQ(ring.Replace({Key("b", "2"), Key("b", "3")}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ring.Replace({Key("b", "2"), Key("c", "2")}).code(), StatusCode::kInvalidArgument);

  EXPECT_TRUE(ring.Find("1").ok());
  EXPECT_FALSE(ring.Find("2").ok());
}

TEST(KeyRingTest, IsReplacedWhileOthersLook) {
  KeyRing ring;
  ASSERT_TRUE(ring.Replace({Key("a", "1"), Key("b", "2")}).ok());
  std::atomic<bool> stop{false};
  std::thread looker([&] {
    while (!stop) EXPECT_TRUE(ring.Find("1").ok());
  });

  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(ring.Replace({Key("a", "1"), Key("b", std::to_string(i + 2))}).ok());
  }

  stop = true;
  looker.join();
}

}  // namespace
}  // namespace alaya
