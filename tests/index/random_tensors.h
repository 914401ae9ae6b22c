// Seeded numbers for the tests of index.

#ifndef ALAYA_TESTS_INDEX_RANDOM_TENSORS_H_
#define ALAYA_TESTS_INDEX_RANDOM_TENSORS_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "index/kernels/encoding.h"
#include "storage/types/dtype.h"
#include "storage/types/views.h"

namespace alaya {

inline std::vector<float> RandomFloats(size_t count, float deviation, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// Rows whose elements deviate less and less, the last one by `last` times the first; by 1 in the
// root mean square.
inline std::vector<float> FallingRows(size_t count, size_t cols, double last, uint32_t seed) {
  std::vector<double> deviations(cols);
  double square_sum = 0;
  for (size_t e = 0; e < cols; ++e) {
    deviations[e] = std::pow(last, static_cast<double>(e) / static_cast<double>(cols - 1));
    square_sum += deviations[e] * deviations[e];
  }
  const double root_mean_square = std::sqrt(square_sum / static_cast<double>(cols));
  std::vector<float> rows = RandomFloats(count * cols, 1.0F, seed);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] *= static_cast<float>(deviations[i % cols] / root_mean_square);
  }
  return rows;
}

// A stored matrix that starts one byte off any alignment, and its exact values.
struct EncodedMatrix {
  std::vector<std::byte> storage;
  std::vector<float> values;
  EncodedMatrixView view;
};

inline EncodedMatrix Encode(const std::vector<float>& values, size_t cols, DType dtype) {
  EncodedMatrix matrix;
  const size_t bytes = values.size() * ElementBytes(dtype);
  matrix.storage.resize(bytes + 1);
  const std::span<std::byte> encoded(matrix.storage.data() + 1, bytes);
  EncodeElementsReference(values, dtype, encoded);
  matrix.values.resize(values.size());
  DecodeElementsReference(dtype, encoded, matrix.values);
  matrix.view = {encoded.data(), cols == 0 ? 0 : values.size() / cols, cols, dtype};
  return matrix;
}

}  // namespace alaya

#endif  // ALAYA_TESTS_INDEX_RANDOM_TENSORS_H_
