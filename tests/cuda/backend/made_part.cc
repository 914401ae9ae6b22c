#include "tests/cuda/backend/made_part.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "tests/support/element_codec.h"
#include "tests/support/random_numbers.h"

namespace alaya {

MadeRows::MadeRows(const DevicePartShape& shape, uint64_t seed)
    : shape_(shape), numbers_(NumbersOf(shape, seed)) {}

std::shared_ptr<const MadeRows::Numbers> MadeRows::NumbersOf(const DevicePartShape& shape,
                                                             uint64_t seed) {
  static std::map<std::tuple<uint64_t, uint32_t, DType, uint64_t>, std::shared_ptr<const Numbers>>
      made;
  std::shared_ptr<const Numbers>& known =
      made[{shape.token_count, shape.head_dim, shape.dtype, seed}];
  if (known != nullptr) return known;
  auto numbers = std::make_shared<Numbers>();
  for (const KvKind kind : {KvKind::kKey, KvKind::kValue}) {
    std::vector<float> elements =
        MadeNumbers(shape.token_count * shape.head_dim, seed + static_cast<uint64_t>(kind));
    // An outlier channel, as trained models have it.
    for (size_t i = 0; kind == KvKind::kKey && i < elements.size(); i += shape.head_dim) {
      elements[i + 5] += 8;
    }
    RoundTo(shape.dtype, elements);
    numbers->bytes.push_back(Encode(elements, shape.dtype));
    numbers->elements.push_back(std::move(elements));
  }
  known = std::move(numbers);
  return known;
}

StatusOr<PinnedRows> MadeRows::ReadBlock(KvKind kind, size_t block) const {
  if (is_damaged_) return DataLoss("a damaged block");
  const EncodedMatrixView all = {numbers_->bytes[static_cast<size_t>(kind)].data(),
                                 shape_.token_count, shape_.head_dim, shape_.dtype};
  const size_t begin = block * block_tokens();
  return PinnedRows{all.rows_range(begin, std::min(block_tokens(), token_count() - begin)),
                    BlockPin()};
}

std::vector<float> MadeRows::MadeNumbers(size_t count, uint64_t seed) {
  const RandomStream random(seed);
  std::vector<float> numbers(count);
  for (size_t i = 0; i < count; ++i) numbers[i] = random.Normal(i);
  return numbers;
}

}  // namespace alaya
