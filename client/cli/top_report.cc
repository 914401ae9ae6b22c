#include "client/cli/top_report.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <tuple>
#include <utility>

#include "client/cli/attention_report.h"
#include "client/cli/terminal.h"

namespace alaya::client {
namespace {

// Growth of counters between two samples.
class Rates {
 public:
  Rates(const TopSample& now, const std::optional<TopSample>& before) {
    if (before.has_value()) {
      seconds_ = std::chrono::duration<double>(now.time - before->time).count();
    }
  }

  std::string Text(uint64_t now, std::optional<uint64_t> before) const {
    if (!before.has_value() || seconds_ <= 0 || now < *before) return "-";
    const double rate = static_cast<double>(now - *before) / seconds_;
    return CountText(static_cast<uint64_t>(std::llround(rate))) + "/s";
  }

 private:
  double seconds_ = 0;
};

const pb::TierStats* FindTier(const std::optional<TopSample>& sample, pb::Tier tier) {
  if (!sample.has_value()) return nullptr;
  for (const pb::TierStats& each : sample->stats.tiers()) {
    if (each.tier() == tier) return &each;
  }
  return nullptr;
}

std::string TiersText(const TopSample& now, const std::optional<TopSample>& before,
                      const Rates& rates) {
  Table table({"TIER", ">USED", ">CAPACITY", ">FULL", ">PINNED", ">HITS", ">MISSES", ">EVICTIONS"});
  for (const pb::TierStats& tier : now.stats.tiers()) {
    const pb::TierStats* old = FindTier(before, tier.tier());
    const auto rate = [&](uint64_t (pb::TierStats::*counter)() const) {
      return rates.Text((tier.*counter)(),
                        old == nullptr ? std::nullopt : std::optional((old->*counter)()));
    };
    table.AddRow({TierText(tier.tier()), BytesText(tier.used_bytes()),
                  tier.capacity_bytes() == 0 ? "unlimited" : BytesText(tier.capacity_bytes()),
                  PercentText(static_cast<double>(tier.used_bytes()),
                              static_cast<double>(tier.capacity_bytes())),
                  BytesText(tier.pinned_bytes()), rate(&pb::TierStats::hits),
                  rate(&pb::TierStats::misses), rate(&pb::TierStats::evictions)});
  }
  return table.Text();
}

// The items of a stage since an earlier look, or since the server's start.
class StageItems {
 public:
  StageItems(const pb::AttendStageStats& now, const pb::AttendStageStats* before) : now_(now) {
    // A server that was started anew counts from zero again.
    if (before != nullptr && before->items() <= now.items() &&
        before->bucket_items_size() == now.bucket_items_size()) {
      before_ = before;
    }
  }

  uint64_t count() const { return now_.items() - (before_ == nullptr ? 0 : before_->items()); }

  std::string MeanText() const {
    if (count() == 0) return "-";
    const double seconds = now_.seconds() - (before_ == nullptr ? 0 : before_->seconds());
    return MicrosecondsText(1e6 * seconds / static_cast<double>(count()));
  }

  // As Prometheus estimates quantiles: items lie evenly in their bucket.
  std::string QuantileText(double share) const {
    const double rank = share * static_cast<double>(count());
    double lower = 0;
    double below = 0;
    for (int i = 0; i < now_.bucket_items_size() && count() > 0; ++i) {
      const double upper = now_.bucket_upper_seconds(i);
      const double within = BucketItems(i);
      if (within >= rank) {
        if (std::isinf(upper)) return "> " + MicrosecondsText(1e6 * lower);
        const double part = within > below ? (rank - below) / (within - below) : 1;
        return MicrosecondsText(1e6 * (lower + part * (upper - lower)));
      }
      lower = upper;
      below = within;
    }
    return "-";
  }

 private:
  double BucketItems(int i) const {
    return static_cast<double>(now_.bucket_items(i) -
                               (before_ == nullptr ? 0 : before_->bucket_items(i)));
  }

  const pb::AttendStageStats& now_;
  const pb::AttendStageStats* before_ = nullptr;
};

const pb::AttendStageStats* FindStage(const std::optional<TopSample>& sample,
                                      const std::string& stage) {
  if (!sample.has_value()) return nullptr;
  for (const pb::AttendStageStats& each : sample->stats.attend_stages()) {
    if (each.stage() == stage) return &each;
  }
  return nullptr;
}

std::string StagesText(const TopSample& now, const std::optional<TopSample>& before,
                       const Rates& rates) {
  Table table({"ATTEND STAGE", ">ITEMS", ">MEAN", ">P50", ">P99"});
  for (const pb::AttendStageStats& stage : now.stats.attend_stages()) {
    const pb::AttendStageStats* old = FindStage(before, stage.stage());
    const StageItems items(stage, old);
    table.AddRow(
        {stage.stage(),
         rates.Text(stage.items(), old == nullptr ? std::nullopt : std::optional(old->items())),
         items.MeanText(), items.QuantileText(0.5), items.QuantileText(0.99)});
  }
  return table.Text();
}

std::string SessionsText(const TopSample& now, size_t session_count_max) {
  std::vector<const pb::Session*> sessions;
  sessions.reserve(now.sessions.size());
  for (const pb::Session& session : now.sessions) sessions.push_back(&session);
  const auto last_use = [](const pb::Session* session) {
    return std::tuple(session->last_use_time().seconds(), session->last_use_time().nanos());
  };
  std::ranges::stable_sort(sessions, std::greater(), last_use);
  const size_t left_out = sessions.size() - std::min(sessions.size(), session_count_max);
  sessions.resize(sessions.size() - left_out);
  Table table({"SESSION", "MODEL", "CONTEXT", ">REUSED", ">TAIL", ">TAIL MEMORY", "LAST USE"});
  for (const pb::Session* session : sessions) {
    table.AddRow({session->session_id(), session->model(), session->context_id(),
                  CountText(session->reused_tokens()), CountText(session->tail_tokens()),
                  BytesText(session->tail_bytes()), TimeText(session->last_use_time().seconds())});
  }
  return table.Text() +
         (left_out == 0 ? "" : "and " + CountText(left_out) + " used less recently\n");
}

}  // namespace

std::string TopText(const TopSample& now, const std::optional<TopSample>& before,
                    size_t session_count_max) {
  const Rates rates(now, before);
  const pb::GetStatsResponse& stats = now.stats;
  const auto rate = [&](uint64_t (pb::GetStatsResponse::*counter)() const) {
    return rates.Text((stats.*counter)(), before.has_value()
                                              ? std::optional((before->stats.*counter)())
                                              : std::nullopt);
  };
  const std::string text = FieldsText({
      {"Up", SecondsText(stats.uptime_seconds())},
      {"Answered in",
       MicrosecondsText(std::chrono::duration<double, std::micro>(now.round_trip).count())},
      {"Resident memory", BytesText(stats.process_resident_bytes())},
      {"Stored",
       CountText(stats.contexts()) + " contexts, " + CountText(stats.stored_tokens()) + " tokens"},
      {"Sessions", CountText(stats.sessions()) + ", tails " + BytesText(stats.tail_bytes())},
      {"Prefix lookups", rate(&pb::GetStatsResponse::lookup_tokens) + " tokens, found " +
                             rate(&pb::GetStatsResponse::hit_tokens)},
      {"Index builds", CountText(stats.index_builds().running()) + " running, " +
                           CountText(stats.index_builds().pending()) + " pending"},
  });
  return text + "\n" + TiersText(now, before, rates) + "\n" + StagesText(now, before, rates) +
         "\n" + SessionsText(now, session_count_max);
}

}  // namespace alaya::client
