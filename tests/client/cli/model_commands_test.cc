#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/client/cli/alayactl_fixture.h"

namespace alaya::client {
namespace {

using testing::HasSubstr;

using ModelCommandsTest = AlayactlTest;

TEST_F(ModelCommandsTest, ModelsAreRegisteredAndListed) {
  RegisterModel("bf16");

  EXPECT_THAT(Run({"model", "list"}).out,
              HasSubstr("m           2            4         2         8  bf16"));
  const auto models = nlohmann::json::parse(Run({"model", "list", "--json"}).out)["models"];
  EXPECT_EQ(models[0]["num_kv_heads"], 2);
  EXPECT_EQ(models[0]["dtype"], "DTYPE_BF16");
}

}  // namespace
}  // namespace alaya::client
