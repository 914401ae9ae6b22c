#include "server/config/config_loader.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <deque>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include "server/access/api_key.h"
#include "server/config/option_table.h"
#include "toml++/toml.h"

namespace alaya {
namespace {

constexpr std::string_view kEnvironmentPrefix = "ALAYA_";
constexpr char kConfigVariable[] = "ALAYA_CONFIG";
// For clients on the same machine: which server to call, and how.
constexpr char kClientVariable[] = "ALAYA_SERVER";
constexpr std::string_view kClientPrefix = "ALAYA_CLIENT_";
// [tenants.NAME] holds what the options of this prefix say for all tenants.
constexpr std::string_view kTenantsTable = "tenants";
constexpr std::string_view kTenantPrefix = "tenant_";

using Texts = std::vector<std::string>;

std::string Joined(const Texts& texts) {
  std::string joined;
  for (const std::string& text : texts) joined += (joined.empty() ? "" : ", ") + text;
  return joined;
}

const ConfigOption* FindOption(std::string_view key) {
  for (const ConfigOption& option : ConfigOptions()) {
    if (option.key == key) return &option;
  }
  return nullptr;
}

Status UnknownName(std::string_view origin, std::string_view name, const Texts& known) {
  return InvalidArgument(std::string(origin) + ": unknown " + std::string(name) +
                         "; did you mean " + NearestName(name, known) + "?");
}

// False for bytes that TOML, which is UTF-8, cannot hold: what is set could not be printed.
bool IsPrintable(const ConfigOption& option, const ServerConfig& config) {
  try {
    return !toml::parse("value = " + option.Toml(config)).empty();
  } catch (const toml::parse_error&) {
    return false;
  }
}

Status SetOption(const ConfigOption& option, const Texts& texts, const std::string& origin,
                 LoadedConfig* loaded) {
  if (texts.empty() && option.kind != ConfigOption::Kind::kList) {
    return InvalidArgument(origin + ": " + option.key + " has no value");
  }
  if (const Status status = option.set(texts, &loaded->config); !status.ok()) {
    return InvalidArgument(origin + ": " + option.key + " = \"" + Joined(texts) +
                           "\": " + std::string(Message(status)));
  }
  if (!IsPrintable(option, loaded->config)) {
    return InvalidArgument(origin + ": " + option.key + " is not text in UTF-8");
  }
  loaded->origins[option.key] = origin;
  return OkStatus();
}

// A TOML scalar as the text that a flag would have; nothing for other types.
std::optional<std::string> ScalarText(const toml::node& node) {
  if (const auto text = node.value_exact<std::string>()) return *text;
  if (const auto number = node.value_exact<int64_t>()) return std::to_string(*number);
  if (const auto flag = node.value_exact<bool>()) return *flag ? "true" : "false";
  return std::nullopt;
}

StatusOr<Texts> NodeTexts(const ConfigOption& option, const toml::node& node) {
  Texts texts;
  const bool is_list = option.kind == ConfigOption::Kind::kList;
  if (is_list && node.is_array()) {
    for (const toml::node& element : *node.as_array()) {
      const auto text = ScalarText(element);
      if (!text) return InvalidArgument("an array of strings is needed");
      texts.push_back(*text);
    }
    return texts;
  }
  const auto text = ScalarText(node);
  if (!text) {
    return InvalidArgument(is_list ? "an array of strings is needed"
                                   : "a string, a whole number, true or false is needed");
  }
  return Texts{*text};
}

// Leaves the tables of tenants in `tenants`: they count last.
Status ApplyFile(const std::string& path, LoadedConfig* loaded, toml::table* tenants) {
  toml::table table;
  try {
    table = toml::parse_file(path);
  } catch (const toml::parse_error& error) {
    std::ostringstream where;
    where << error.source().begin;
    return InvalidArgument(path + ": " + std::string(error.description()) + " (" + where.str() +
                           ")");
  }
  Texts known;
  for (const ConfigOption& option : ConfigOptions()) known.push_back(option.key);
  for (const auto& [name, node] : table) {
    const std::string_view key = name.str();
    if (key == kTenantsTable) {
      if (!node.is_table()) return InvalidArgument(path + ": tenants: a table of tables is needed");
      *tenants = *node.as_table();
      continue;
    }
    const ConfigOption* option = FindOption(key);
    if (option == nullptr) return UnknownName(path, key, known);
    const StatusOr<Texts> texts = NodeTexts(*option, node);
    if (!texts.ok()) return Annotate(texts.status(), path + ": " + option->key);
    ALAYA_RETURN_IF_ERROR(SetOption(*option, *texts, path, loaded));
  }
  return OkStatus();
}

// [tenants.NAME]: the tenant options for one tenant; what it leaves out is as for all others.
Status ApplyTenant(const std::string& origin, const std::string& name, const toml::node& node,
                   LoadedConfig* loaded) {
  ALAYA_RETURN_IF_ERROR(CheckTenantName(name));
  if (!node.is_table()) return InvalidArgument(origin + ": a table is needed");
  TenantLimits& limits = loaded->config.engine.tenant_limits.named[name];
  limits = loaded->config.engine.tenant_limits.others;
  Texts known;
  for (const ConfigOption& option : ConfigOptions()) {
    if (option.key.starts_with(kTenantPrefix))
      known.push_back(option.key.substr(kTenantPrefix.size()));
  }
  for (const auto& [key, value] : *node.as_table()) {
    const std::string_view limit = key.str();
    const ConfigOption* option = FindOption(std::string(kTenantPrefix) + std::string(limit));
    if (option == nullptr) return UnknownName(origin, limit, known);
    const auto text = ScalarText(value);
    if (!text)
      return InvalidArgument(origin + "." + std::string(limit) + ": a string or number is needed");
    // The option itself is for all tenants: set it in a copy, and take the value from there.
    ServerConfig copy;
    copy.engine.tenant_limits.others = limits;
    if (const Status status = option->set({*text}, &copy); !status.ok()) {
      return Annotate(status, origin + "." + std::string(limit) + " = \"" + *text + "\"");
    }
    limits = copy.engine.tenant_limits.others;
  }
  return OkStatus();
}

Status ApplyTenants(const std::string& path, const toml::table& tenants, LoadedConfig* loaded) {
  for (const auto& [name, node] : tenants) {
    const std::string tenant(name.str());
    ALAYA_RETURN_IF_ERROR(ApplyTenant(path + ": tenants." + tenant, tenant, node, loaded));
  }
  return OkStatus();
}

Texts SplitList(std::string_view text) {
  Texts parts;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    parts.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return parts;
}

Status ApplyEnvironment(const Environment& environment, LoadedConfig* loaded) {
  Texts known = {kConfigVariable};
  for (const ConfigOption& option : ConfigOptions()) known.push_back(option.environment());
  for (const auto& [name, value] : environment) {
    if (!name.starts_with(kEnvironmentPrefix) || name == kConfigVariable ||
        name == kClientVariable || name.starts_with(kClientPrefix)) {
      continue;
    }
    const auto option =
        std::find_if(ConfigOptions().begin(), ConfigOptions().end(),
                     [&name](const ConfigOption& entry) { return entry.environment() == name; });
    if (option == ConfigOptions().end()) return UnknownName("environment", name, known);
    const bool is_list = option->kind == ConfigOption::Kind::kList;
    ALAYA_RETURN_IF_ERROR(
        SetOption(*option, is_list ? SplitList(value) : Texts{value}, name, loaded));
  }
  return OkStatus();
}

// The command line: what was given for each key, and the flags that are no settings.
struct CommandLine {
  std::deque<std::pair<const ConfigOption*, Texts>> settings;
  std::string config_path;
  bool check_config = false;
  bool print_config = false;
  bool print_defaults = false;
  bool print_version = false;
};

std::string HelpText(const ConfigOption& option) {
  const std::string value = Joined(option.get(ServerConfig()));
  return option.help + "\n(default " + (value.empty() ? "none" : value) + "; " +
         option.environment() + ")";
}

void DeclareFlags(CLI::App* app, CommandLine* line) {
  app->set_help_flag("-h,--help", "print this and exit");
  app->add_flag("--version", line->print_version, "print version and build and exit");
  app->add_option("--config", line->config_path,
                  "TOML file with any of the keys below, '-' written as '_'\n(" +
                      std::string(kConfigVariable) + ")")
      ->type_name("PATH");
  app->add_flag("--check-config", line->check_config,
                "check the configuration and exit: 0 if it is good, 2 if not");
  app->add_flag("--print-config", line->print_config,
                "print the configuration as TOML, with each value's origin, and exit");
  app->add_flag("--print-defaults", line->print_defaults,
                "print a TOML file with every key, explained, and exit");
  for (const ConfigOption& option : ConfigOptions()) {
    Texts& texts = line->settings.emplace_back(&option, Texts{}).second;
    CLI::Option* flag = app->add_option(option.flag(), texts, HelpText(option));
    flag->group(option.group)->type_name(option.value_name);
    if (option.kind == ConfigOption::Kind::kFlag) {
      flag->expected(0, 1)->default_str("true");
    } else {
      flag->expected(1);
      flag->take_all();
    }
  }
}

Status ParseFlags(const Texts& arguments, CLI::App* app) {
  Texts known = {"--help",         "--version",      "--config",
                 "--check-config", "--print-config", "--print-defaults"};
  for (const ConfigOption& option : ConfigOptions()) known.push_back(option.flag());
  // CLI11 would report an unknown flag without a suggestion.
  for (const std::string& argument : arguments) {
    const std::string name = argument.substr(0, argument.find('='));
    if (!name.starts_with("--") || name == "--") continue;
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return UnknownName("command line", name, known);
    }
  }
  try {
    Texts reversed(arguments.rbegin(), arguments.rend());
    app->parse(std::move(reversed));
  } catch (const CLI::ParseError& error) {
    return InvalidArgument(std::string("command line: ") + error.what() +
                           "; --help lists what is allowed");
  }
  return OkStatus();
}

Status ApplyFlags(const CommandLine& line, LoadedConfig* loaded) {
  for (const auto& [option, texts] : line.settings) {
    if (texts.empty()) continue;
    if (texts.size() > 1 && option->kind != ConfigOption::Kind::kList) {
      return InvalidArgument("command line: " + option->flag() + " is given " +
                             std::to_string(texts.size()) + " times, once is allowed");
    }
    ALAYA_RETURN_IF_ERROR(SetOption(*option, texts, option->flag(), loaded));
  }
  return OkStatus();
}

}  // namespace

