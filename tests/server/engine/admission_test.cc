#include "server/engine/admission.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <utility>

namespace alaya {
namespace {

TEST(AdmissionTest, AClosedDoorAnswersUnavailable) {
  Admission admission;
  EXPECT_TRUE(admission.Enter().ok());

  admission.Close();

  EXPECT_EQ(admission.Enter().status().code(), StatusCode::kUnavailable);
}

TEST(AdmissionTest, WaitingEndsWhenTheLastTicketIsGone) {
  Admission admission;
  auto ticket = *admission.Enter();
  std::atomic<bool> left{false};
  admission.Close();
  std::thread visitor([&, held = std::move(ticket)]() mutable {
    left = true;
    const Admission::Ticket gone = std::move(held);
  });

  admission.WaitUntilEmpty();

  EXPECT_TRUE(left);
  visitor.join();
}

TEST(AdmissionTest, AMovedTicketCountsOnce) {
  Admission admission;
  {
    auto first = *admission.Enter();
    const Admission::Ticket second = std::move(first);
  }

  admission.WaitUntilEmpty();
}

}  // namespace
}  // namespace alaya
