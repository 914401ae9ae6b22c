#include "client/cli/completion.h"

#include <string_view>
#include <vector>

namespace alaya::client {
namespace {

// "/context/import"; of the program "".
std::string PlaceOf(const CommandDescription& command) {
  std::string place;
  for (const std::string& word : command.path) place += "/" + word;
  return place;
}

// One word of a POSIX shell and of fish.
std::string Quoted(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

const CommandDescription* Find(std::span<const CommandDescription> commands,
                               const std::string& place) {
  for (const CommandDescription& command : commands) {
    if (PlaceOf(command) == place) return &command;
  }
  return nullptr;
}

struct Candidate {
  std::string word;
  std::string text;
};

// The command's own subcommands and options, and the program's options, which may stand
// anywhere.
std::vector<Candidate> CandidatesOf(const CommandDescription& command,
                                    std::span<const CommandDescription> commands) {
  std::vector<Candidate> candidates;
  for (const std::string& name : command.subcommands) {
    const CommandDescription* child = Find(commands, PlaceOf(command) + "/" + name);
    candidates.push_back({name, child == nullptr ? "" : child->text});
  }
  const auto add_options = [&candidates](const CommandDescription& of, bool with_help) {
    for (const OptionDescription& option : of.options) {
      for (const std::string& name : option.names) {
        if (name.starts_with("--") && (with_help || name != "--help")) {
          candidates.push_back({name, option.text});
        }
      }
    }
  };
  add_options(command, /*with_help=*/true);
  if (!command.path.empty()) add_options(commands.front(), /*with_help=*/false);
  return candidates;
}

// "/model | /model/list", of all commands but the program.
std::string Places(std::span<const CommandDescription> commands, std::string_view separator) {
  std::string places;
  for (const CommandDescription& command : commands.subspan(1)) {
    places += (places.empty() ? "" : std::string(separator)) + PlaceOf(command);
  }
  return places;
}

std::string BashScript(std::span<const CommandDescription> commands) {
  std::string script =
      "# bash completion of alayactl; written by `alayactl completion bash`\n"
      "_alayactl() {\n"
      "  local place='' word words=''\n"
      "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
      "    case \"$place/$word\" in\n      " +
      Places(commands, " | ") +
      ")\n        place+=\"/$word\" ;;\n"
      "    esac\n"
      "  done\n"
      "  case \"$place\" in\n";
  for (const CommandDescription& command : commands) {
    std::string words;
    for (const Candidate& candidate : CandidatesOf(command, commands)) {
      words += (words.empty() ? "" : " ") + candidate.word;
    }
    script += "    " + Quoted(PlaceOf(command)) + ") words=" + Quoted(words) + " ;;\n";
  }
  return script +
         "  esac\n"
         "  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
         "}\n"
         "complete -o default -F _alayactl alayactl\n";
}

// zsh separates word and description with a colon.
std::string ZshCandidate(const Candidate& candidate) {
  return Quoted(candidate.word + ":" + candidate.text);
}

std::string ZshScript(std::span<const CommandDescription> commands) {
  std::string script =
      "#compdef alayactl\n"
      "# zsh completion of alayactl; written by `alayactl completion zsh`\n"
      "_alayactl() {\n"
      "  local place='' word\n"
      "  local -a candidates\n"
      "  for word in ${words[2,CURRENT-1]}; do\n"
      "    case \"$place/$word\" in\n      " +
      Places(commands, " | ") +
      ")\n        place+=\"/$word\" ;;\n"
      "    esac\n"
      "  done\n"
      "  case \"$place\" in\n";
  for (const CommandDescription& command : commands) {
    script += "    " + Quoted(PlaceOf(command)) + ") candidates=(\n";
    for (const Candidate& candidate : CandidatesOf(command, commands)) {
      script += "      " + ZshCandidate(candidate) + "\n";
    }
    script += "    ) ;;\n";
  }
  return script +
         "  esac\n"
         "  _describe alayactl candidates || _files\n"
         "}\n"
         "if [[ $funcstack[1] == _alayactl ]]; then _alayactl \"$@\"; else "
         "compdef _alayactl alayactl; fi\n";
}

std::string FishScript(std::span<const CommandDescription> commands) {
  std::string script =
      "# fish completion of alayactl; written by `alayactl completion fish`\n"
      "function __alayactl_place\n"
      "  set -l place alayactl\n"
      "  for word in (commandline -opc)[2..-1]\n"
      "    switch \"$place/$word\"\n"
      "      case";
  for (const CommandDescription& command : commands.subspan(1)) {
    script += " alayactl" + PlaceOf(command);
  }
  script +=
      "\n        set place \"$place/$word\"\n"
      "    end\n"
      "  end\n"
      "  echo $place\n"
      "end\n";
  for (const CommandDescription& command : commands) {
    const std::string condition = Quoted("test (__alayactl_place) = alayactl" + PlaceOf(command));
    for (const Candidate& candidate : CandidatesOf(command, commands)) {
      const bool is_option = candidate.word.starts_with("--");
      script += "complete -c alayactl -n " + condition +
                (is_option ? " -l " + candidate.word.substr(2) : " -f -a " + candidate.word) +
                " -d " + Quoted(candidate.text) + "\n";
    }
  }
  return script;
}

}  // namespace

std::string CompletionScript(Shell shell, std::span<const CommandDescription> commands) {
  switch (shell) {
    case Shell::kBash:
      return BashScript(commands);
    case Shell::kZsh:
      return ZshScript(commands);
    case Shell::kFish:
      return FishScript(commands);
  }
  return "";
}

}  // namespace alaya::client