Environment ReadEnvironment() {
  Environment environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return environment;
}

StatusOr<LoadedConfig> LoadConfig(const std::vector<std::string>& arguments,
                                  const Environment& environment, const std::string& version) {
  CLI::App app(
      "AlayaDB server: stores KV caches and computes attention over them, over gRPC.\n"
      "Settings: defaults < --config file < environment < flags.",
      "alayadb-server");
  CommandLine line;
  DeclareFlags(&app, &line);
  LoadedConfig loaded;
  if (std::any_of(arguments.begin(), arguments.end(),
                  [](const std::string& text) { return text == "-h" || text == "--help"; })) {
    loaded.text_to_print = app.help();
    return loaded;
  }
  ALAYA_RETURN_IF_ERROR(ParseFlags(arguments, &app));
  if (line.print_version) {
    loaded.text_to_print = version + "\n";
    return loaded;
  }
  if (line.print_defaults) {
    loaded.text_to_print = SampleConfig();
    return loaded;
  }
  const auto variable = environment.find(kConfigVariable);
  if (line.config_path.empty() && variable != environment.end()) {
    line.config_path = variable->second;
  }
  toml::table tenants;
  if (!line.config_path.empty())
    ALAYA_RETURN_IF_ERROR(ApplyFile(line.config_path, &loaded, &tenants));
  ALAYA_RETURN_IF_ERROR(ApplyEnvironment(environment, &loaded));
  ALAYA_RETURN_IF_ERROR(ApplyFlags(line, &loaded));
  ALAYA_RETURN_IF_ERROR(ApplyTenants(line.config_path, tenants, &loaded));
  ALAYA_RETURN_IF_ERROR(Validate(loaded.config));
  loaded.check_only = line.check_config;
  loaded.print_only = line.print_config;
  return loaded;
}

