// A token sequence with its keys and values in every layer: what an inference engine
// would hold, and the items it would send.
//
// Everything is a function of (seed, layer, position), so two sequences of one seed
// share their prefix, and Branch makes one that leaves another at a given token.

#ifndef ALAYA_TESTS_INTEGRATION_KV_SEQUENCE_H_
#define ALAYA_TESTS_INTEGRATION_KV_SEQUENCE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "alaya/v1/model.pb.h"
#include "alaya/v1/session_service.pb.h"
#include "client/tensor.h"

namespace alaya {

namespace pb = ::alaya::v1;

// num_layers, then the shape of a layer.
struct ModelShape {
  uint32_t layers = 2;
  uint32_t query_heads = 32;
  uint32_t kv_heads = 8;
  uint32_t head_dim = 128;
  DType dtype = DType::kBF16;
};

pb::Model MakeModel(const std::string& name, ModelShape shape = {});

class KvSequence {
 public:
  KvSequence(const pb::Model& model, size_t token_count, uint64_t seed);

  // Equal to this one before `shared_tokens`, different from there on.
  KvSequence Branch(size_t shared_tokens, size_t token_count, uint64_t seed) const;

  // Makes the token at a position one that no other sequence has there: random tokens of
  // thousands of sequences agree now and then, and the server shares the prefix then,
  // though the keys and values of such sequences differ.
  void SetToken(size_t position, uint32_t token) { tokens_.at(position) = token; }

  const pb::Model& model() const { return model_; }
  const std::vector<uint32_t>& tokens() const { return tokens_; }
  size_t token_count() const { return tokens_.size(); }
  // The first `count` tokens.
  std::vector<uint32_t> Prefix(size_t count) const;

  // [count, Hkv, D] in the model's dtype, from position `begin`.
  client::TensorView Keys(uint32_t layer, size_t begin, size_t count) const;
  client::TensorView Values(uint32_t layer, size_t begin, size_t count) const;

  // An item with `count` queries of the positions from `begin`; it appends nothing.
  // The queries come in the model's dtype.
  pb::AttendItem Ask(const std::string& session_id, uint32_t layer, size_t begin,
                     size_t count = 1) const;
  // The same, and it appends the keys and values of those positions.
  pb::AttendItem AskAndAppend(const std::string& session_id, uint32_t layer, size_t begin,
                              size_t count = 1) const;

 private:
  struct Layer {
    std::string keys;  // [T, Hkv, D], encoded
    std::string values;
  };

  // Appends tokens from the current end up to `token_count`.
  void Extend(size_t token_count, uint64_t seed);
  client::TensorView View(const std::string& rows, size_t begin, size_t count) const;

  pb::Model model_;
  DType dtype_;
  std::vector<uint32_t> tokens_;
  std::vector<Layer> layers_;
};

// Copies the fields of the request that name a sequence's tokens.
template <typename Request>
void SetTokens(const std::vector<uint32_t>& tokens, Request& request) {
  request.mutable_tokens()->Assign(tokens.begin(), tokens.end());
}

}  // namespace alaya

#endif  // ALAYA_TESTS_INTEGRATION_KV_SEQUENCE_H_
