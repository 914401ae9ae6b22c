// Attention over one set of tokens, in the form that merges with other sets.

#ifndef ALAYA_INDEX_ATTENTION_ATTENTION_PART_H_
#define ALAYA_INDEX_ATTENTION_ATTENTION_PART_H_

#include <span>

#include "storage/types/views.h"

namespace alaya {

// Attention of every query over one set of tokens; a view, T is float or const float.
template <typename T>
struct AttentionPartOf {
  MatrixView<T> output;      // [query_count, head_dim], already normalised
  std::span<T> log_sum_exp;  // [query_count], natural log; -inf: no tokens, output 0
};
using AttentionPart = AttentionPartOf<float>;
using ConstAttentionPart = AttentionPartOf<const float>;

}  // namespace alaya

#endif  // ALAYA_INDEX_ATTENTION_ATTENTION_PART_H_
