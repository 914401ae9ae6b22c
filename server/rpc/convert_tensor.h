// Tensors of the API to views and back.

#ifndef ALAYA_SERVER_RPC_CONVERT_TENSOR_H_
#define ALAYA_SERVER_RPC_CONVERT_TENSOR_H_

#include <cstdint>
#include <initializer_list>
#include <string>

#include "alaya/v1/tensor.pb.h"
#include "server/engine/attend_types.h"
#include "server/rpc/field_path.h"
#include "storage/types/dtype.h"
#include "storage/types/status.h"

namespace alaya {

// A [tokens, heads, dim] tensor with at least one element. The result views `tensor`.
//
// Errors: InvalidArgument if the dtype is unknown, the shape does not have three
//   positive dimensions, or the data is not exactly as long as they say.
StatusOr<TensorView> FromProto(const v1::Tensor& tensor, const FieldPath& field);

// A key or value beside another tensor: the same dtype and shape. Errors: InvalidArgument.
Status CheckSameShape(const TensorView& a, const FieldPath& a_field, const TensorView& b,
                      const FieldPath& b_field);

StatusOr<DType> FromProto(v1::DType dtype, const FieldPath& field);
v1::DType ToProto(DType dtype);
void ToProto(DType dtype, std::initializer_list<uint64_t> shape, std::string data,
             v1::Tensor* tensor);

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_CONVERT_TENSOR_H_
