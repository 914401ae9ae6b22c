// A made-up sequence with known keys, values and queries, and what attention over it
// must be.

#ifndef ALAYA_TESTS_SERVER_ENGINE_TEST_SEQUENCE_H_
#define ALAYA_TESTS_SERVER_ENGINE_TEST_SEQUENCE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/engine/attend_types.h"
#include "server/engine/engine.h"
#include "storage/types/ids.h"
#include "storage/types/model.h"

namespace alaya {

// One attention item as the oracle sees it.
struct Expectation {
  LayerIndex layer{};
  uint64_t first_query = 0;          // position of the item's first query
  std::vector<TokenRange> visible;   // [T] per position
  uint64_t tail_begin = UINT64_MAX;  // tokens from here on are always attended
  AttendOptions options;
};

class TestSequence {
 public:
  // Numbers from a normal distribution, rounded to the model's dtype; the same for the
  // same arguments. Queries have `query_dtype`.
  TestSequence(Model model, uint64_t token_count, uint64_t seed, DType query_dtype = DType::kF32);

  const Model& model() const { return model_; }
  uint64_t token_count() const { return tokens_.size(); }
  // The first `count` token ids.
  std::vector<TokenId> tokens(uint64_t count) const;

  TensorView key(LayerIndex layer, TokenRange range) const;
  TensorView value(LayerIndex layer, TokenRange range) const;
  TensorView query(LayerIndex layer, TokenRange range) const;

  ImportChunk Chunk(LayerIndex layer, TokenRange range) const;

  // Checks output and log_sum_exp of every position and head against the definition,
  // in double.
  void ExpectAttention(const AttendResult& result, const Expectation& expected) const;

 private:
  struct Tensor {
    std::vector<std::byte> bytes;  // one byte off any alignment at the front
    std::vector<float> values;     // what the bytes mean
  };
  Tensor MakeTensor(size_t heads, DType dtype, uint64_t seed) const;
  static TensorView View(const Tensor& tensor, TokenRange range, size_t heads, size_t dim,
                         DType dtype);

  Model model_;
  DType query_dtype_;
  std::vector<TokenId> tokens_;
  // [num_layers]
  std::vector<Tensor> keys_;
  std::vector<Tensor> values_;
  std::vector<Tensor> queries_;
};

// [T] each position sees everything up to itself: positions first .. first + T - 1.
std::vector<TokenRange> CausalVisible(uint64_t first, size_t count);
// [T] all see the same.
std::vector<TokenRange> EqualVisible(TokenRange range, size_t count);

}  // namespace alaya

#endif  // ALAYA_TESTS_SERVER_ENGINE_TEST_SEQUENCE_H_
