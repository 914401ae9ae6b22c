// The keys and values of one context in an .npz or .safetensors file.
//
// | array | .npz | .safetensors | shape |
// | keys of a layer | key_<layer> | layers.<layer>.key | [T, Hkv, D] |
// | values of a layer | value_<layer> | layers.<layer>.value | [T, Hkv, D] |
// | sampled queries, optional | query_<layer> | layers.<layer>.query | [T', Hq, D] |
// | token ids | tokens | tokens | [T], any integer type |
//
// Keys, values and queries are f32, f16 or bf16; keys and values all of one type. NumPy
// has no bf16: arrays of ml_dtypes.bfloat16 are known as such, uint16 arrays are taken
// for bf16 bits.

#ifndef ALAYA_CLIENT_FILES_CONTEXT_FILE_H_
#define ALAYA_CLIENT_FILES_CONTEXT_FILE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/files/array_file.h"
#include "storage/types/dtype.h"
#include "storage/types/status.h"

namespace alaya::client {

struct LayerQueries {
  uint64_t count = 0;  // T'
  uint64_t num_query_heads = 0;
  DType dtype = DType::kF32;
  std::unique_ptr<ArrayReader> reader;
};

struct LayerArrays {
  std::unique_ptr<ArrayReader> keys;
  std::unique_ptr<ArrayReader> values;
  std::optional<LayerQueries> queries;
};

class ContextFile {
 public:
  // Reads the tokens and checks that the arrays fit together.
  static StatusOr<ContextFile> Open(const std::string& path);

  uint32_t num_layers() const { return num_layers_; }
  uint32_t num_kv_heads() const { return num_kv_heads_; }
  uint32_t head_dim() const { return head_dim_; }
  DType dtype() const { return dtype_; }
  const std::vector<uint32_t>& tokens() const { return tokens_; }

  // Requires: layer < num_layers(). The readers must not outlive the file.
  StatusOr<LayerArrays> OpenLayer(uint32_t layer) const;

 private:
  explicit ContextFile(std::unique_ptr<ArrayFile> file) : file_(std::move(file)) {}
  Status ReadTokens();
  Status CheckLayers();
  std::string ArrayName(const char* kind, uint32_t layer) const;

  std::unique_ptr<ArrayFile> file_;
  bool dotted_names_ = false;  // layers.0.key, not key_0
  uint32_t num_layers_ = 0;
  uint32_t num_kv_heads_ = 0;
  uint32_t head_dim_ = 0;
  DType dtype_ = DType::kF32;
  std::vector<uint32_t> tokens_;
};

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_FILES_CONTEXT_FILE_H_
