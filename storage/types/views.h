// Arrays that belong to somebody else. A view must not outlive its owner.

#ifndef ALAYA_STORAGE_TYPES_VIEWS_H_
#define ALAYA_STORAGE_TYPES_VIEWS_H_

#include <cassert>
#include <cstddef>
#include <span>
#include <type_traits>

#include "storage/types/dtype.h"

namespace alaya {

// Rows of `cols` elements, each row `stride` elements after the one before.
template <typename T>
class MatrixView {
 public:
  MatrixView() = default;
  MatrixView(T* data, size_t rows, size_t cols) : MatrixView(data, rows, cols, cols) {}
  MatrixView(T* data, size_t rows, size_t cols, size_t stride)
      : data_(data), rows_(rows), cols_(cols), stride_(stride) {
    assert(stride >= cols);
  }
  // MatrixView<T> converts to MatrixView<const T>.
  template <typename U>
    requires(std::is_const_v<T> && std::is_same_v<const U, T>)
  MatrixView(const MatrixView<U>& other)  // NOLINT(google-explicit-constructor)
      : MatrixView(other.data(), other.rows(), other.cols(), other.stride()) {}

  T* data() const { return data_; }
  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  size_t stride() const { return stride_; }
  bool empty() const { return rows_ == 0; }

  std::span<T> row(size_t i) const {
    assert(i < rows_);
    return {data_ + i * stride_, cols_};
  }
  MatrixView rows_range(size_t begin, size_t count) const {
    assert(begin + count <= rows_);
    return {data_ + begin * stride_, count, cols_, stride_};
  }

 private:
  T* data_ = nullptr;
  size_t rows_ = 0;
  size_t cols_ = 0;
  size_t stride_ = 0;
};

// Rows of stored elements: contiguous, little-endian, of a type known at run time.
struct EncodedMatrixView {
  const std::byte* data = nullptr;
  size_t rows = 0;
  size_t cols = 0;
  DType dtype = DType::kF32;

  size_t row_bytes() const { return cols * ElementBytes(dtype); }
  const std::byte* row(size_t i) const {
    assert(i < rows);
    return data + i * row_bytes();
  }
  std::span<const std::byte> bytes() const { return {data, rows * row_bytes()}; }
  EncodedMatrixView rows_range(size_t begin, size_t count) const {
    assert(begin + count <= rows);
    return {data + begin * row_bytes(), count, cols, dtype};
  }
};

// A [tokens, heads, dim] array. `data` holds exactly that many elements of `dtype`;
// alignment does not matter.
struct TensorView {
  DType dtype = DType::kF32;
  size_t tokens = 0;
  size_t heads = 0;
  size_t dim = 0;
  std::span<const std::byte> data;

  size_t token_bytes() const { return heads * dim * ElementBytes(dtype); }
  TensorView tokens_range(size_t begin, size_t count) const {
    assert(begin + count <= tokens);
    return {dtype, count, heads, dim, data.subspan(begin * token_bytes(), count * token_bytes())};
  }
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_TYPES_VIEWS_H_
