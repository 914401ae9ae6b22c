#include "storage/context/context_store.h"

namespace alaya {

StatusOr<std::unique_ptr<ContextStore>> ContextStore::Open(ContextStoreOptions options) {
  return MakeError(StatusCode::kUnimplemented, "cannot open " + options.directory);
}

}  // namespace alaya
