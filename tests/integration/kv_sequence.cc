#include "tests/integration/kv_sequence.h"

#include <algorithm>
#include <span>
#include <utility>

#include "storage/types/check.h"
#include "tests/support/random_numbers.h"

namespace alaya {
namespace {

// Deviation of the logits with the default scale: enough for peaked heads, so that a
// DIPR set is a small part of the sequence.
constexpr float kLogitDeviation = 3.0F;

// What a number of a sequence is for; the streams must not overlap.
enum StreamName : uint64_t { kTokenStream = 1, kKeyStream, kValueStream, kQueryStream };

// `count` vectors of `width` elements, one for each position from `begin`.
std::string EncodedRows(const RandomStream& stream, size_t begin, size_t count, size_t width,
                        float deviation, DType dtype) {
  std::vector<float> row(count * width);
  for (size_t i = 0; i < row.size(); ++i) {
    row[i] = deviation * stream.Normal(begin * width + i);
  }
  return client::EncodeElements(row, dtype);
}

pb::Tensor ToTensor(const client::TensorView& view) {
  auto tensor = client::MakeTensor(view);
  ALAYA_CHECK(tensor.ok());
  return *std::move(tensor);
}

}  // namespace

pb::Model MakeModel(const std::string& name, ModelShape shape) {
  pb::Model model;
  model.set_name(name);
  model.set_num_layers(shape.layers);
  model.set_num_query_heads(shape.query_heads);
  model.set_num_kv_heads(shape.kv_heads);
  model.set_head_dim(shape.head_dim);
  model.set_dtype(client::ToProto(shape.dtype));
  return model;
}

KvSequence::KvSequence(const pb::Model& model, size_t token_count, uint64_t seed)
    : model_(model), dtype_(*client::FromProto(model.dtype())), layers_(model.num_layers()) {
  Extend(token_count, seed);
}

KvSequence KvSequence::Branch(size_t shared_tokens, size_t token_count, uint64_t seed) const {
  ALAYA_CHECK(shared_tokens <= this->token_count() && shared_tokens <= token_count);
  KvSequence branch = *this;
  branch.tokens_.resize(shared_tokens);
  const size_t bytes = View({}, 0, 0).token_bytes() * shared_tokens;
  for (Layer& layer : branch.layers_) {
    layer.keys.resize(bytes);
    layer.values.resize(bytes);
  }
  branch.Extend(token_count, seed);
  // Random tokens of two seeds may agree where the branch begins.
  if (shared_tokens < std::min(this->token_count(), token_count) &&
      branch.tokens_[shared_tokens] == tokens_[shared_tokens]) {
    branch.tokens_[shared_tokens] ^= 1;
  }
  return branch;
}

std::vector<uint32_t> KvSequence::Prefix(size_t count) const {
  ALAYA_CHECK(count <= token_count());
  return {tokens_.begin(), tokens_.begin() + static_cast<ptrdiff_t>(count)};
}

void KvSequence::Extend(size_t token_count, uint64_t seed) {
  const RandomStream root(seed);
  const size_t begin = tokens_.size();
  const size_t width = size_t{model_.num_kv_heads()} * model_.head_dim();
  constexpr uint64_t kVocabulary = 128'000;
  const RandomStream token_stream = root.Split(kTokenStream);
  for (size_t t = begin; t < token_count; ++t) {
    tokens_.push_back(static_cast<uint32_t>(token_stream.Below(t, kVocabulary)));
  }
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    const auto rows = [&](StreamName name) {
      return EncodedRows(root.Split(name).Split(layer), begin, token_count - begin, width, 1.0F,
                         dtype_);
    };
    layers_[layer].keys += rows(kKeyStream);
    layers_[layer].values += rows(kValueStream);
  }
}

client::TensorView KvSequence::View(const std::string& rows, size_t begin, size_t count) const {
  client::TensorView view{dtype_, count, model_.num_kv_heads(), model_.head_dim(), {}};
  view.data = client::AsBytes(rows).subspan(begin * view.token_bytes(), count * view.token_bytes());
  return view;
}

client::TensorView KvSequence::Keys(uint32_t layer, size_t begin, size_t count) const {
  return View(layers_[layer].keys, begin, count);
}

client::TensorView KvSequence::Values(uint32_t layer, size_t begin, size_t count) const {
  return View(layers_[layer].values, begin, count);
}

pb::AttendItem KvSequence::Ask(const std::string& session_id, uint32_t layer, size_t begin,
                               size_t count) const {
  pb::AttendItem item;
  item.set_session_id(session_id);
  item.set_layer(layer);
  const size_t width = size_t{model_.num_query_heads()} * model_.head_dim();
  const RandomStream stream = RandomStream(kQueryStream).Split(layer);
  const std::string rows = EncodedRows(stream, begin, count, width, kLogitDeviation, dtype_);
  *item.mutable_query() =
      ToTensor({dtype_, count, model_.num_query_heads(), model_.head_dim(), client::AsBytes(rows)});
  return item;
}

pb::AttendItem KvSequence::AskAndAppend(const std::string& session_id, uint32_t layer, size_t begin,
                                        size_t count) const {
  pb::AttendItem item = Ask(session_id, layer, begin, count);
  *item.mutable_key() = ToTensor(Keys(layer, begin, count));
  *item.mutable_value() = ToTensor(Values(layer, begin, count));
  return item;
}

}  // namespace alaya
