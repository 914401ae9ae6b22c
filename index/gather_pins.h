// Pins of blocks whose rows are gathered: what lies in several blocks is asked for, then used.

#ifndef ALAYA_INDEX_GATHER_PINS_H_
#define ALAYA_INDEX_GATHER_PINS_H_

#include <array>
#include <cstddef>
#include <utility>

#include "index/kv_reader.h"

namespace alaya {

class GatherPins {
 public:
  // So many blocks at a time; more where all are in memory, and a block has a row or two.
  static constexpr size_t kMax = 9;
  static constexpr size_t kMaxInMemory = 33;

  explicit GatherPins(bool is_in_memory) : max_(is_in_memory ? kMaxInMemory : kMax) {}

  // Requires: !is_full().
  void Add(BlockPin pin) { pins_[count_++] = std::move(pin); }
  bool is_full() const { return count_ == max_; }
  void Clear() {
    for (; count_ > 0; --count_) pins_[count_ - 1] = {};
  }

 private:
  const size_t max_;
  std::array<BlockPin, kMaxInMemory> pins_;
  size_t count_ = 0;
};

}  // namespace alaya

#endif  // ALAYA_INDEX_GATHER_PINS_H_
