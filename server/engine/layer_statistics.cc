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

// A forecast in the middle of two times is within a factor of 2 of both if they differ by 4.
constexpr double kNearFactor = 4;

// Nothing but the octave differs.
bool IsSameLayer(const LayerTarget& a, LayerTarget b) {
  b.octave = a.octave;
  return a == b;
}

}  // namespace

void LayerStatistics::Factor::Observe(double observed) {
  ++count_;
  const double weight = std::max(kNewestWeight, 1 / static_cast<double>(count_));
  const double step = weight * (std::log(observed) - mean_);
  mean_ += std::clamp(step, -std::log(kStepMax), std::log(kStepMax));
  newest_ = (newest_ + 1) % kRecentCount;
  recent_[newest_] = std::log(observed);
  recent_count_ = std::min(recent_count_ + 1, kRecentCount);
  next_ = Forecast();
}

double LayerStatistics::Factor::Forecast() const {
  // The middle of those recent ones within one range that are the most; of ranges with as many, the
  // one with the newest.
  size_t most = 0;
  double next = 0;
  size_t next_age = 0;
  for (size_t i = 0; i < recent_count_; ++i) {
    const double lowest = recent_[i];
    double highest = lowest;
    size_t count = 0;
    size_t age = kRecentCount;  // of the newest of them
    for (size_t j = 0; j < recent_count_; ++j) {
      if (recent_[j] < lowest || recent_[j] > lowest + std::log(kNearFactor)) continue;
      ++count;
      highest = std::max(highest, recent_[j]);
      age = std::min(age, (newest_ + kRecentCount - j) % kRecentCount);
    }
    if (count < most || (count == most && age >= next_age)) continue;
    most = count;
    next = (lowest + highest) / 2;
    next_age = age;
  }
  return next;
}

LayerStatistics::CostFactor LayerStatistics::Factor::Expect() const {
  return {.mean = std::exp(mean_), .next = std::exp(next_)};
}

void LayerStatistics::Factor::Restart() {
  count_ = std::min<uint64_t>(count_, 1);
  recent_[0] = next_;
  recent_count_ = 1;
  newest_ = 0;
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
  for (auto* factors : {&observed.cost_factors, &observed.disk_cost_factors}) {
    for (Factor& factor : *factors) factor.Restart();
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
    expected.cost_factors[kind] = found->second.cost_factors[kind].Expect();
    expected.disk_cost_factors[kind] = found->second.disk_cost_factors[kind].Expect();
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
