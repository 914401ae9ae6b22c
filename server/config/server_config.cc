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
  const DiskQuotaOptions& quota = config.store.quota;
  if (quota.low_water_bytes > quota.high_water_bytes) {
    return InvalidArgument("disk_low_water = " + BytesText(quota.low_water_bytes) +
                           " is above disk_high_water = " + BytesText(quota.high_water_bytes));
  }
  if (quota.evicts && quota.high_water_bytes == 0) {
    return InvalidArgument("disk_eviction = on needs a disk_high_water");
  }
  if (config.store.merge.segments_min == 1) {
    return InvalidArgument("merge_segments_min = 1: it takes two to join; 0 joins none");
  }
  return OkStatus();
}

}  // namespace alaya
