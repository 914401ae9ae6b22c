// The table of all options. A key has three spellings: data_dir in the TOML file,
// ALAYA_DATA_DIR in the environment, --data-dir as a flag; everything that reads,
// prints or explains the configuration walks this table.

#ifndef ALAYA_SERVER_CONFIG_OPTION_TABLE_H_
#define ALAYA_SERVER_CONFIG_OPTION_TABLE_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "server/config/server_config.h"
#include "storage/types/status.h"

namespace alaya {

struct ConfigOption {
  enum class Kind : uint8_t { kText, kList, kFlag };

  std::string key;    // "data_dir"
  std::string group;  // heading of help and sample file
  std::string help;   // one line; says the unit and what special values mean
  std::string value_name;
  Kind kind = Kind::kText;
  // Takes one text, or for kList all of them. Errors: InvalidArgument, saying what is
  // allowed.
  std::function<Status(const std::vector<std::string>& texts, ServerConfig* config)> set;
  // The texts that `set` would take; of one element unless kList.
  std::function<std::vector<std::string>(const ServerConfig& config)> get;
  bool is_bare = false;  // written without quotes in TOML

  std::string flag() const;         // "--data-dir"
  std::string environment() const;  // "ALAYA_DATA_DIR"
  // The value as TOML.
  std::string Toml(const ServerConfig& config) const;
};

const std::vector<ConfigOption>& ConfigOptions();

// The entry of `names` closest to `name` by edit distance.
std::string NearestName(std::string_view name, const std::vector<std::string>& names);

}  // namespace alaya

#endif  // ALAYA_SERVER_CONFIG_OPTION_TABLE_H_
