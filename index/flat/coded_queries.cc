#include "index/flat/coded_queries.h"

#include <cstddef>
#include <span>

#include "index/flat/sums.h"
#include "index/scratch_buffer.h"

namespace alaya {
namespace {

double InnerProduct(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t e = 0; e < a.size(); ++e) sum += double{a[e]} * double{b[e]};
  return sum;
}

}  // namespace

StatusOr<std::optional<CodedQueries>> CodeQueriesOf(const FlatSource& source,
                                                    MatrixView<const float> queries) {
  const FlatHeader& header = source.header();
  CodedQueries coded;
  std::vector<float> centre_scores;
  const double centre_length = VectorLength(header.centre);
  for (size_t q = 0; q < queries.rows(); ++q) {
    CodeFrame& frame = coded.frames.emplace_back();
    frame.query_length = VectorLength(queries.row(q));
    frame.centre_length = centre_length;
    if (header.query_map) frame.rounding = double{header.query_map->rounding};
    if (!(frame.query_length <= kBoundedLengthMax &&
          frame.query_length * centre_length <= kBoundedCentreMax)) {
      return std::nullopt;
    }
    centre_scores.push_back(static_cast<float>(InnerProduct(queries.row(q), header.centre)));
  }
  thread_local ScratchBuffer<float> buffer;
  const MatrixView<float> mapped(buffer.Take(queries.rows() * header.head_dim).data(),
                                 queries.rows(), header.head_dim);
  ALAYA_RETURN_IF_ERROR(source.MapQueries(queries, mapped));
  for (size_t q = 0; q < queries.rows(); ++q) {
    if (!(VectorLength(mapped.row(q)) <= kBoundedLengthMax)) return std::nullopt;
  }
  coded.codes = CodeQueries(mapped, centre_scores,
                            header.query_map ? header.query_map->coarse : CoarseElements{});
  return coded;
}

}  // namespace alaya
