#include "server/engine/layer_statistics.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace alaya {
namespace {

// Weight of the newest observation among many: a few decode steps settle it.
constexpr double kNewestWeight = 0.25;

// One slow query (a page fault, a busy machine) must not move a plan far.
constexpr double kFactorMax = 8;
constexpr double kStepMax = 1.8;

// Nothing but the octave differs.
bool IsSameLayer(const LayerTarget& a, LayerTarget b) {
  b.octave = a.octave;
  return a == b;
}

}  // namespace

void LayerStatistics::Factor::Observe(double observed) {
  ++count;
  const double weight = std::max(kNewestWeight, 1 / static_cast<double>(count));
  // A mean of ratios is one of their logarithms.
  const double step = weight * (std::log(observed) - log);
  log += std::clamp(step, -std::log(kStepMax), std::log(kStepMax));
}

LayerStatistics::Layers::const_iterator LayerStatistics::FindNearest(const LayerTarget& key) const {
  // Octaves come last in the order of keys.
  const auto above = layers_.lower_bound(key);
  const bool has_above = above != layers_.end() && IsSameLayer(key, above->first);
  if (above == layers_.begin()) return has_above ? above : layers_.end();
  const auto below = std::prev(above);
  if (!IsSameLayer(key, below->first)) return has_above ? above : layers_.end();
  if (!has_above) return below;
  return above->first.octave - key.octave <= key.octave - below->first.octave ? above : below;
}

LayerStatistics::Observed& LayerStatistics::At(const LayerTarget& key) {
  const auto nearest = FindNearest(key);
  if (nearest == layers_.end()) return layers_[key];
  if (nearest->first == key) return layers_.find(key)->second;
  Observed observed = nearest->second;
  observed.cost_count = 0;
  // What is true of another length yields soon.
  for (auto* factors : {&observed.cost_factors, &observed.disk_cost_factors}) {
    for (Factor& factor : *factors) factor.count = std::min<uint64_t>(factor.count, 1);
  }
  return layers_.emplace(key, observed).first->second;
}

LayerStatistics::Expectation LayerStatistics::Expect(const LayerTarget& key) const {
  const std::scoped_lock lock(mutex_);
  Expectation expected;
  const auto found = FindNearest(key);
  if (found == layers_.end()) return expected;
  expected.attended_share = found->second.attended_share;
  for (size_t kind = 0; kind < expected.cost_factors.size(); ++kind) {
    expected.cost_factors[kind] = std::exp(found->second.cost_factors[kind].log);
    expected.disk_cost_factors[kind] = std::exp(found->second.disk_cost_factors[kind].log);
  }
  if (found->first == key) expected.cost_count = found->second.cost_count;
  return expected;
}

void LayerStatistics::ObserveShare(const LayerTarget& key, double attended_share) {
  const double share = std::clamp(attended_share, 0.0, 1.0);
  const std::scoped_lock lock(mutex_);
  double& expected = At(key).attended_share;
  expected = expected < 0 ? share : std::lerp(expected, share, kNewestWeight);
}

void LayerStatistics::ObserveCost(const LayerTarget& key, IndexKind kind, double predicted,
                                  double actual, bool from_disk) {
  if (!(predicted > 0 && actual > 0)) return;
  const double observed = std::clamp(actual / predicted, 1 / kFactorMax, kFactorMax);
  const std::scoped_lock lock(mutex_);
  Observed& layer = At(key);
  if (!from_disk) ++layer.cost_count;
  (from_disk ? layer.disk_cost_factors : layer.cost_factors)[static_cast<size_t>(kind)].Observe(
      observed);
}

}  // namespace alaya
