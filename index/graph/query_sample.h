// Which of many sampled queries a build uses.

#ifndef ALAYA_INDEX_GRAPH_QUERY_SAMPLE_H_
#define ALAYA_INDEX_GRAPH_QUERY_SAMPLE_H_

#include <cstddef>
#include <vector>

#include "storage/types/dtype.h"
#include "storage/types/views.h"

namespace alaya {

// `count` of the rows [0, total) in text order, each once, rising. Their density falls
// with the distance x from the end (0 to 1) as 1 / (x + near_end), as closely as one use
// per row allows: the queries to come are most like the last ones.
//
// Requires: count <= total, near_end > 0.
std::vector<size_t> SampleRows(size_t total, size_t count, double near_end);

// The sampled rows, rounded to the type of the keys if that is what engines send: the
// kernels are fastest for such queries, and others lose next to nothing.
std::vector<float> SampleQueries(MatrixView<const float> queries, size_t count, double near_end,
                                 DType key_dtype);

}  // namespace alaya

#endif  // ALAYA_INDEX_GRAPH_QUERY_SAMPLE_H_
