#include "client/files/context_file.h"

#include <cstring>
#include <limits>
#include <utility>

namespace alaya::client {
namespace {

constexpr uint64_t kDimensionMax = std::numeric_limits<uint32_t>::max();
// Far beyond any model; bounds the memory that a hostile file can ask for.
constexpr uint64_t kTokensMax = uint64_t{1} << 27;

std::optional<DType> DTypeOf(ElementType type) {
  switch (type) {
    case ElementType::kF32:
      return DType::kF32;
    case ElementType::kF16:
      return DType::kF16;
    case ElementType::kBF16:
    case ElementType::kU16:
      return DType::kBF16;
    default:
      return std::nullopt;
  }
}

std::string Text(const ArrayInfo& info) {
  return "array '" + info.name + "' (" + std::string(Name(info.type)) + " " +
         ShapeText(info.shape) + ")";
}

template <typename Integer>
std::optional<uint32_t> TokenAt(std::span<const std::byte> bytes, size_t i) {
  Integer value = 0;
  std::memcpy(&value, &bytes[i * sizeof(Integer)], sizeof(Integer));
  if (!std::in_range<uint32_t>(value)) return std::nullopt;
  return static_cast<uint32_t>(value);
}

// The i-th of an array of integers; none if it is no token id.
std::optional<uint32_t> TokenAt(ElementType type, std::span<const std::byte> bytes, size_t i) {
  switch (type) {
    case ElementType::kI8:
      return TokenAt<int8_t>(bytes, i);
    case ElementType::kU8:
      return TokenAt<uint8_t>(bytes, i);
    case ElementType::kI16:
      return TokenAt<int16_t>(bytes, i);
    case ElementType::kU16:
      return TokenAt<uint16_t>(bytes, i);
    case ElementType::kI32:
      return TokenAt<int32_t>(bytes, i);
    case ElementType::kU32:
      return TokenAt<uint32_t>(bytes, i);
    case ElementType::kI64:
      return TokenAt<int64_t>(bytes, i);
    case ElementType::kU64:
      return TokenAt<uint64_t>(bytes, i);
    default:
      return std::nullopt;
  }
}

}  // namespace

StatusOr<ContextFile> ContextFile::Open(const std::string& path) {
  ALAYA_ASSIGN_OR_RETURN(std::unique_ptr<ArrayFile> file, ArrayFile::Open(path));
  ContextFile result(std::move(file));
  result.dotted_names_ = path.ends_with(".safetensors");
  Status status = result.ReadTokens();
  if (status.ok()) status = result.CheckLayers();
  if (!status.ok()) return Annotate(status, path);
  return result;
}

StatusOr<LayerArrays> ContextFile::OpenLayer(uint32_t layer) const {
  LayerArrays result;
  ALAYA_ASSIGN_OR_RETURN(result.keys, file_->OpenArray(*file_->Find(ArrayName("key", layer))));
  ALAYA_ASSIGN_OR_RETURN(result.values, file_->OpenArray(*file_->Find(ArrayName("value", layer))));
  if (const ArrayInfo* info = file_->Find(ArrayName("query", layer)); info != nullptr) {
    LayerQueries& queries = result.queries.emplace();
    queries.count = info->shape[0];
    queries.num_query_heads = info->shape[1];
    queries.dtype = *DTypeOf(info->type);
    ALAYA_ASSIGN_OR_RETURN(queries.reader, file_->OpenArray(*info));
  }
  return result;
}

Status ContextFile::ReadTokens() {
  const ArrayInfo* info = file_->Find("tokens");
  if (info == nullptr) return InvalidArgument("no array 'tokens' of token ids, shape [T]");
  if (info->shape.size() != 1 || info->shape[0] == 0) {
    return InvalidArgument(Text(*info) + ": one dimension of at least 1 token expected");
  }
  if (info->shape[0] > kTokensMax) return InvalidArgument(Text(*info) + ": too many tokens");
  ALAYA_ASSIGN_OR_RETURN(const auto reader, file_->OpenArray(*info));
  std::vector<std::byte> bytes(info->bytes);
  ALAYA_RETURN_IF_ERROR(reader->Read(bytes));
  tokens_.reserve(info->shape[0]);
  for (size_t i = 0; i < info->shape[0]; ++i) {
    const auto token = TokenAt(info->type, bytes, i);
    if (!token.has_value()) {
      return InvalidArgument(Text(*info) + ": element " + std::to_string(i) +
                             " is no token id, a whole number of 32 bits");
    }
    tokens_.push_back(*token);
  }
  return OkStatus();
}

Status ContextFile::CheckLayers() {
  size_t layers_in_file = 0;
  const ArrayInfo* first = file_->Find(ArrayName("key", 0));
  if (first == nullptr) return InvalidArgument("no array '" + ArrayName("key", 0) + "'");
  const auto dtype = DTypeOf(first->type);
  if (!dtype.has_value()) return InvalidArgument(Text(*first) + ": f32, f16 or bf16 expected");
  if (first->shape.size() != 3 || first->shape[0] != tokens_.size() ||
      first->shape[1] > kDimensionMax || first->shape[2] > kDimensionMax) {
    return InvalidArgument(Text(*first) + ": [" + std::to_string(tokens_.size()) +
                           ",Hkv,D] expected");
  }
  dtype_ = *dtype;
  num_kv_heads_ = static_cast<uint32_t>(first->shape[1]);
  head_dim_ = static_cast<uint32_t>(first->shape[2]);
  while (file_->Find(ArrayName("key", num_layers_)) != nullptr) {
    for (const char* kind : {"key", "value"}) {
      const ArrayInfo* info = file_->Find(ArrayName(kind, num_layers_));
      if (info == nullptr) {
        return InvalidArgument("no array '" + ArrayName(kind, num_layers_) + "'");
      }
      if (info->shape != first->shape || info->type != first->type) {
        return InvalidArgument(Text(*info) + ": differs from " + Text(*first));
      }
    }
    const ArrayInfo* queries = file_->Find(ArrayName("query", num_layers_));
    if (queries != nullptr && (queries->shape.size() != 3 || queries->shape[2] != head_dim_ ||
                               !DTypeOf(queries->type).has_value())) {
      return InvalidArgument(Text(*queries) + ": [T,Hq," + std::to_string(head_dim_) +
                             "] of f32, f16 or bf16 expected");
    }
    ++num_layers_;
  }
  for (const ArrayInfo& info : file_->arrays()) {
    const bool is_key = dotted_names_
                            ? info.name.starts_with("layers.") && info.name.ends_with(".key")
                            : info.name.starts_with("key_");
    layers_in_file += is_key ? 1 : 0;
  }
  if (layers_in_file != num_layers_) {
    return InvalidArgument("keys of " + std::to_string(layers_in_file) + " layers, but no array '" +
                           ArrayName("key", num_layers_) + "'");
  }
  return OkStatus();
}

std::string ContextFile::ArrayName(const char* kind, uint32_t layer) const {
  if (dotted_names_) return "layers." + std::to_string(layer) + "." + kind;
  return std::string(kind) + "_" + std::to_string(layer);
}

}  // namespace alaya::client
