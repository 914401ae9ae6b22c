// Everything that a deployment can choose, as the option structs of the components.

#ifndef ALAYA_SERVER_CONFIG_SERVER_CONFIG_H_
#define ALAYA_SERVER_CONFIG_SERVER_CONFIG_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "server/access/access_options.h"
#include "server/engine/engine.h"
#include "server/rpc/rpc_options.h"
#include "server/telemetry/logging.h"
#include "storage/context/context_store.h"
#include "storage/types/status.h"

namespace alaya {

struct ServerConfig {
  ServerConfig() { store.directory = "alayadb-data"; }

  ContextStoreOptions store;  // `log` is left to main
  EngineOptions engine;
  RpcOptions rpc;
  AccessOptions access;
  LogOptions log;
  std::string metrics_listen = "127.0.0.1:50601";
  std::string port_file;  // empty: none
  uint64_t gpu_memory_budget_bytes = 0;
  std::chrono::milliseconds drain_timeout{30'000};
  bool insecure = false;
};

// What no single value can show. Errors: InvalidArgument, naming key and value.
Status Validate(const ServerConfig& config);

}  // namespace alaya

#endif  // ALAYA_SERVER_CONFIG_SERVER_CONFIG_H_
