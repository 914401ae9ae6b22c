// What a device offers for the stored segments of one item, and what of it is accepted.

#ifndef ALAYA_SERVER_ENGINE_DEVICE_OFFERS_H_
#define ALAYA_SERVER_ENGINE_DEVICE_OFFERS_H_

#include <memory>
#include <vector>

#include "index/attention/attention_device.h"
#include "server/engine/attend_types.h"
#include "server/engine/planner.h"
#include "server/engine/sequence_view.h"
#include "storage/context/context_store.h"
#include "storage/types/model.h"
#include "storage/types/status.h"

namespace alaya {

// The queries of an item, as a device sees them.
struct DeviceItem {
  const Model* model = nullptr;
  TensorView query;                 // checked
  std::vector<TokenRange> visible;  // [T], as in FanOutTask
  std::optional<Target> target;     // none: the planner's choice
  bool estimate_rest = true;        // if an index can
  bool explain = false;
  Window window;
  float scale = 1;
};

// Not thread-safe; for one item.
class DeviceOffers {
 public:
  // `device` may be null: no offers. All must outlive this.
  DeviceOffers(AttentionDevice* device, ContextStore* store, const SequenceView* sequence)
      : device_(device), store_(store), sequence_(*sequence) {}

  // Asks for every segment, and tells the planner about the offers.
  void Ask(const DeviceItem& item, PlanRequest* request);
  // Accepts what the plan chose; the device begins at once.
  Status Accept(const DeviceItem& item, const AttendPlan& plan);
  // [segment_count] null: the CPU's. Empty without any.
  const std::vector<std::unique_ptr<DeviceAttention>>& accepted() const { return accepted_; }

 private:
  AttentionDevice* const device_;
  ContextStore* const store_;
  const SequenceView& sequence_;
  std::vector<std::unique_ptr<DeviceOffer>> offers_;  // [segment_count] or empty
  std::vector<std::unique_ptr<DeviceAttention>> accepted_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_DEVICE_OFFERS_H_
