// Who takes how much of the disk.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store_fixture.h"

namespace alaya {
namespace {

class CatalogUsageTest : public StoreTest {};

TEST_F(CatalogUsageTest, CountsSharedSegmentsOnceByModelAndByLabel) {
  const auto base = Import(
      *store_, {.id = "a", .tokens = SomeTokens(1000, 1), .seed = 1, .labels = {{"team", "x"}}});
  ASSERT_OK(base.status());
  const auto branch = Import(*store_, {.id = "b",
                                       .prefix = base->context->chain,
                                       .tokens = SomeTokens(200, 2),
                                       .seed = 2,
                                       .labels = {{"team", "x"}, {"env", "test"}}});
  ASSERT_OK(branch.status());

  const StoreUsage usage = store_->usage();

  ASSERT_EQ(usage.models.size(), 1U);
  EXPECT_EQ(usage.models[0].model, "test");
  EXPECT_EQ(usage.models[0].contexts, 2U);
  EXPECT_EQ(usage.models[0].segments, 2U);
  EXPECT_EQ(usage.models[0].stored_tokens, 1200U);
  EXPECT_EQ(usage.models[0].stored_bytes, base->stored_bytes + branch->stored_bytes);
  ASSERT_EQ(usage.labels.size(), 2U);
  EXPECT_EQ(usage.labels_left_out, 0U);
  // By falling bytes, and by name where they are equal.
  EXPECT_EQ(usage.labels[0].key, "env");
  EXPECT_EQ(usage.labels[0].contexts, 1U);
  EXPECT_EQ(usage.labels[0].stored_bytes, base->stored_bytes + branch->stored_bytes);
  EXPECT_EQ(usage.labels[1].key, "team");
  EXPECT_EQ(usage.labels[1].contexts, 2U);
  EXPECT_EQ(usage.labels[1].stored_bytes, base->stored_bytes + branch->stored_bytes);
}

TEST_F(CatalogUsageTest, LabelsAreBounded) {
  Labels labels;
  for (size_t i = 0; i < kLabelUsagesMax + 20; ++i) labels["name-" + std::to_string(i)] = "v";
  ASSERT_OK(Import(*store_, {.tokens = SomeTokens(10, 1), .labels = labels}).status());

  const StoreUsage usage = store_->usage();

  EXPECT_EQ(usage.labels.size(), kLabelUsagesMax);
  EXPECT_EQ(usage.labels_left_out, 20U);
}

TEST_F(CatalogUsageTest, AModelWithoutContextsTakesNothing) {
  const StoreUsage usage = store_->usage();

  ASSERT_EQ(usage.models.size(), 1U);
  EXPECT_EQ(usage.models[0].stored_bytes, 0U);
}

}  // namespace
}  // namespace alaya
