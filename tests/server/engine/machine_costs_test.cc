#include "server/engine/machine_costs.h"

#include <gtest/gtest.h>

#include "index/attention/cpu_backend.h"

namespace alaya {
namespace {

class BrokenBackend : public AttentionBackend {
 public:
  std::string name() const override { return "broken"; }
  std::string description() const override { return "broken"; }
  StatusOr<AttentionReport> Attend(const AttentionTask&, AttentionPart) override {
    return Internal("broken");
  }
};

TEST(MachineCostsTest, MeasuredCostsAreUsable) {
  CpuBackend backend;

  const auto costs = MeasureMachineCosts(&backend);

  ASSERT_TRUE(costs.ok()) << Message(costs.status());
  EXPECT_GT(costs->call_ns, 0);
  EXPECT_GE(costs->read_ns_per_byte, 0);
  EXPECT_GE(costs->ns_per_multiply_add, 0);
  EXPECT_GT(costs->read_ns_per_byte + costs->ns_per_multiply_add, 0);
  EXPECT_GT(costs->gather_ns, 0);
  EXPECT_GT(costs->search_ns, 0);
  // What overlaps with reading may come out as nothing.
  EXPECT_GE(costs->code_ns, 0);
  EXPECT_GE(costs->sound_code_ns, 0);
  EXPECT_GE(costs->rest_code_ns, 0);
  // A picked row costs more than a code, and no more than an access to memory.
  EXPECT_LT(costs->code_ns, costs->gather_ns);
  EXPECT_LT(costs->gather_ns, 5000);
}

TEST(MachineCostsTest, AFailingBackendIsReported) {
  BrokenBackend backend;

  EXPECT_EQ(MeasureMachineCosts(&backend).status().code(), StatusCode::kInternal);
}

}  // namespace
}  // namespace alaya
