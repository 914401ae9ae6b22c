#include "server/access/reload_thread.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>

namespace alaya {
namespace {

using std::chrono::milliseconds;

TEST(ReloadThreadTest, LooksByItself) {
  std::promise<bool> looked;
  bool first = true;
  ReloadThread thread(milliseconds(1), [&](bool asked) {
    if (std::exchange(first, false)) looked.set_value(asked);
  });

  EXPECT_FALSE(looked.get_future().get());
}

TEST(ReloadThreadTest, LooksWhenAsked) {
  std::promise<bool> looked;
  ReloadThread thread(std::chrono::hours(1), [&](bool asked) { looked.set_value(asked); });

  thread.Ask();

  EXPECT_TRUE(looked.get_future().get());
}

}  // namespace
}  // namespace alaya
