#include "index/flat/query_fit.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <cstddef>

namespace alaya {
namespace {

using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;
using FloatMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Any number does.
constexpr uint64_t kRotationSeed = 0x464954;
// Queries count by the distance x of their position from the end, 0 to 1, as 1 / (x + kNearEnd).
constexpr double kNearEnd = 1.0 / 512;
// Of the mean variance, what every direction has at least: queries may still be different.
constexpr double kQueryVarianceMin = 0.03;
constexpr double kKeyVarianceMin = 1e-3;
// Squared error of two bits a normal element, relative to its variance.
constexpr double kCoarseError = 0.117;
// A map is used for errors smaller by this, and half of the elements while the error is no
// larger than so many times a rotation's, all of whose elements are read.
constexpr double kGainMin = 1.1;
constexpr double kHalfErrorMax = 1.125;
constexpr double kRoundingMax = 1e-3;

struct Eigenvectors {
  Vector values;  // falling, positive
  Matrix vectors;
};

Eigenvectors Decompose(const Matrix& symmetric) {
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(symmetric);
  const Vector& values = solver.eigenvalues();
  const double least = 1e-12 * values.cwiseAbs().maxCoeff();
  return {values.reverse().cwiseMax(least), solver.eigenvectors().rowwise().reverse()};
}

Eigen::Map<const FloatMatrix, 0, Eigen::OuterStride<>> Rows(MatrixView<const float> matrix) {
  const auto index = [](size_t n) { return static_cast<Eigen::Index>(n); };
  return {matrix.data(), index(matrix.rows()), index(matrix.cols()),
          Eigen::OuterStride<>(index(matrix.stride()))};
}

// The second moment of `rows`, with at least this share of the mean variance in each direction.
Matrix SecondMoment(const FloatMatrix& rows, double variance_min) {
  Eigen::MatrixXf sum = Eigen::MatrixXf::Zero(rows.cols(), rows.cols());
  sum.selfadjointView<Eigen::Lower>().rankUpdate(rows.transpose());
  const Eigen::MatrixXf whole = sum.selfadjointView<Eigen::Lower>();
  Matrix moment = whole.cast<double>();
  moment.diagonal().array() += variance_min * moment.diagonal().mean();
  return moment;
}

Matrix QueryMoment(MatrixView<const float> queries) {
  FloatMatrix weighted = Rows(queries);
  const auto count = static_cast<double>(queries.rows());
  double total = 0;
  for (Eigen::Index i = 0; i < weighted.rows(); ++i) {
    const double weight = 1 / ((count - 1 - static_cast<double>(i)) / count + kNearEnd);
    weighted.row(i) *= static_cast<float>(std::sqrt(weight));
    total += weight;
  }
  return SecondMoment(weighted, kQueryVarianceMin) / total;
}

// Rotates `rows` of a matrix among themselves.
void RotateRows(Eigen::Ref<Matrix> rows, const Rotation& rotation) {
  const auto count = static_cast<size_t>(rows.rows());
  FloatMatrix identity = FloatMatrix::Identity(rows.rows(), rows.rows());
  FloatMatrix rotated(rows.rows(), rows.rows());
  Rotate(rotation, {identity.data(), count, count}, {rotated.data(), count, count});
  rows = rotated.transpose().cast<double>() * rows;
}

// The largest of a matrix's singular values, and a little more.
double LengthMax(const Matrix& matrix) {
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(matrix.transpose() * matrix,
                                                     Eigen::EigenvaluesOnly);
  return 1.001 * std::sqrt(solver.eigenvalues().maxCoeff());
}

std::vector<float> Elements(const FloatMatrix& matrix) {
  return {matrix.data(), matrix.data() + matrix.size()};
}

// What is lost by floats, in maps and sums of products.
void SetRoundings(const Matrix& a, const Matrix& b, QueryFit& fit) {
  const Eigen::Index dim = a.rows();
  const double a_length = LengthMax(a);
  const double b_length = LengthMax(b);
  const double difference = (b.transpose() * a - Matrix::Identity(dim, dim)).norm();
  const double of_sum = static_cast<double>(dim + 8) * 0x1p-24;
  fit.keys.rounding = of_sum * a.norm();
  // |query| <= a_length / (1 - difference) * |B query|, and |key - centre| alike.
  const double lengths = a_length * b_length / std::pow(1 - std::min(difference, 0.5), 2);
  fit.facts.rounding =
      static_cast<float>(1.001 * lengths * (of_sum * (1 + b.norm() / b_length) + difference));
}

// The elements of both maps in the order of `l`, in halves that coarse codes hold one of.
void SplitHalves(const Vector& l, Matrix& a, Matrix& b, QueryFit& fit) {
  const Eigen::Index half = l.size() / 2;
  const double upper = l.head(half).mean();
  const double lower = l.tail(half).mean();
  // Keys are made as large in the lower half as in the upper one: fine codes have one scale.
  const double larger = std::sqrt(upper / lower);
  a.bottomRows(half) *= larger;
  b.bottomRows(half) /= larger;
  const Rotation rotation(static_cast<size_t>(half), kRotationSeed);
  for (Matrix* map : {&a, &b}) {
    RotateRows(map->topRows(half), rotation);
    RotateRows(map->bottomRows(half), rotation);
  }
  const double lower_square = l.tail(half).squaredNorm();
  const double count = static_cast<double>(half);
  fit.keys.coarse_dim = static_cast<size_t>(half);
  fit.keys.rest_weight = static_cast<float>(std::sqrt(lower_square / count) / upper);
  fit.facts.coarse = {
      static_cast<size_t>(half), static_cast<float>(lower / upper),
      static_cast<float>(lower_square / (lower_square + kCoarseError * count * upper * upper))};
}

}  // namespace

std::optional<QueryFit> FitToQueries(MatrixView<const float> keys,
                                     MatrixView<const float> queries) {
  if (keys.rows() < 2 * keys.cols() || queries.empty()) return std::nullopt;
  const auto dim = static_cast<Eigen::Index>(keys.cols());
  const Matrix key_moment =
      SecondMoment(Rows(keys), kKeyVarianceMin) / static_cast<double>(keys.rows());
  const Matrix query_moment = QueryMoment(queries);
  const double keys_square = key_moment.trace();
  const double plain = std::sqrt(keys_square * query_moment.trace());
  // Not of what floats hold, or nothing at all.
  if (!(plain > 1e-15 && plain < 1e15 && keys_square > 1e-15 && keys_square < 1e15)) {
    return std::nullopt;
  }
  const Eigenvectors of_keys = Decompose(key_moment);
  const Vector key_roots = of_keys.values.cwiseSqrt();
  const Matrix root = of_keys.vectors * key_roots.asDiagonal() * of_keys.vectors.transpose();
  const Matrix inverse_root =
      of_keys.vectors * key_roots.cwiseInverse().asDiagonal() * of_keys.vectors.transpose();
  const Eigenvectors both = Decompose(root * query_moment * root);
  const Vector l = both.values.cwiseSqrt();
  if (!(l.sum() * kGainMin < plain)) return std::nullopt;

  const Vector l_roots = l.cwiseSqrt();
  Matrix a = l_roots.asDiagonal() * both.vectors.transpose() * inverse_root;
  Matrix b = l_roots.cwiseInverse().asDiagonal() * both.vectors.transpose() * root;
  // Keys stay as long as they are.
  const double size = std::sqrt(keys_square / l.sum());
  a *= size;
  b /= size;

  QueryFit fit;
  const Eigen::Index half = dim / 2;
  const double half_square =
      kCoarseError * l.head(half).sum() * l.head(half).sum() / static_cast<double>(half) +
      l.tail(half).squaredNorm();
  const double plain_square = kCoarseError * plain * plain / static_cast<double>(dim);
  if (dim % 16 == 0 && half_square <= kHalfErrorMax * kHalfErrorMax * plain_square) {
    SplitHalves(l, a, b, fit);
  } else {
    const Rotation rotation(keys.cols(), kRotationSeed);
    RotateRows(a, rotation);
    RotateRows(b, rotation);
    fit.keys.coarse_dim = fit.facts.coarse.count = keys.cols();
  }
  const FloatMatrix a_floats = a.cast<float>();
  const FloatMatrix b_floats = b.cast<float>();
  fit.keys.rows = Elements(a_floats);
  fit.queries = Elements(b_floats.transpose());
  SetRoundings(a_floats.cast<double>(), b_floats.cast<double>(), fit);
  if (!(fit.facts.rounding < kRoundingMax) || !(fit.keys.rounding < kRoundingMax * 1e3)) {
    return std::nullopt;
  }
  return fit;
}

}  // namespace alaya