std::string PrintConfig(const LoadedConfig& loaded) {
  std::string text;
  for (const ConfigOption& option : ConfigOptions()) {
    const auto origin = loaded.origins.find(option.key);
    text += option.key + " = " + option.Toml(loaded.config) + "  # " +
            (origin == loaded.origins.end() ? "default" : "from " + origin->second) + "\n";
  }
  for (const auto& [tenant, limits] : loaded.config.engine.tenant_limits.named) {
    ServerConfig copy;
    copy.engine.tenant_limits.others = limits;
    text += "\n[" + std::string(kTenantsTable) + ".\"" + tenant + "\"]\n";
    for (const ConfigOption& option : ConfigOptions()) {
      if (!option.key.starts_with(kTenantPrefix)) continue;
      text += option.key.substr(kTenantPrefix.size()) + " = " + option.Toml(copy) + "\n";
    }
  }
  return text;
}

std::string SampleConfig() {
  std::string text =
      "# Configuration of alayadb-server, with the defaults of every key.\n"
      "#\n"
      "# Use it with --config; the environment (ALAYA_DATA_DIR) and flags (--data-dir) win over\n"
      "# it. Bytes: plain or with KiB, MiB, GiB, TiB. Times: with ms, s, m, h.\n";
  std::string group;
  for (const ConfigOption& option : ConfigOptions()) {
    if (option.group != group) text += "\n## " + option.group + "\n";
    group = option.group;
    text += "\n# " + option.help + "\n" + option.key + " = " + option.Toml(ServerConfig()) + "\n";
  }
  text +=
      "\n# One tenant's own limits; what is left out is as for every tenant.\n"
      "# [tenants.team-a]\n# max_sessions = 64\n# max_stored_bytes = \"100GiB\"\n";
  return text;
}

}  // namespace alaya
