// A configuration: as a TOML file, as variables of the environment, as flags.
//
// The first byte chooses, the rest is the file, or a line per variable or flag. Whatever
// it says, the answer is a configuration that prints and reads back as itself, or an error
// of one line.

#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "server/config/config_loader.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/require.h"

namespace alaya {
namespace {

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

StatusOr<LoadedConfig> Load(uint8_t choice, const std::string& text) {
  if (choice % 3 == 0) return LoadConfig({"--config", MemoryFile(text).path()}, {}, "1");
  std::vector<std::string> flags;
  Environment environment;
  for (const std::string& line : Lines(text)) {
    // Other files may be devices that never end.
    if (line.find("onfig") != std::string::npos || line.find("ONFIG") != std::string::npos)
      continue;
    const size_t equals = line.find('=');
    if (choice % 3 == 1) {
      flags.push_back(line);
    } else if (equals != std::string::npos) {
      environment[line.substr(0, equals)] = line.substr(equals + 1);
    }
  }
  return LoadConfig(flags, environment, "1");
}

void FuzzOne(uint8_t choice, const std::string& text) {
  const StatusOr<LoadedConfig> loaded = Load(choice, text);
  if (!loaded.ok()) {
    Require(loaded.status().code() == StatusCode::kInvalidArgument);
    Require(!Message(loaded.status()).empty());
    return;
  }
  if (!loaded->text_to_print.empty()) return;
  const std::string printed = PrintConfig(*loaded);
  const auto again = LoadConfig({"--config", MemoryFile(printed).path()}, {}, "1");
  Require(again.ok());
}

}  // namespace
}  // namespace alaya

// The names are libFuzzer's.
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0) alaya::FuzzOne(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
