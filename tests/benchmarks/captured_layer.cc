#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "client/files/array_file.h"
#include "index/kernels/encoding.h"
#include "tests/benchmarks/benchmark_layer.h"

namespace alaya {
namespace {

template <typename T>
T OrExit(StatusOr<T> result) {
  if (result.ok()) return *std::move(result);
  std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
  std::exit(1);
}

struct Array {
  std::vector<uint64_t> shape;
  std::vector<std::byte> bytes;

  // Elements of one index of the first dimension.
  size_t row_elements() const {
    size_t count = 1;
    for (size_t i = 1; i < shape.size(); ++i) count *= shape[i];
    return count;
  }
};

Array ReadArray(const client::ArrayFile& file, const char* name, client::ElementType type,
                size_t dimensions) {
  const client::ArrayInfo* info = file.Find(name);
  if (info == nullptr || info->type != type || info->shape.size() != dimensions) {
    std::fprintf(stderr, "array '%s': not of the type and shape of captured attention\n", name);
    std::exit(1);
  }
  Array array{info->shape, std::vector<std::byte>(info->bytes)};
  const Status status = OrExit(file.OpenArray(*info))->Read(array.bytes);
  if (!status.ok()) OrExit(StatusOr<int>(status));
  return array;
}

std::vector<float> Floats(const Array& array) {
  std::vector<float> floats(array.bytes.size() / 2);
  DecodeElements(DType::kF16, array.bytes, floats);
  return floats;
}

// The arrays of the file.
struct Capture {
  explicit Capture(const std::string& path) {
    using client::ElementType;
    const auto file = OrExit(client::ArrayFile::Open(path));
    keys = ReadArray(*file, "key", ElementType::kF16, 3);
    values = ReadArray(*file, "value", ElementType::kF16, 3);
    const Array query = ReadArray(*file, "query", ElementType::kF16, 3);
    query_heads = static_cast<uint32_t>(query.shape[1]);
    queries = Floats(query);
    samples = Floats(ReadArray(*file, "sample_query", ElementType::kF16, 3));
    const Array position = ReadArray(*file, "query_position", ElementType::kI64, 1);
    positions.resize(position.shape[0]);
    std::memcpy(positions.data(), position.bytes.data(), position.bytes.size());
  }

  Model model() const {
    return {"captured",
            1,
            query_heads,
            static_cast<uint32_t>(keys.shape[1]),
            static_cast<uint32_t>(keys.shape[2]),
            DType::kF16};
  }

  Array keys;
  Array values;
  uint32_t query_heads = 0;
  std::vector<float> queries;
  std::vector<float> samples;
  std::vector<int64_t> positions;
};

class CapturedLayer : public BenchmarkLayer {
 public:
  CapturedLayer(std::string path, Capture capture)
      : BenchmarkLayer(capture.model(), capture.keys.shape[0]),
        path_(std::move(path)),
        capture_(std::move(capture)) {
    FillFrom(capture_.keys, KvKind::kKey);
    FillFrom(capture_.values, KvKind::kValue);
  }

  std::string name() const override { return path_; }
  float scale() const override { return 1; }

  std::vector<float> Queries(size_t step) const override {
    const size_t count = size_t{model().num_query_heads} * model().head_dim;
    const auto begin =
        capture_.queries.begin() + static_cast<std::ptrdiff_t>(QueryIndex(step) * count);
    return {begin, begin + static_cast<std::ptrdiff_t>(count)};
  }
  TokenRange visible(size_t step) const override {
    return {0, static_cast<uint64_t>(capture_.positions[QueryIndex(step)]) + 1};
  }
  std::vector<float> SampledQueries(size_t head, size_t count) const override {
    const size_t group_elements = size_t{model().group_size()} * model().head_dim;
    const size_t all_elements = size_t{model().num_query_heads} * model().head_dim;
    const size_t sample_count = std::min(count, capture_.samples.size() / all_elements);
    std::vector<float> queries(sample_count * group_elements);
    for (size_t i = 0; i < sample_count; ++i) {
      std::copy_n(&capture_.samples[i * all_elements + head * group_elements], group_elements,
                  &queries[i * group_elements]);
    }
    return queries;
  }

 private:
  // Steps are spread over the captured queries.
  size_t QueryIndex(size_t step) const { return step * 37 % capture_.positions.size(); }

  void FillFrom(const Array& array, KvKind kind) {
    const size_t row_bytes = model().row_bytes();
    for (uint64_t token = 0; token < token_count(); ++token) {
      for (size_t head = 0; head < model().num_kv_heads; ++head) {
        const size_t row = token * model().num_kv_heads + head;
        Fill(head, kind, {token, token + 1},
             std::span(array.bytes).subspan(row * row_bytes, row_bytes));
      }
    }
  }

  std::string path_;
  Capture capture_;
};

}  // namespace

std::unique_ptr<BenchmarkLayer> LoadCapturedLayer(const std::string& path) {
  return std::make_unique<CapturedLayer>(path, Capture(path));
}

}  // namespace alaya
