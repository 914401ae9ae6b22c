#include "server/config/server_config.h"

#include <vector>

#include "server/config/value_text.h"

namespace alaya {

namespace {

// Everything that listens; a server for other machines needs encryption and keys.
Status ValidateListeners(const ServerConfig& config) {
  std::vector<std::pair<std::string, std::string>> addresses = {
      {"metrics_listen", config.metrics_listen}};
  for (const std::string& address : config.rpc.listen_addresses) {
    addresses.emplace_back("listen", address);
  }
  if (!config.rpc.health_listen_address.empty()) {
    addresses.emplace_back("health_listen", config.rpc.health_listen_address);
  }
  // Metrics and health have neither, but tell nothing that tenants own.
  if (config.insecure || config.access.encrypted_and_authenticated()) return OkStatus();
  for (const auto& [key, text] : addresses) {
    ALAYA_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(text));
    if (!address.is_local()) {
      std::string setting = key;
      setting.append(" = \"").append(text).append("\"");
      return InvalidArgument(setting +
                             " is reachable from other machines: it needs tls_cert, tls_key and "
                             "api_key_files, or --insecure; allowed without them are "
                             "127.0.0.0/8, [::1], localhost and unix:path");
    }
  }
  return OkStatus();
}

Status ValidateAccess(const AccessOptions& access, bool unix_needs_key) {
  if (access.tls.certificate.empty() != access.tls.private_key.empty()) {
    return InvalidArgument("tls_cert and tls_key are needed together, one of them is empty");
  }
  if (!access.tls.client_ca.empty() && !access.tls.enabled()) {
    return InvalidArgument("tls_client_ca = \"" + access.tls.client_ca +
                           "\" needs tls_cert and tls_key");
  }
  if (!unix_needs_key && access.key_files.empty()) {
    return InvalidArgument("unix_socket_keys = off needs api_key_files: nobody needs a key");
  }
  return OkStatus();
}

// A tenant that has less could not even be answered slowly.
Status ValidateMemory(const std::string& key, uint64_t bytes) {
  constexpr uint64_t kLeastBytes = uint64_t{16} << 20;
  if (bytes == 0 || bytes >= kLeastBytes) return OkStatus();
  return InvalidArgument(key + "max_memory_bytes = " + BytesText(bytes) +
                         ": allowed is 0, for no limit, or at least 16MiB");
}

Status ValidateTenants(const TenantLimitsTable& tenants) {
  ALAYA_RETURN_IF_ERROR(ValidateMemory("tenant_", tenants.others.max_memory_bytes));
  for (const auto& [tenant, limits] : tenants.named) {
    ALAYA_RETURN_IF_ERROR(ValidateMemory("tenants." + tenant + ".", limits.max_memory_bytes));
  }
  return OkStatus();
}

}  // namespace

Status Validate(const ServerConfig& config) {
  ALAYA_RETURN_IF_ERROR(ValidateListeners(config));
  ALAYA_RETURN_IF_ERROR(ValidateAccess(config.access, config.rpc.unix_needs_key));
  ALAYA_RETURN_IF_ERROR(ValidateTenants(config.engine.tenant_limits));
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
