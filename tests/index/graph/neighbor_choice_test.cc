#include "index/graph/neighbor_choice.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/index/graph/graph_fixture.h"

namespace alaya {
namespace {

constexpr size_t kHeadDim = 8;

// Points of a plane; the other elements are 0.
BuildKeys KeysAt(const std::vector<std::pair<float, float>>& points) {
  std::vector<float> values(points.size() * kHeadDim);
  for (size_t i = 0; i < points.size(); ++i) {
    values[i * kHeadDim] = points[i].first;
    values[i * kHeadDim + 1] = points[i].second;
  }
  return *BuildKeys::Read(ReaderOf(values, kHeadDim, DType::kF32));
}

TEST(NeighborChoiceTest, LeavesOutWhatLiesBehindAChosenOne) {
  // 2 lies behind 1, seen from 0; 3 on the other side.
  const BuildKeys keys = KeysAt({{0, 0}, {2, 0}, {2.5, 0}, {-3, 0}});
  const std::vector<uint32_t> candidates = {1, 2, 3};

  EXPECT_EQ(ChooseNeighbors(keys, 0, candidates, 3, /*fill=*/false), (std::vector<uint32_t>{1, 3}));
  EXPECT_EQ(ChooseNeighbors(keys, 0, candidates, 3, /*fill=*/true),
            (std::vector<uint32_t>{1, 3, 2}));
}

TEST(NeighborChoiceTest, KeepsCandidatesThatAreEquallyFarFromEachOther) {
  const BuildKeys keys = KeysAt({{0, 0}, {1, 0}, {0.5, 0.866F}});

  EXPECT_EQ(ChooseNeighbors(keys, 0, std::vector<uint32_t>{1, 2}, 2, /*fill=*/false),
            (std::vector<uint32_t>{1, 2}));
}

TEST(NeighborChoiceTest, TakesNoMoreThanAsked) {
  const BuildKeys keys = KeysAt({{0, 0}, {1, 0}, {-1, 0}, {0, 1}});

  EXPECT_EQ(ChooseNeighbors(keys, 0, std::vector<uint32_t>{1, 2, 3}, 2, /*fill=*/true),
            (std::vector<uint32_t>{1, 2}));
}

TEST(NeighborChoiceTest, EqualKeysOccludeEachOther) {
  const BuildKeys keys = KeysAt({{0, 0}, {1, 0}, {1, 0}, {1, 0}});

  EXPECT_EQ(ChooseNeighbors(keys, 0, std::vector<uint32_t>{1, 2, 3}, 3, /*fill=*/false),
            (std::vector<uint32_t>{1}));
}

}  // namespace
}  // namespace alaya
