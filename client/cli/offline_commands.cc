// alayactl verify, restore: stores that no server has open. The work is done by the
// program alayadb-offline, which is installed beside this one.

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "client/cli/commands.h"
#include "client/cli/offline_program.h"
#include "client/cli/terminal.h"

namespace alaya::client {
namespace {

using Json = nlohmann::json;

StatusCode CodeNamed(const std::string& name) {
  for (const StatusCode code :
       {StatusCode::kNotFound, StatusCode::kAlreadyExists, StatusCode::kInvalidArgument,
        StatusCode::kFailedPrecondition, StatusCode::kResourceExhausted, StatusCode::kDataLoss,
        StatusCode::kUnavailable}) {
    if (absl::StatusCodeToString(code) == name) return code;
  }
  return StatusCode::kInternal;
}

// Draws progress from lines of alayadb-offline; a new bar where it begins anew.
class ProgressLines {
 public:
  ProgressLines(const CommandLine& line, std::string label)
      : line_(line), label_(std::move(label)) {}

  void Take(const Json& progress) {
    const auto done = progress.value("done_bytes", uint64_t{0});
    const auto total = progress.value("total_bytes", uint64_t{0});
    if (!bar_ || total != total_ || done < done_) {
      bar_.emplace(line_.err, line_.err_is_terminal && !line_.json, label_, total);
    }
    total_ = total;
    done_ = done;
    bar_->Update(done);
  }
  void End() { bar_.reset(); }

 private:
  const CommandLine& line_;
  const std::string label_;
  std::optional<ProgressBar> bar_;
  uint64_t total_ = 0;
  uint64_t done_ = 0;
};

// Runs alayadb-offline and returns its report.
StatusOr<Json> RunWithProgress(const CommandLine& line, const std::string& label,
                               const std::vector<std::string>& arguments) {
  ProgressLines progress(line, label);
  Json report;
  Status error;
  ALAYA_RETURN_IF_ERROR(RunOfflineProgram(arguments, [&](const std::string& text) {
    const Json parsed = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!parsed.is_object()) return;
    if (parsed.contains("progress")) progress.Take(parsed["progress"]);
    if (parsed.contains("report")) report = parsed["report"];
    if (parsed.contains("error")) {
      error = MakeError(CodeNamed(parsed["error"].value("code", "")),
                        parsed["error"].value("message", ""));
    }
  }));
  progress.End();
  ALAYA_RETURN_IF_ERROR(error);
  if (!report.is_object()) return Internal("alayadb-offline ended without a report");
  return report;
}

std::string VerifyText(const Json& report) {
  Table contexts({"CONTEXT", "TENANT", "MODEL", ">TOKENS", ">SIZE", "STATE"});
  std::string damages;
  for (const Json& context : report["contexts"]) {
    const auto id = context.value("context_id", "");
    const Json& found = context["damages"];
    contexts.AddRow({id, context.value("tenant", ""), context.value("model", ""),
                     CountText(context.value("tokens", uint64_t{0})),
                     BytesText(context.value("stored_bytes", uint64_t{0})),
                     found.empty() ? "sound" : "DAMAGED"});
    for (const Json& damage : found) damages += id + ": " + damage.get<std::string>() + "\n";
  }
  std::string text = contexts.Text() + "\n" + CountText(report.value("pages", uint64_t{0})) +
                     " pages, " + BytesText(report.value("read_bytes", uint64_t{0})) + " read";
  if (report.value("is_backup", false)) text += ", files as in the backup's manifest";
  return text + "\n" + damages;
}

Status Verify(const CommandLine& line, const std::string& directory) {
  ALAYA_ASSIGN_OR_RETURN(const Json report,
                         RunWithProgress(line, "verifying", {"verify", directory}));
  line.out << (line.json ? report.dump() + "\n" : VerifyText(report)) << std::flush;
  const auto damaged = report.value("damaged_contexts", uint64_t{0});
  if (damaged == 0) return OkStatus();
  return DataLoss(CountText(damaged) + " of " + CountText(report["contexts"].size()) +
                  " contexts in " + directory + " are damaged");
}

Status Restore(const CommandLine& line, const std::string& backup, const std::string& directory) {
  ALAYA_ASSIGN_OR_RETURN(const Json report,
                         RunWithProgress(line, "restoring", {"restore", backup, directory}));
  line.out << (line.json ? report.dump() + "\n"
                         : BytesText(report.value("bytes", uint64_t{0})) + " restored to " +
                               directory + ", every file as in the backup's manifest\n")
           << std::flush;
  return OkStatus();
}

}  // namespace

void AddOfflineCommands(CLI::App& app, CommandLine& line) {
  CLI::App& verify_app = *app.add_subcommand(
      "verify", "Read all of a data directory or backup that no server has open");
  const auto directory = std::make_shared<std::string>();
  verify_app.add_option("directory", *directory, "On this machine")->required();
  verify_app.footer(
      "Examples:\n  alayactl verify /srv/backups/monday\n  alayactl --json verify data");
  verify_app.callback([&line, directory] {
    line.action = [&line, directory] { return Verify(line, *directory); };
  });

  CLI::App& restore_app =
      *app.add_subcommand("restore", "Make a data directory of a backup; needs no server");
  const auto backup = std::make_shared<std::string>();
  const auto target = std::make_shared<std::string>();
  restore_app.add_option("backup", *backup, "What `alayactl backup` wrote")->required();
  restore_app.add_option("directory", *target, "A new or empty directory")->required();
  restore_app.footer("Example:\n  alayactl restore /srv/backups/monday /var/lib/alayadb");
  restore_app.callback([&line, backup, target] {
    line.action = [&line, backup, target] { return Restore(line, *backup, *target); };
  });
}

}  // namespace alaya::client
