#include "index/graph/query_sample.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <span>

#include "index/kernels/encoding.h"

namespace alaya {

std::vector<size_t> SampleRows(size_t total, size_t count, double near_end) {
  assert(count <= total && near_end > 0);
  std::vector<size_t> rows;
  rows.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const double share = static_cast<double>(i) / static_cast<double>(count);
    const double distance = near_end * (std::pow(1 + 1 / near_end, share) - 1);
    const auto from_end = static_cast<size_t>(distance * static_cast<double>(total));
    // Each row once, and enough left for those that follow.
    const size_t lowest = rows.empty() ? 0 : total - rows.back();
    rows.push_back(total - 1 - std::clamp(from_end, lowest, total - (count - i)));
  }
  std::ranges::reverse(rows);
  return rows;
}

std::vector<float> SampleQueries(MatrixView<const float> queries, size_t count, double near_end,
                                 DType key_dtype) {
  std::vector<float> sample;
  sample.reserve(count * queries.cols());
  for (const size_t row : SampleRows(queries.rows(), count, near_end)) {
    const std::span<const float> query = queries.row(row);
    sample.insert(sample.end(), query.begin(), query.end());
  }
  if (key_dtype == DType::kBF16) {
    std::vector<std::byte> encoded(sample.size() * ElementBytes(key_dtype));
    EncodeElements(sample, key_dtype, encoded);
    DecodeElements(key_dtype, encoded, sample);
  }
  return sample;
}

}  // namespace alaya
