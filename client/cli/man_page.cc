#include "client/cli/man_page.h"

#include <string_view>

namespace alaya::client {
namespace {

// Text in which roff sees no request and no escape, and hyphens stay what was typed.
std::string Escaped(std::string_view text) {
  std::string escaped;
  bool line_begins = true;
  for (const char c : text) {
    if (line_begins && (c == '.' || c == '\'')) escaped += "\\&";
    line_begins = c == '\n';
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string Preformatted(std::string_view text) { return ".PP\n.nf\n" + Escaped(text) + "\n.fi\n"; }

void AppendOptions(std::span<const OptionDescription> options, std::string& page) {
  for (const OptionDescription& option : options) {
    std::string names;
    for (const std::string& name : option.names) {
      names += (names.empty() ? "" : ", ") + ("\\fB" + Escaped(name) + "\\fR");
    }
    if (!option.value.empty()) names += " \\fI" + Escaped(option.value) + "\\fR";
    page += ".TP\n" + names + (option.required ? " (required)" : "") + "\n" + Escaped(option.text) +
            "\n";
  }
}

std::string Title(const CommandDescription& command) {
  std::string title = "alayactl";
  for (const std::string& word : command.path) title += " " + word;
  for (const OptionDescription& positional : command.positionals) {
    title += " " + positional.names.front();
  }
  return title;
}

}  // namespace

std::string ManPage(std::span<const CommandDescription> commands) {
  const CommandDescription& program = commands.front();
  std::string page =
      ".\\\" Written by `alayactl man`.\n"
      ".TH ALAYACTL 1\n"
      ".SH NAME\nalayactl \\- operate an AlayaDB server\n"
      ".SH SYNOPSIS\n.B alayactl\n[\\fIOPTIONS\\fR] \\fICOMMAND\\fR\n"
      ".SH DESCRIPTION\n" +
      Escaped(program.text) + "\n.SH OPTIONS\nThey may stand anywhere on the line.\n";
  AppendOptions(program.options, page);
  page += ".SH COMMANDS\n";
  for (const CommandDescription& command : commands.subspan(1)) {
    if (!command.subcommands.empty()) continue;
    page += ".SS \"" + Escaped(Title(command)) + "\"\n" + Escaped(command.text) + "\n";
    AppendOptions(command.positionals, page);
    for (const OptionDescription& option : command.options) {
      if (option.names.back() != "--help") AppendOptions({&option, 1}, page);
    }
    if (!command.footer.empty()) page += Preformatted(command.footer);
  }
  return page + ".SH \"EXIT STATUS AND EXAMPLES\"\n" + Preformatted(program.footer) +
         ".SH SEE ALSO\nalayadb\\-server \\-\\-help\n";
}

}  // namespace alaya::client
