// Puts the configuration together: defaults < TOML file < environment < flags.

#ifndef ALAYA_SERVER_CONFIG_CONFIG_LOADER_H_
#define ALAYA_SERVER_CONFIG_CONFIG_LOADER_H_

#include <map>
#include <string>
#include <vector>

#include "server/config/server_config.h"
#include "storage/types/status.h"

namespace alaya {

using Environment = std::map<std::string, std::string>;

// The process's environment.
Environment ReadEnvironment();

struct LoadedConfig {
  ServerConfig config;
  std::map<std::string, std::string> origins;  // of keys that are not defaults
  bool check_only = false;                     // --check-config
  bool print_only = false;                     // --print-config
  // --help, --version or --print-defaults: print this and do nothing else.
  std::string text_to_print;
};

// `arguments` are those of main without the program's name; `version` answers --version.
//
// Errors: InvalidArgument that names where the value came from, the key, the value and
//   what is allowed; for an unknown key the nearest known one.
StatusOr<LoadedConfig> LoadConfig(const std::vector<std::string>& arguments,
                                  const Environment& environment, const std::string& version);

// The configuration as TOML, each value with its origin in a comment; LoadConfig reads
// it back to the same configuration.
std::string PrintConfig(const LoadedConfig& loaded);

// The defaults as a TOML file with explanations: --print-defaults, deploy/alayadb.toml.
std::string SampleConfig();

}  // namespace alaya

#endif  // ALAYA_SERVER_CONFIG_CONFIG_LOADER_H_
