// What tensors from outside must look like, and their way to floats.

#ifndef ALAYA_SERVER_ENGINE_TENSOR_CHECKS_H_
#define ALAYA_SERVER_ENGINE_TENSOR_CHECKS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "server/engine/attend_types.h"
#include "storage/types/model.h"
#include "storage/types/status.h"

namespace alaya {

// All errors: InvalidArgument, naming the tensor as `name`.

// A [T, num_query_heads, head_dim] tensor of any dtype, T in 1 .. tokens_max, with
// exactly its bytes and only finite elements.
Status CheckQuery(std::string_view name, const TensorView& tensor, const Model& model,
                  uint64_t tokens_max);
// A [T, num_kv_heads, head_dim] tensor of the model's dtype, otherwise the same.
Status CheckKeyOrValue(std::string_view name, const TensorView& tensor, const Model& model,
                       uint64_t tokens_max);

// The tensor's elements in another type, as bytes.
// Errors: a finite element became infinite in the smaller type.
StatusOr<std::string> ConvertElements(std::string_view name, const TensorView& tensor, DType dtype);

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_TENSOR_CHECKS_H_
