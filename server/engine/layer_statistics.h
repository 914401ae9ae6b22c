// What earlier queries of a layer were like, for the planner.
//
// Layers differ by orders of magnitude in how many tokens matter (the first ones are
// diffuse), and neighbouring decode steps are alike: so what was observed predicts
// what comes. Kept per model, layer, kind of target and length, in octaves; in memory only.
// A length that was not met yet is taken to be like the nearest one that was.

#ifndef ALAYA_SERVER_ENGINE_LAYER_STATISTICS_H_
#define ALAYA_SERVER_ENGINE_LAYER_STATISTICS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <tuple>

#include "index/target.h"
#include "index/token_index.h"
#include "storage/types/ids.h"

namespace alaya {

// Whose statistics.
struct LayerTarget {
  std::string model;
  LayerIndex layer{};
  size_t target = 0;  // alternative of Target
  bool estimate_rest = false;
  int octave = 0;  // of the tokens that are searched: their count's binary logarithm

  friend auto operator<=>(const LayerTarget&, const LayerTarget&) = default;
};

// Threads: any.
class LayerStatistics {
 public:
  struct Expectation {
    // Share of the searched tokens that a query attends to; 0 to 1. Negative: unknown.
    double attended_share = -1;
    // Actual over predicted time by index kind, of what was in memory and of what was not; 1 if
    // unknown.
    std::array<double, 5> cost_factors = {1, 1, 1, 1, 1};
    std::array<double, 5> disk_cost_factors = {1, 1, 1, 1, 1};
    // Costs in memory that were observed of just this key, whatever the kind.
    uint64_t cost_count = 0;

    double cost_factor(IndexKind kind, bool from_disk = false) const {
      return (from_disk ? disk_cost_factors : cost_factors)[static_cast<size_t>(kind)];
    }
  };
  Expectation Expect(const LayerTarget& key) const;

  void ObserveShare(const LayerTarget& key, double attended_share);
  // `predicted` without the factor.
  void ObserveCost(const LayerTarget& key, IndexKind kind, double predicted, double actual,
                   bool from_disk = false);

 private:
  // A mean whose newest observations weigh most.
  struct Factor {
    double log = 0;
    uint64_t count = 0;

    void Observe(double observed);
  };
  struct Observed {
    double attended_share = -1;
    std::array<Factor, 5> cost_factors;
    std::array<Factor, 5> disk_cost_factors;
    uint64_t cost_count = 0;
  };
  using Layers = std::map<LayerTarget, Observed>;

  // Those of the key, or of the nearest octave.
  Layers::const_iterator FindNearest(const LayerTarget& key) const;
  // Those of the key; new ones start from the nearest octave's.
  Observed& At(const LayerTarget& key);

  mutable std::mutex mutex_;
  Layers layers_;  // guarded by mutex_
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_LAYER_STATISTICS_H_
