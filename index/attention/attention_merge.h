// Merging attention computed over disjoint sets of tokens.
//
// Attention over a union of sets follows exactly from the attention over each set,
// if each keeps the logarithm of its softmax denominator. The server joins the
// window, the retrieved tokens and the parts of a sequence this way.
//
// Source: online softmax, arXiv:1805.02867.

#ifndef ALAYA_INDEX_ATTENTION_ATTENTION_MERGE_H_
#define ALAYA_INDEX_ATTENTION_ATTENTION_MERGE_H_

#include "index/attention/attention_part.h"

namespace alaya {

// Makes `total` the attention over its own tokens and those of `part`.
//
// Requires: equal shapes; disjoint token sets; buffers that do not overlap; a query
//   without tokens has log_sum_exp -inf and output 0.
// Guarantees: merging two empty queries stays empty; finite inputs never give NaN.
// Cost: one pass over both outputs, no allocation.
void MergeAttention(ConstAttentionPart part, AttentionPart total);

// ln(e^a + e^b); -inf stands for an empty sum.
double MergeLogSumExp(double a, double b);

}  // namespace alaya

#endif  // ALAYA_INDEX_ATTENTION_ATTENTION_MERGE_H_
