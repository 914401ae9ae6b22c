#include "tests/support/attention_workload.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "storage/types/check.h"
#include "tests/support/element_codec.h"
#include "tests/support/parallel_for.h"

namespace alaya {
namespace {

// Text: topics of a stretch alternate in runs of a few tokens.
constexpr uint64_t kStretchTokens = 64;
constexpr uint64_t kTopicsPerStretch = 4;
constexpr uint64_t kRunTokens = 4;
// Shares of variance.
constexpr double kTopicShare = 0.75;   // of a key's content: the topic's centroid
constexpr double kHomeShare = 0.97;    // of a query's content: what its head always seeks
constexpr double kGroupShare = 0.7;    // of home and walk: common to the group's heads
constexpr double kStepShare = 0.5;     // of the walk: drawn anew at each position
constexpr uint64_t kWalkTokens = 48;   // the walk is somewhere else after this many
constexpr double kNeedleShare = 0.36;  // of the content of a query that asks for needles
constexpr float kOutlierContent = 0.25F;
constexpr double kMeanDeviation = 0.3;  // per channel of the key mean
constexpr double kMeanShift = 2;        // of all logits, in deviations of the bulk
constexpr double kSinkReserve = 0.35;   // over the bulk's expected maximum, in its deviations
constexpr float kSinkValueScale = 0.05F;
constexpr double kValueTopicShare = 0.4;
constexpr double kRecencyBand = 16;  // highest over lowest frequency
constexpr float kRecencyKeyAmplitude = 1.5F;

// Streams of a head.
enum Stream : uint64_t {
  kProfileStream,
  kMeanStream,
  kOutlierStream,
  kNeedleStream,
  kTopicStream,
  kKeyStream,
  kRunStream,
  kValueTopicStream,
  kValueStream,
  kHomeStream,
  kWalkStream,
  kStepStream,
};

// The library's functions may differ in the last bit between machines; these do not.

double Exp(double x) {
  double sum = 1;
  const double small = x / 1024;
  for (int i = 12; i > 0; --i) sum = 1 + sum * small / i;
  for (int i = 0; i < 10; ++i) sum *= sum;
  return sum;
}

double Log(double x) {
  double y = 0;
  for (int i = 0; i < 64; ++i) y += 2 * (x - Exp(y)) / (x + Exp(y));
  return y;
}

struct SineCosine {
  double sine;
  double cosine;
};

SineCosine Turn(double angle) {
  constexpr double kQuarter = std::numbers::pi / 2;
  const double quarters = std::floor(angle / kQuarter + 0.5);
  const double x = angle - quarters * kQuarter;  // within +-pi/4
  const double y = x * x;
  const double s = x * (1 - y / 6 * (1 - y / 20 * (1 - y / 42 * (1 - y / 72 * (1 - y / 110)))));
  const double c = 1 - y / 2 * (1 - y / 12 * (1 - y / 30 * (1 - y / 56 * (1 - y / 90))));
  switch (static_cast<int64_t>(quarters) & 3) {
    case 0:
      return {s, c};
    case 1:
      return {c, -s};
    case 2:
      return {-s, -c};
    default:
      return {-c, s};
  }
}

double Norm(std::span<const float> vector) {
  double sum = 0;
  for (const float x : vector) sum += double{x} * double{x};
  return std::sqrt(sum);
}

void ScaleTo(double length, std::span<float> vector) {
  const auto factor = static_cast<float>(length / Norm(vector));
  for (float& x : vector) x *= factor;
}

// out += weight * normal numbers `index` * size ... of the stream.
void AddNormals(const RandomStream& stream, uint64_t index, double weight, std::span<float> out) {
  const auto w = static_cast<float>(weight);
  const uint64_t first = index * out.size();
  for (size_t i = 0; i < out.size(); ++i) out[i] += w * stream.Normal(first + i);
}

void AddScaled(std::span<const float> vector, double weight, std::span<float> out) {
  const auto w = static_cast<float>(weight);
  for (size_t i = 0; i < out.size(); ++i) out[i] += w * vector[i];
}

// Leaves what is orthogonal to a unit vector.
void RemoveDirection(std::span<const float> direction, std::span<float> vector) {
  double along = 0;
  for (size_t i = 0; i < vector.size(); ++i) along += double{direction[i]} * double{vector[i]};
  AddScaled(direction, -along, vector);
}

// Which topic a token belongs to: topics are numbered through the text.
uint64_t TopicOf(const RandomStream& runs, uint64_t token) {
  const uint64_t stretch = token / kStretchTokens;
  return stretch * kTopicsPerStretch + runs.Below(token / kRunTokens, kTopicsPerStretch);
}

}  // namespace

Model StandardModel(uint32_t num_layers) {
  return {"llama-3-8b", num_layers, 32, 8, 128, DType::kBF16};
}

AttentionWorkload::AttentionWorkload(WorkloadOptions options)
    : options_(std::move(options)), random_(options_.seed) {
  const size_t pairs = model().head_dim / 2;
  ALAYA_CHECK(pairs >= 4 && model().num_query_heads % model().num_kv_heads == 0);
  const double step = Log(options_.rope_base) / static_cast<double>(pairs);
  for (size_t i = 0; i < pairs; ++i) frequencies_.push_back(Exp(-step * static_cast<double>(i)));
  // Queries seek in the slow channels; otherwise a turn by one position would change
  // most of what they find.
  query_weights_.resize(model().head_dim);
  for (size_t i = 0; i < pairs; ++i) {
    const double weight = static_cast<double>(i) / static_cast<double>(pairs);
    query_weights_[i] = query_weights_[i + pairs] = static_cast<float>(weight);
  }
  for (uint32_t layer = 0; layer < model().num_layers; ++layer) {
    for (uint32_t h = 0; h < model().num_kv_heads; ++h) heads_.push_back(MakeHead(layer, h));
  }
}

// Expected maximum of token_count normal numbers, in deviations.
double AttentionWorkload::BulkMaximum() const {
  const double n = static_cast<double>(std::max<uint64_t>(options_.token_count, 16));
  const double root = std::sqrt(2 * Log(n));
  return root - (Log(Log(n)) + Log(4 * std::numbers::pi)) / (2 * root);
}

AttentionWorkload::Head AttentionWorkload::MakeHead(uint32_t layer, uint32_t kv_head) const {
  const size_t d = model().head_dim;
  Head head;
  head.random = random_.Split(layer).Split(kv_head);
  const RandomStream random = head.random.Split(kProfileStream);
  HeadProfile& profile = head.profile;
  if (options_.logit_deviation.has_value()) {
    profile.logit_deviation = *options_.logit_deviation;
  } else if (layer < options_.diffuse_layer_count) {
    profile.logit_deviation = random.Uniform(0, 1.3, 2);
  } else {
    profile.logit_deviation = std::clamp(3.3 + 0.7 * double{random.Normal(1)}, 1.5, 5.0);
  }
  const double s = profile.logit_deviation;
  const double u = random.Uniform(2);
  profile.sink_lift = options_.sink_lift.value_or(10 * u * u);
  profile.recency_lift = s * random.Uniform(3, 1, 2);
  profile.recency_tokens = 64 * Exp(random.Uniform(4, 0, Log(8)));
  const uint64_t first = kSinkCount;
  if (options_.needle_count_max > 0 && options_.token_count > 4 * first) {
    const uint64_t count = random.Below(5, options_.needle_count_max) + 1;
    for (uint64_t i = 0; i < count; ++i) {
      profile.needles.push_back(first + random.Below(16 + i, options_.token_count - first));
    }
    std::sort(profile.needles.begin(), profile.needles.end());
    profile.needles.erase(std::unique(profile.needles.begin(), profile.needles.end()),
                          profile.needles.end());
  }

  head.mean.assign(d, 0);
  AddNormals(head.random.Split(kMeanStream), 0, kMeanDeviation, head.mean);
  const RandomStream outliers = head.random.Split(kOutlierStream);
  const uint64_t outlier_count = 2 + outliers.Below(0, 5);
  for (uint64_t i = 0; i < outlier_count; ++i) {
    const double size = outliers.Uniform(3 * i + 1, 5, 20);
    const bool negative = outliers.Below(3 * i + 2, 2) == 1;
    const size_t channel = outliers.Below(3 * i + 3, d);
    head.mean[channel] = static_cast<float>(negative ? -size : size);
    head.outlier_channels.push_back(channel);
  }
  head.mean_direction = head.mean;
  ScaleTo(1, head.mean_direction);
  head.needle_direction.assign(d, 0);
  AddNormals(head.random.Split(kNeedleStream), 0, 1, head.needle_direction);
  ScaleTo(1, head.needle_direction);

  // The shift of the bulk by its mean is kMeanShift * s; the sink undoes it and adds
  // the bulk's maximum and the lift.
  const double lift = (BulkMaximum() + kSinkReserve - kMeanShift) * s + profile.sink_lift;
  head.sink_length = Norm(head.mean) * lift / (kMeanShift * s);
  head.needle_length = BulkMaximum() / std::sqrt(kNeedleShare);

  const double lowest = 2 / profile.recency_tokens;
  const auto pair_below = [&](double frequency) {
    return static_cast<size_t>(std::count_if(frequencies_.begin(), frequencies_.end(),
                                             [=](double f) { return f > frequency; }));
  };
  head.recency_pair_begin = pair_below(lowest * kRecencyBand);
  head.recency_pair_end = std::max(pair_below(lowest), head.recency_pair_begin + 1);
  return head;
}

const AttentionWorkload::Head& AttentionWorkload::head(uint32_t layer, uint32_t kv_head) const {
  ALAYA_CHECK(layer < model().num_layers && kv_head < model().num_kv_heads);
  return heads_[size_t{layer} * model().num_kv_heads + kv_head];
}

const HeadProfile& AttentionWorkload::profile(uint32_t layer, uint32_t kv_head) const {
  return head(layer, kv_head).profile;
}

bool AttentionWorkload::AsksForNeedles(uint64_t position) const {
  return options_.needle_count_max > 0 &&
         position % options_.needle_interval == options_.needle_interval - 1;
}

std::vector<uint64_t> AttentionWorkload::SampledPositions(size_t count) const {
  const uint64_t token_count = options_.token_count;
  std::vector<uint64_t> positions(count);
  for (size_t i = 0; i < count; ++i) {
    // Of every remainder by 8, so that some of them ask for needles.
    positions[i] = std::min(i * token_count / count + i % 8, token_count - 1);
  }
  return positions;
}

std::vector<TokenId> AttentionWorkload::Tokens(TokenRange range) const {
  constexpr uint64_t kVocabulary = 128'256;
  std::vector<TokenId> tokens;
  tokens.reserve(range.size());
  for (uint64_t t = range.begin; t < range.end; ++t) {
    tokens.push_back(static_cast<TokenId>(random_.Below(t, kVocabulary)));
  }
  return tokens;
}

void AttentionWorkload::Rotate(uint64_t position, std::span<float> vector) const {
  const size_t pairs = frequencies_.size();
  for (size_t i = 0; i < pairs; ++i) {
    const SineCosine turn = Turn(static_cast<double>(position) * frequencies_[i]);
    const auto sine = static_cast<float>(turn.sine);
    const auto cosine = static_cast<float>(turn.cosine);
    const float x = vector[i];
    const float y = vector[i + pairs];
    vector[i] = x * cosine - y * sine;
    vector[i + pairs] = x * sine + y * cosine;
  }
}

void AttentionWorkload::AddRecency(const Head& head, double amplitude,
                                   std::span<float> content) const {
  for (size_t i = head.recency_pair_begin; i < head.recency_pair_end; ++i) {
    content[i] += static_cast<float>(amplitude);
  }
}

void AttentionWorkload::WriteKeys(const Head& head, TokenRange range, std::span<float> out) const {
  const size_t d = model().head_dim;
  const RandomStream runs = random_.Split(kRunStream);  // the text is the same for all heads
  const RandomStream topics = head.random.Split(kTopicStream);
  const RandomStream noise = head.random.Split(kKeyStream);
  const std::vector<uint64_t>& needles = head.profile.needles;
  for (uint64_t t = range.begin; t < range.end; ++t) {
    const std::span<float> key = out.subspan((t - range.begin) * d, d);
    std::fill(key.begin(), key.end(), 0.0F);
    if (t < kSinkCount) {
      // Token 0 carries the lift; the others stand a little behind it.
      const double length = head.sink_length * (1 - 0.1 * static_cast<double>(t));
      AddNormals(noise, t, 0.1, key);
      AddScaled(head.mean_direction, -length, key);
      continue;
    }
    const auto needle = std::lower_bound(needles.begin(), needles.end(), t);
    if (needle != needles.end() && *needle == t) {
      const double s = head.profile.logit_deviation;
      const double lift = noise.Split(1).Uniform(t, 2, 8) / (s * std::sqrt(kNeedleShare));
      AddNormals(noise, t, 0.5, key);
      AddScaled(head.needle_direction, head.needle_length + lift, key);
      AddScaled(head.mean, 1, key);
      continue;
    }
    AddNormals(topics, TopicOf(runs, t), std::sqrt(kTopicShare), key);
    AddNormals(noise, t, std::sqrt(1 - kTopicShare), key);
    AddRecency(head, kRecencyKeyAmplitude, key);
    Rotate(t, key);
    for (const size_t channel : head.outlier_channels) key[channel] *= kOutlierContent;
    AddScaled(head.mean, 1, key);
  }
}

void AttentionWorkload::WriteValues(const Head& head, TokenRange range,
                                    std::span<float> out) const {
  const size_t d = model().head_dim;
  const RandomStream runs = random_.Split(kRunStream);
  const RandomStream topics = head.random.Split(kValueTopicStream);
  const RandomStream noise = head.random.Split(kValueStream);
  for (uint64_t t = range.begin; t < range.end; ++t) {
    const std::span<float> value = out.subspan((t - range.begin) * d, d);
    std::fill(value.begin(), value.end(), 0.0F);
    AddNormals(topics, TopicOf(runs, t), std::sqrt(kValueTopicShare), value);
    AddNormals(noise, t, std::sqrt(1 - kValueTopicShare), value);
    if (t >= kSinkCount) continue;
    for (float& x : value) x *= kSinkValueScale;
  }
}

std::vector<float> AttentionWorkload::HeadKeys(uint32_t layer, uint32_t kv_head,
                                               TokenRange range) const {
  std::vector<float> keys(range.size() * model().head_dim);
  WriteKeys(head(layer, kv_head), range, keys);
  return keys;
}

std::vector<float> AttentionWorkload::HeadValues(uint32_t layer, uint32_t kv_head,
                                                 TokenRange range) const {
  std::vector<float> values(range.size() * model().head_dim);
  WriteValues(head(layer, kv_head), range, values);
  return values;
}

LayerTokens AttentionWorkload::Layer(uint32_t layer, TokenRange range) const {
  constexpr uint64_t kPartTokens = 256;
  const size_t d = model().head_dim;
  const size_t row_bytes = model().row_bytes();
  const size_t heads = model().num_kv_heads;
  LayerTokens tokens;
  tokens.keys.resize(range.size() * heads * row_bytes);
  tokens.values.resize(tokens.keys.size());
  const size_t parts = (range.size() + kPartTokens - 1) / kPartTokens;
  ParallelFor(parts * heads, [&](size_t i) {
    const size_t h = i % heads;
    const uint64_t begin = range.begin + i / heads * kPartTokens;
    const TokenRange part{begin, std::min(begin + kPartTokens, range.end)};
    std::vector<float> rows(part.size() * d);
    const auto encode = [&](std::vector<std::byte>& out) {
      for (uint64_t t = 0; t < part.size(); ++t) {
        const size_t offset = ((part.begin - range.begin + t) * heads + h) * row_bytes;
        Encode(std::span<const float>(rows).subspan(t * d, d), model().dtype,
               std::span<std::byte>(out).subspan(offset, row_bytes));
      }
    };
    WriteKeys(head(layer, static_cast<uint32_t>(h)), part, rows);
    encode(tokens.keys);
    WriteValues(head(layer, static_cast<uint32_t>(h)), part, rows);
    encode(tokens.values);
  });
  return tokens;
}

void AttentionWorkload::WriteQuery(const Head& head, uint32_t query_head, uint64_t position,
                                   std::span<float> out) const {
  const size_t d = model().head_dim;
  const double root = std::sqrt(static_cast<double>(d));
  const double s = head.profile.logit_deviation;
  std::fill(out.begin(), out.end(), 0.0F);
  // Stream 0 is the group's, the others each query head's own.
  const auto add = [&](uint64_t stream, double share) {
    const double weight = std::sqrt(share);
    AddNormals(head.random.Split(kHomeStream), stream, weight * std::sqrt(kHomeShare), out);
    // The walk goes on a circle from one random point to the next.
    const uint64_t knot = position / kWalkTokens;
    const double way = static_cast<double>(position % kWalkTokens) / double{kWalkTokens};
    const SineCosine turn = Turn(way * std::numbers::pi / 2);
    const double walk = weight * std::sqrt((1 - kHomeShare) * (1 - kStepShare));
    const RandomStream walks = head.random.Split(kWalkStream).Split(stream);
    AddNormals(walks, knot, walk * turn.cosine, out);
    AddNormals(walks, knot + 1, walk * turn.sine, out);
    AddNormals(head.random.Split(kStepStream).Split(stream), position,
               weight * std::sqrt((1 - kHomeShare) * kStepShare), out);
  };
  add(0, kGroupShare);
  add(query_head + 1, 1 - kGroupShare);
  for (size_t i = 0; i < d; ++i) out[i] *= query_weights_[i];

  // What the recency part spreads over the bulk is taken from the content, so that the
  // bulk's deviation stays s: noise of the keys in its channels, and the ripple that
  // RoPE leaves far away (a mean of cosines).
  const auto band = static_cast<double>(head.recency_pair_end - head.recency_pair_begin);
  const double lift = head.profile.recency_lift;
  const double noise = lift / (double{kRecencyKeyAmplitude} * std::sqrt(band));
  const double ripple = lift / std::sqrt(2 * band);
  const double content = std::sqrt(std::max(s * s - noise * noise - ripple * ripple, 0.25 * s * s));
  Rotate(position, out);
  RemoveDirection(head.mean_direction, out);
  ScaleTo(content * root, out);
  std::vector<float> recency(d);
  AddRecency(head, lift * root / (double{kRecencyKeyAmplitude} * band), recency);
  Rotate(position, recency);
  RemoveDirection(head.mean_direction, recency);
  AddScaled(recency, 1, out);
  if (AsksForNeedles(position)) {
    for (float& x : out) x *= static_cast<float>(std::sqrt(1 - kNeedleShare));
    AddScaled(head.needle_direction, s * root * std::sqrt(kNeedleShare), out);
  }
  const double own = head.random.Split(kProfileStream).Uniform(8 + query_head % 8, 0.95, 1.05);
  AddScaled(head.mean_direction, -own * kMeanShift * s * root / Norm(head.mean), out);
}

std::vector<float> AttentionWorkload::Queries(uint32_t layer, uint64_t position) const {
  const size_t d = model().head_dim;
  std::vector<float> queries(model().num_query_heads * d);
  for (uint32_t h = 0; h < model().num_query_heads; ++h) {
    WriteQuery(head(layer, h / model().group_size()), h, position,
               std::span<float>(queries).subspan(h * d, d));
  }
  return queries;
}

}  // namespace alaya
