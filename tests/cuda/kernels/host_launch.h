// Runs the kernels' programs on the host, block after block.

#ifndef ALAYA_TESTS_CUDA_KERNELS_HOST_LAUNCH_H_
#define ALAYA_TESTS_CUDA_KERNELS_HOST_LAUNCH_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "cuda/kernels/flat_encode.cuh"
#include "cuda/kernels/flat_head.h"
#include "cuda/kernels/sparse_sequence.cuh"
#include "cuda/kernels/team.cuh"
#include "tests/support/element_codec.h"

namespace alaya {

// 256-byte aligned memory that begins as NaN in every type of float.
class PoisonedMemory {
 public:
  explicit PoisonedMemory(size_t bytes) : blocks_(new Block[bytes / sizeof(Block) + 1]) {
    std::memset(blocks_.get(), 0xFF, bytes);
  }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(blocks_.get());
  }

 private:
  struct alignas(256) Block {
    std::byte bytes[256];
  };
  std::unique_ptr<Block[]> blocks_;
};

struct HostLaunch {
  template <class Program>
  int operator()(const Program& program, uint32_t grid_x, uint32_t grid_y,
                 uint32_t shared_bytes) const {
    EXPECT_LE(shared_bytes, 48U * 1024) << "more than a block gets without asking";
    for (uint32_t y = 0; y < grid_y; ++y) {
      for (uint32_t x = 0; x < grid_x; ++x) {
        PoisonedMemory shared(shared_bytes);
        program(x, y, shared.as<void>());
      }
    }
    return 0;
  }
};

// Runs loops backwards while it lives.
class BackwardLoops {
 public:
  BackwardLoops() { team_runs_backwards = true; }
  ~BackwardLoops() { team_runs_backwards = false; }
  BackwardLoops(const BackwardLoops&) = delete;
  BackwardLoops& operator=(const BackwardLoops&) = delete;
};

// Keys or values of one head, stored as `dtype`.
class HostRows {
 public:
  HostRows(DType dtype, size_t head_dim, std::span<const float> elements)
      : dtype_(dtype),
        stride_bytes_(head_dim * ElementBytes(dtype)),
        memory_(elements.size() * ElementBytes(dtype)),
        elements_(elements.begin(), elements.end()) {
    RoundTo(dtype, elements_);
    Encode(elements_, dtype, {memory_.as<std::byte>(), elements.size() * ElementBytes(dtype)});
  }

  DeviceRows view(size_t first_row = 0) {
    return {memory_.as<std::byte>() + first_row * stride_bytes_, stride_bytes_, dtype_};
  }
  // What the stored elements stand for.
  const std::vector<float>& elements() const { return elements_; }

 private:
  DType dtype_;
  size_t stride_bytes_;
  PoisonedMemory memory_;
  std::vector<float> elements_;
};

// The index of one head, made on the host.
class HostFlatHead {
 public:
  HostFlatHead(HostRows& keys, HostRows& values, uint32_t head_dim)
      : HostFlatHead(keys, values, head_dim,
                     static_cast<uint32_t>(keys.elements().size() / head_dim)) {}
  HostFlatHead(HostRows& keys, HostRows& values, uint32_t head_dim, uint32_t token_count)
      : memory_(FlatHeadBytes(head_dim, token_count)),
        view_(FlatHeadAt(memory_.as<void>(), head_dim, token_count)) {
    RunEncodeFlatHead({keys.view(), values.view(), view_}, HostLaunch());
  }

  const FlatHead& view() const { return view_; }
  // By the layout's definition.
  uint32_t code(uint32_t token, uint32_t element) const {
    const uint32_t run = element / 32;
    const uint32_t e = element % 32;
    const uint32_t high = word(token, 3 * run + e / 16) >> (8 * (e % 4) + 2 * (e % 16 / 4)) & 3;
    const uint32_t low = word(token, 3 * run + 2) >> (8 * (e % 4) + e / 4) & 1;
    return 2 * high + low;
  }
  double scale(uint32_t token) const { return DecodeBF16(view_.scales[token]); }
  double error(uint32_t token) const { return DecodeBF16(view_.errors[token]); }

 private:
  uint32_t word(uint32_t token, uint32_t i) const {
    return view_.codes[(size_t{token / 64} * CodeWords(view_.head_dim) + i) * 64 + token % 64];
  }

  PoisonedMemory memory_;
  FlatHead view_;
};

}  // namespace alaya

#endif  // ALAYA_TESTS_CUDA_KERNELS_HOST_LAUNCH_H_
