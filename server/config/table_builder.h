// Builds the table of options: one call an option, by the kind of its value.

#ifndef ALAYA_SERVER_CONFIG_TABLE_BUILDER_H_
#define ALAYA_SERVER_CONFIG_TABLE_BUILDER_H_

#include <string>
#include <utility>
#include <vector>

#include "server/config/option_table.h"
#include "server/config/value_text.h"

namespace alaya {

using ConfigTexts = std::vector<std::string>;

// Adds options whose values are members of the configuration, found by `field`, a
// function from ServerConfig& to a reference.
class TableBuilder {
 public:
  void Group(std::string name) { group_ = std::move(name); }

  template <typename Field>
  void Text(std::string key, std::string value_name, Field field, std::string help) {
    ConfigOption& option = Add(std::move(key), std::move(value_name), std::move(help));
    option.set = [field](const ConfigTexts& texts, ServerConfig* config) {
      field(*config) = texts.front();
      return OkStatus();
    };
    option.get = [field](const ServerConfig& config) { return ConfigTexts{field(config)}; };
  }

  template <typename Field>
  void Bytes(std::string key, uint64_t least, uint64_t most, Field field, std::string help) {
    ConfigOption& option = Add(std::move(key), "BYTES", std::move(help));
    option.set = [field, least, most](const ConfigTexts& texts, ServerConfig* config) -> Status {
      ALAYA_ASSIGN_OR_RETURN(const uint64_t value, ParseBytes(texts.front()));
      if (value < least || value > most) {
        return InvalidArgument("allowed is " + BytesText(least) + " to " + BytesText(most));
      }
      field(*config) = value;
      return OkStatus();
    };
    option.get = [field](const ServerConfig& config) {
      return ConfigTexts{BytesText(field(config))};
    };
  }

  template <typename Field>
  void Count(std::string key, uint64_t least, uint64_t most, Field field, std::string help) {
    ConfigOption& option = Add(std::move(key), "COUNT", std::move(help));
    option.is_bare = true;
    option.set = [field, least, most](const ConfigTexts& texts, ServerConfig* config) -> Status {
      ALAYA_ASSIGN_OR_RETURN(const uint64_t value, ParseCount(texts.front()));
      if (value < least || value > most) {
        return InvalidArgument("allowed is " + std::to_string(least) + " to " +
                               std::to_string(most));
      }
      auto& member = field(*config);
      member = static_cast<std::decay_t<decltype(member)>>(value);
      return OkStatus();
    };
    option.get = [field](const ServerConfig& config) {
      return ConfigTexts{std::to_string(field(config))};
    };
  }

  template <typename Field>
  void Duration(std::string key, Field field, std::string help) {
    AddDuration(std::move(key), field, std::move(help), /*may_be_zero=*/false);
  }
  // The same; 0 is for never.
  template <typename Field>
  void DurationOrZero(std::string key, Field field, std::string help) {
    AddDuration(std::move(key), field, std::move(help), /*may_be_zero=*/true);
  }
  template <typename Field>
  void AddDuration(std::string key, Field field, std::string help, bool may_be_zero) {
    ConfigOption& option = Add(std::move(key), "TIME", std::move(help));
    option.set = [field, may_be_zero](const ConfigTexts& texts, ServerConfig* config) -> Status {
      ALAYA_ASSIGN_OR_RETURN(const auto duration, ParseDuration(texts.front()));
      if (duration.count() == 0 && !may_be_zero) return InvalidArgument("it must be above 0");
      field(*config) = duration;
      return OkStatus();
    };
    option.get = [field](const ServerConfig& config) {
      return ConfigTexts{DurationText(field(config))};
    };
  }

  template <typename Field, typename Value>
  void Choice(std::string key, std::vector<std::pair<std::string, Value>> choices, Field field,
              std::string help) {
    std::string names;
    for (const auto& [name, value] : choices) names += (names.empty() ? "" : "|") + name;
    ConfigOption& option = Add(std::move(key), names, std::move(help));
    option.set = [field, choices, names](const ConfigTexts& texts, ServerConfig* config) {
      for (const auto& [name, value] : choices) {
        if (name != texts.front()) continue;
        field(*config) = value;
        return OkStatus();
      }
      return InvalidArgument("allowed is " + names);
    };
    option.get = [field, choices](const ServerConfig& config) {
      for (const auto& [name, value] : choices) {
        if (value == field(config)) return ConfigTexts{name};
      }
      return ConfigTexts{""};
    };
  }

  ConfigOption& Add(std::string key, std::string value_name, std::string help) {
    ConfigOption& option = options_.emplace_back();
    option.key = std::move(key);
    option.group = group_;
    option.value_name = std::move(value_name);
    option.help = std::move(help);
    return option;
  }

  std::vector<ConfigOption> Take() { return std::move(options_); }

 private:
  std::string group_;
  std::vector<ConfigOption> options_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_CONFIG_TABLE_BUILDER_H_
