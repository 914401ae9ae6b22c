#include "server/config/server_config.h"

#include <vector>

#include "server/config/value_text.h"

namespace alaya {

Status Validate(const ServerConfig& config) {
  std::vector<std::pair<std::string, std::string>> addresses = {
      {"metrics_listen", config.metrics_listen}};
  for (const std::string& address : config.rpc.listen_addresses) {
    addresses.emplace_back("listen", address);
  }
  for (const auto& [key, text] : addresses) {
    ALAYA_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(text));
    if (!address.is_local() && !config.insecure) {
      std::string setting = key;
      setting.append(" = \"").append(text).append("\"");
      return InvalidArgument(setting +
                             " is reachable from other machines and connections are neither "
                             "encrypted nor authenticated; allowed without --insecure are "
                             "127.0.0.0/8, [::1], localhost and unix:path");
    }
  }
  return OkStatus();
}

}  // namespace alaya
