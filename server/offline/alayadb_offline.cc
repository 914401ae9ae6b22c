// alayadb-offline: what is done to stores that no server has open.
//
//   alayadb-offline verify DIRECTORY
//   alayadb-offline restore BACKUP DIRECTORY
//
// For programs, `alayactl verify` and `alayactl restore` above all: standard output has
// one JSON object a line, some {"progress": {"done_bytes", "total_bytes"}} and at the end
// {"report": {...}} or {"error": {"code", "message"}}. Exit codes: 0 done and sound,
// 1 refused or damaged, 2 wrong usage.

#include <sys/stat.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "storage/context/backup.h"
#include "storage/context/store_check.h"

namespace alaya {
namespace {

using Json = nlohmann::json;

constexpr int kExitDone = 0;
constexpr int kExitDamaged = 1;
constexpr int kExitUsage = 2;

void PrintLine(const Json& line) {
  // Ids and paths may hold bytes that are no UTF-8.
  constexpr auto kReplace = Json::error_handler_t::replace;
  std::fputs((line.dump(-1, ' ', false, kReplace) + "\n").c_str(), stdout);
  std::fflush(stdout);
}

int PrintError(const Status& status) {
  PrintLine({{"error",
              {{"code", absl::StatusCodeToString(status.code())}, {"message", Message(status)}}}});
  return kExitDamaged;
}

// Ten lines a second are enough for a progress bar.
ByteProgress PrintProgress() {
  constexpr std::chrono::milliseconds kInterval{100};
  return [last = std::chrono::steady_clock::time_point(), kInterval](uint64_t done,
                                                                     uint64_t total) mutable {
    const auto now = std::chrono::steady_clock::now();
    if (now - last < kInterval && done < total) return;
    last = now;
    PrintLine({{"progress", {{"done_bytes", done}, {"total_bytes", total}}}});
  };
}

int Verify(const std::string& directory) {
  const bool is_backup = IsBackup(directory);
  // Files first: a store that was checked page by page may still differ from the backup
  // that was taken.
  if (is_backup) {
    if (const Status status = VerifyBackup(directory, PrintProgress()); !status.ok()) {
      return PrintError(status);
    }
  }
  const auto report = CheckStore(directory, PrintProgress(), /*log=*/nullptr);
  if (!report.ok()) return PrintError(report.status());
  Json contexts = Json::array();
  for (const CheckedContext& context : report->contexts) {
    contexts.push_back({{"tenant", context.tenant},
                        {"context_id", context.id},
                        {"model", context.model},
                        {"tokens", context.token_count},
                        {"stored_bytes", context.stored_bytes},
                        {"damages", context.damages}});
  }
  const uint64_t damaged = report->damaged_context_count();
  PrintLine({{"report",
              {{"directory", directory},
               {"is_backup", is_backup},
               {"pages", report->page_count},
               {"read_bytes", report->read_bytes},
               {"damaged_contexts", damaged},
               {"contexts", contexts}}}});
  return damaged == 0 ? kExitDone : kExitDamaged;
}

int Restore(const std::string& backup, const std::string& directory) {
  const auto bytes = RestoreBackup(backup, directory, PrintProgress());
  if (!bytes.ok()) return PrintError(bytes.status());
  PrintLine({{"report", {{"backup", backup}, {"directory", directory}, {"bytes", *bytes}}}});
  return kExitDone;
}

int Main(const std::vector<std::string>& arguments) {
  // Stored KV is nobody else's business.
  umask(S_IRWXG | S_IRWXO);
  if (arguments.size() == 2 && arguments[0] == "verify") return Verify(arguments[1]);
  if (arguments.size() == 3 && arguments[0] == "restore") {
    return Restore(arguments[1], arguments[2]);
  }
  std::fputs(
      "usage: alayadb-offline verify DIRECTORY\n"
      "       alayadb-offline restore BACKUP DIRECTORY\n",
      stderr);
  return kExitUsage;
}

}  // namespace
}  // namespace alaya

// JSON throws where it is used wrongly; its bytes are made UTF-8 above.
// NOLINTNEXTLINE(bugprone-exception-escape)
int main(int argc, char** argv) { return alaya::Main({argv + 1, argv + argc}); }
