// What earlier queries of a layer were like, for the planner.
//
// Layers differ by orders of magnitude in how many tokens matter (the first ones are
// diffuse), and neighbouring decode steps are alike: so what was observed predicts
// what comes. Kept per model, layer, kind of target and length, in octaves; in memory only.
// A length that was not met yet is taken to be like the nearest one that was.
//
// What steps cost may have two modes: one whose query finds a needle looks into little else and
// takes a half to a fifth of the time of the others. So two numbers are kept: a mean, by which
// plans are chosen, and a forecast for the next step alone, which as many steps as possible come
// near to.

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
  // 1 if unknown.
  struct CostFactor {
    double mean = 1;
    double next = 1;  // within a factor of 2 of as many recent ones as possible
  };
  struct Expectation {
    // Share of the searched tokens that a query attends to; 0 to 1. Negative: unknown.
    double attended_share = -1;
    // Actual over predicted time by index kind, of what was in memory and of what was not.
    std::array<CostFactor, 5> cost_factors;
    std::array<CostFactor, 5> disk_cost_factors;
    // Costs in memory that were observed of just this key, whatever the kind.
    uint64_t cost_count = 0;

    CostFactor cost_factor(IndexKind kind, bool from_disk = false) const {
      return (from_disk ? disk_cost_factors : cost_factors)[static_cast<size_t>(kind)];
    }
  };
  Expectation Expect(const LayerTarget& key) const;

  void ObserveShare(const LayerTarget& key, double attended_share);
  // `predicted` without the factor.
  void ObserveCost(const LayerTarget& key, IndexKind kind, double predicted, double actual,
                   bool from_disk = false);

 private:
  class Factor {
   public:
    void Observe(double observed);
    CostFactor Expect() const;
    // Starts anew from what it expects, which yields soon.
    void Restart();

   private:
    static constexpr size_t kRecentCount = 12;

    // Near to as many of the recent ones as possible.
    double Forecast() const;

    // Natural logarithms: a mean of ratios is one of these.
    double mean_ = 0;  // newest observations weigh most
    double next_ = 0;  // the forecast
    uint64_t count_ = 0;
    // The last ones, in turn. The first of all is the machine's costs' own, or another length's.
    std::array<double, kRecentCount> recent_ = {};
    size_t recent_count_ = 1;
    size_t newest_ = 0;
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
