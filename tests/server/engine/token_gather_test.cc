#include "server/engine/token_gather.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "server/engine/tail.h"

namespace alaya {
namespace {

TEST(GatherHeadTest, PutsEveryRowAtItsTokenAndHead) {
  const Model model{"m", 1, 2, 2, 8, DType::kF32};
  const uint64_t token_count = kTailBlockTokens + 50;
  TailBudget budget(1 << 20);
  Tail tail(model, &budget);
  std::vector<float> keys(token_count * 2 * 8);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<float>(i);
  const std::vector<float> values(keys.size());
  ASSERT_TRUE(
      tail.Append(LayerIndex{0}, std::as_bytes(std::span(keys)), std::as_bytes(std::span(values)))
          .ok());

  for (const TokenRange range : {TokenRange{0, token_count}, TokenRange{100, 140},
                                 TokenRange{kTailBlockTokens, kTailBlockTokens + 1}}) {
    std::vector<float> gathered(range.size() * 2 * 8);
    for (uint32_t head = 0; head < 2; ++head) {
      const TailReader reader(tail, LayerIndex{0}, KvHeadIndex{head}, 8);
      ASSERT_TRUE(GatherHead(reader, KvKind::kKey, range, head, 2,
                             std::as_writable_bytes(std::span(gathered)))
                      .ok());
    }

    EXPECT_EQ(
        std::memcmp(gathered.data(), &keys[range.begin * 2 * 8], gathered.size() * sizeof(float)),
        0);
  }
}

}  // namespace
}  // namespace alaya
