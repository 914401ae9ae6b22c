#include "server/engine/random_ids.h"

#include <fmt/format.h>

#include <memory>
#include <random>
#include <utility>

namespace alaya {
namespace {

std::function<uint64_t()> SystemEntropy() {
  const auto device = std::make_shared<std::random_device>();
  return [device] { return (uint64_t{(*device)()} << 32) | (*device)(); };
}

}  // namespace

RandomIds::RandomIds(std::function<uint64_t()> random_bits)
    : random_bits_(random_bits ? std::move(random_bits) : SystemEntropy()) {}

std::string RandomIds::Next() {
  const std::scoped_lock lock(mutex_);
  const uint64_t high = random_bits_();
  const uint64_t low = random_bits_();
  return fmt::format("{:016x}{:016x}", high, low);
}

}  // namespace alaya
