#include "client/cli/heatmap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <png.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/client/test_files.h"

namespace alaya::client {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;

void AddHit(pb::SearchContextResponse::Head& head, uint64_t token, double score) {
  head.add_tokens(token);
  head.add_scores(static_cast<float>(score));
}

// Two heads over 100 tokens: one has four fifths on token 95 and one on token 5,
// the other all on token 50.
pb::SearchContextResponse TwoHeads() {
  pb::SearchContextResponse response;
  pb::SearchContextResponse::Head& first = *response.add_heads();
  AddHit(first, 95, 2 * std::log(4.0));
  AddHit(first, 5, 0);
  AddHit(*response.add_heads(), 50, -7);
  return response;
}

TEST(HeatmapTest, SharesAreTheSoftmaxOfScaledScores) {
  const Heatmap heatmap = MakeHeatmap(TwoHeads(), 2, 0.5, 100, 4);

  ASSERT_EQ(heatmap.rows.size(), 2U);
  EXPECT_THAT(heatmap.rows[0].shares,
              ElementsAre(DoubleNear(0.2, 1e-6), 0, 0, DoubleNear(0.8, 1e-6)));
  EXPECT_THAT(heatmap.rows[1].shares, ElementsAre(0, 0, 1, 0));
}

TEST(HeatmapTest, RowsAreNumberedByQueryAndHead) {
  pb::SearchContextResponse response = TwoHeads();
  *response.add_heads() = response.heads(0);

  const Heatmap heatmap = MakeHeatmap(response, 2, 0.5, 100, 4);

  EXPECT_EQ(heatmap.rows[1].query, 0U);
  EXPECT_EQ(heatmap.rows[1].head, 1U);
  EXPECT_EQ(heatmap.rows[2].query, 1U);
  EXPECT_EQ(heatmap.rows[2].head, 0U);
}

TEST(HeatmapTest, AShortContextHasOneColumnAToken) {
  EXPECT_EQ(MakeHeatmap(TwoHeads(), 2, 0.5, 96, 1000).columns, 96U);
}

TEST(HeatmapTest, AHeadThatFoundNothingIsEmpty) {
  pb::SearchContextResponse response;
  response.add_heads();

  EXPECT_THAT(MakeHeatmap(response, 1, 1, 10, 2).rows[0].shares, ElementsAre(0, 0));
}

TEST(HeatmapTest, TextIsDarkerWhereThereIsMoreAttention) {
  const std::string text = HeatmapText(MakeHeatmap(TwoHeads(), 2, 0.5, 100, 10));

  EXPECT_THAT(text, HasSubstr("query   0 head   0 |▓        █|\n"));
  EXPECT_THAT(text, HasSubstr("query   0 head   1 |     █    |\n"));
  EXPECT_THAT(text, HasSubstr("a column: 10 tokens"));
}

TEST(HeatmapTest, ThePictureHasEveryHeadAndColumn) {
  const TemporaryDirectory directory;
  const std::string path = directory.Path("heatmap.png");

  ASSERT_TRUE(WriteHeatmapPng(MakeHeatmap(TwoHeads(), 2, 0.5, 100, 4), path).ok());

  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  ASSERT_NE(png_image_begin_read_from_file(&image, path.c_str()), 0);
  image.format = PNG_FORMAT_GRAY;
  std::vector<uint8_t> grey(PNG_IMAGE_SIZE(image));
  ASSERT_NE(png_image_finish_read(&image, nullptr, grey.data(), 0, nullptr), 0);
  EXPECT_EQ(image.width % 4, 0U);
  EXPECT_EQ(image.height % 2, 0U);
  const auto at = [&](size_t row, size_t column) {
    const size_t x = (2 * column + 1) * image.width / 8;
    return grey[(2 * row + 1) * image.height / 4 * image.width + x];
  };
  EXPECT_GT(at(0, 3), at(0, 0));
  EXPECT_GT(at(0, 0), at(0, 1));
  EXPECT_GT(at(1, 2), at(0, 3));
  EXPECT_EQ(at(1, 0), 0);
}

TEST(HeatmapTest, APictureThatCannotBeWrittenIsAnError) {
  const Status status =
      WriteHeatmapPng(MakeHeatmap(TwoHeads(), 2, 0.5, 100, 4), "/nowhere/heatmap.png");

  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(status)), HasSubstr("/nowhere/heatmap.png"));
}

}  // namespace
}  // namespace alaya::client
