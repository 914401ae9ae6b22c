#include "server/access/api_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace alaya {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// SHA-256 of "abc": FIPS 180-2, appendix B.1.
constexpr char kHashOfAbc[] =
    "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(ApiKeyTest, ReadsNameTenantRoleAndHash) {
  const auto keys = ParseKeyLines(std::string("# engines\n\n  one  team-a\twrite ") + kHashOfAbc +
                                  "  # since May\ntwo default read " + kHashOfAbc + "\r\n");

  ASSERT_TRUE(keys.ok()) << keys.status();
  ASSERT_EQ(keys->size(), 2);
  EXPECT_EQ((*keys)[0].name, "one");
  EXPECT_EQ((*keys)[0].tenant, "team-a");
  EXPECT_EQ((*keys)[0].role, Role::kWrite);
  EXPECT_TRUE(SameHash((*keys)[0].hash, HashKey("abc")));
  EXPECT_EQ((*keys)[1].role, Role::kRead);
}

TEST(ApiKeyTest, AnotherKeyHasAnotherHash) {
  EXPECT_FALSE(SameHash(HashKey("abc"), HashKey("abd")));
  EXPECT_FALSE(SameHash(HashKey("abc"), HashKey("")));
}

TEST(ApiKeyTest, BadLinesAreNamedAndNeverQuoted) {
  const std::string secret = "alaya_THE-KEY-ITSELF";
  for (const std::string& line :
       {"one default read " + secret, "one default read sha256:" + secret, secret,
        "one default " + secret + " " + kHashOfAbc, "a/" + secret + " default read " + kHashOfAbc,
        "one ../" + secret + " read " + kHashOfAbc,
        "one default read " + std::string(kHashOfAbc) + "00",
        "one default read " + std::string(kHashOfAbc).substr(0, 60),
        "one default read sha256:+" + std::string(kHashOfAbc).substr(8)}) {
    const auto keys = ParseKeyLines("# first\n" + line);

    EXPECT_EQ(keys.status().code(), StatusCode::kInvalidArgument) << line;
    EXPECT_THAT(std::string(Message(keys.status())),
                AllOf(HasSubstr("line 2"), Not(HasSubstr("THE-KEY"))));
  }
}

TEST(ApiKeyTest, TenantNamesAreShortAndPlain) {
  EXPECT_TRUE(CheckTenantName("Team_a.2-x").ok());
  for (const std::string& name : {std::string(), std::string(65, 'a'), std::string("a b"),
                                  std::string("a/b"), std::string("a\0b", 3), std::string("ä")}) {
    EXPECT_FALSE(CheckTenantName(name).ok()) << name;
  }
}

}  // namespace
}  // namespace alaya
