#include "server/rpc/page_token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace alaya {
namespace {

// What the caller reads of an error; empty without one.
template <typename Result>
std::string ErrorOf(const StatusOr<Result>& result) {
  if (result.ok()) return "";
  EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
  return std::string(Message(result.status()));
}

TEST(PageTokenTest, OnlyTokensOfTheSameListingAreTaken) {
  const std::string token = EncodePageToken("contexts\nm", "c-17");

  EXPECT_EQ(*DecodePageToken("contexts\nm", token), "c-17");
  EXPECT_EQ(*DecodePageToken("contexts\nm", ""), "");
  for (const std::string& bad : {token + "x", token.substr(1), std::string("c-17"),
                                 token.substr(0, 16), std::string(5000, 'a')}) {
    EXPECT_THAT(ErrorOf(DecodePageToken("contexts\nm", bad)), testing::HasSubstr("page_token"))
        << bad;
  }
  EXPECT_THAT(ErrorOf(DecodePageToken("contexts\n", token)), testing::HasSubstr("page_token"));
}

TEST(PageSizeTest, HasADefaultAndLimits) {
  EXPECT_EQ(*PageSizeFromProto(0), 100U);
  EXPECT_EQ(*PageSizeFromProto(1000), 1000U);
  EXPECT_THAT(ErrorOf(PageSizeFromProto(-1)), testing::HasSubstr("page_size: -1"));
  EXPECT_THAT(ErrorOf(PageSizeFromProto(1001)), testing::HasSubstr("page_size: 1001"));
}

}  // namespace
}  // namespace alaya
