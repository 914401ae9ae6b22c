#include "server/config/option_table.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <numeric>
#include <utility>

#include "server/config/table_builder.h"
#include "server/config/value_text.h"

namespace alaya {
namespace {

using Texts = ConfigTexts;

void AddListeners(TableBuilder* table) {
  table->Group("Listeners");
  ConfigOption& listen = table->Add("listen", "ADDRESS",
                                    "gRPC address: host:port (port 0: any free one) or unix:path; "
                                    "repeatable, comma separated in the environment");
  listen.kind = ConfigOption::Kind::kList;
  listen.set = [](const Texts& texts, ServerConfig* config) -> Status {
    if (texts.empty()) return InvalidArgument("at least one address is needed");
    for (const std::string& text : texts) ALAYA_RETURN_IF_ERROR(ParseListenAddress(text).status());
    config->rpc.listen_addresses = texts;
    return OkStatus();
  };
  listen.get = [](const ServerConfig& config) { return config.rpc.listen_addresses; };

  ConfigOption& metrics =
      table->Add("metrics_listen", "HOST:PORT", "HTTP address of /metrics, /livez and /readyz");
  metrics.set = [](const Texts& texts, ServerConfig* config) -> Status {
    ALAYA_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(texts.front()));
    if (!address.unix_path.empty()) return InvalidArgument("host:port or [IPv6]:port is needed");
    config->metrics_listen = texts.front();
    return OkStatus();
  };
  metrics.get = [](const ServerConfig& config) { return Texts{config.metrics_listen}; };

  ConfigOption& health = table->Add(
      "health_listen", "ADDRESS",
      "gRPC address for health checks alone, plain text and without keys, for probes that have no "
      "certificate; empty: none");
  health.set = [](const Texts& texts, ServerConfig* config) -> Status {
    if (!texts.front().empty()) {
      ALAYA_RETURN_IF_ERROR(ParseListenAddress(texts.front()).status());
    }
    config->rpc.health_listen_address = texts.front();
    return OkStatus();
  };
  health.get = [](const ServerConfig& config) { return Texts{config.rpc.health_listen_address}; };

  ConfigOption& insecure = table->Add(
      "insecure", "", "allow addresses that other machines reach without encryption and keys");
  insecure.kind = ConfigOption::Kind::kFlag;
  insecure.is_bare = true;
  insecure.set = [](const Texts& texts, ServerConfig* config) -> Status {
    ALAYA_ASSIGN_OR_RETURN(config->insecure, ParseBool(texts.front()));
    return OkStatus();
  };
  insecure.get = [](const ServerConfig& config) {
    return Texts{config.insecure ? "true" : "false"};
  };

  table->Text(
      "port_file", "PATH", [](auto& config) -> auto& { return config.port_file; },
      "write the real addresses here once the server serves; empty: no file");
}

// An option that is a list of paths.
template <typename Field>
void AddPaths(TableBuilder* table, std::string key, Field field, std::string help) {
  ConfigOption& option = table->Add(std::move(key), "PATH", std::move(help));
  option.kind = ConfigOption::Kind::kList;
  option.set = [field](const Texts& texts, ServerConfig* config) -> Status {
    for (const std::string& text : texts) {
      if (text.empty()) return InvalidArgument("a path is needed");
    }
    field(*config) = texts;
    return OkStatus();
  };
  option.get = [field](const ServerConfig& config) { return Texts(field(config)); };
}

void AddUnixSockets(TableBuilder* table) {
  ConfigOption& mode = table->Add("unix_socket_mode", "OCTAL",
                                  "permissions of unix sockets' files: who may write may connect");
  mode.set = [](const Texts& texts, ServerConfig* config) -> Status {
    ALAYA_ASSIGN_OR_RETURN(config->rpc.unix_socket_mode, ParseFileMode(texts.front()));
    return OkStatus();
  };
  mode.get = [](const ServerConfig& config) {
    return Texts{FileModeText(config.rpc.unix_socket_mode)};
  };
  ConfigOption& users = table->Add("unix_socket_users", "USER",
                                   "users, by name or number, that may connect to unix sockets "
                                   "beside the server's own and root; "
                                   "none: all whom the file's permissions let in");
  users.kind = ConfigOption::Kind::kList;
  users.set = [](const Texts& texts, ServerConfig* config) -> Status {
    config->rpc.acceptor.unix_users.clear();
    for (const std::string& text : texts) {
      ALAYA_ASSIGN_OR_RETURN(const uint32_t user, ParseUser(text));
      config->rpc.acceptor.unix_users.push_back(user);
    }
    return OkStatus();
  };
  users.get = [](const ServerConfig& config) {
    Texts texts;
    for (const uid_t user : config.rpc.acceptor.unix_users) texts.push_back(std::to_string(user));
    return texts;
  };
}

void AddUnixIdentities(TableBuilder* table) {
  ConfigOption& identities = table->Add(
      "unix_socket_tenants", "USER:TENANT:ROLE",
      "users, by name or number, that need no key on unix sockets and are this there: role read, "
      "write or admin of the tenant; they may connect, and a key that they send counts for "
      "nothing");
  identities.kind = ConfigOption::Kind::kList;
  identities.set = [](const ConfigTexts& texts, ServerConfig* config) -> Status {
    std::vector<UnixIdentity> parsed;
    for (const std::string& text : texts) {
      ALAYA_ASSIGN_OR_RETURN(UnixIdentity identity, ParseUnixIdentity(text));
      if (std::ranges::find(parsed, identity.user, &UnixIdentity::user) != parsed.end()) {
        return InvalidArgument("a user is there twice");
      }
      parsed.push_back(std::move(identity));
    }
    config->access.unix_identities = std::move(parsed);
    return OkStatus();
  };
  identities.get = [](const ServerConfig& config) {
    ConfigTexts texts;
    for (const UnixIdentity& identity : config.access.unix_identities) {
      texts.push_back(UnixIdentityText(identity));
    }
    return texts;
  };
}

void AddSecurity(TableBuilder* table) {
  table->Group("Security");
  table->Text(
      "tls_cert", "PATH", [](auto& config) -> auto& { return config.access.tls.certificate; },
      "PEM file of the server's certificate and its chain, read again when it changes; empty: TCP "
      "is not encrypted");
  table->Text(
      "tls_key", "PATH", [](auto& config) -> auto& { return config.access.tls.private_key; },
      "PEM file of the certificate's private key");
  table->Text(
      "tls_client_ca", "PATH", [](auto& config) -> auto& { return config.access.tls.client_ca; },
      "PEM file of the authorities that clients' certificates come from; empty: clients need none");
  AddPaths(
      table, "api_key_files", [](auto& config) -> auto& { return config.access.key_files; },
      "files of API keys, read again when they change; none: no key is needed; 'alayactl key "
      "generate' makes keys");
  table->Choice(
      "unix_socket_keys", std::vector<std::pair<std::string, bool>>{{"on", true}, {"off", false}},
      [](auto& config) -> auto& { return config.rpc.unix_needs_key; },
      "off: whoever may connect to a unix socket needs no key and is an admin of tenant default");
  AddUnixSockets(table);
  AddUnixIdentities(table);
  table->Choice(
      "reflection", std::vector<std::pair<std::string, bool>>{{"on", true}, {"off", false}},
      [](auto& config) -> auto& { return config.rpc.serves_reflection; },
      "on: tells anybody who connects what the API looks like, as grpcurl needs it");
}

void AddEvictLabel(TableBuilder* table) {
  ConfigOption& label =
      table->Add("disk_evict_label", "NAME=VALUE",
                 "only contexts that carry this label are evicted; empty: all that are not pinned");
  label.set = [](const Texts& texts, ServerConfig* config) -> Status {
    const std::string& text = texts.front();
    const size_t equals = text.find('=');
    if (!text.empty() && (equals == 0 || equals == std::string::npos)) {
      return InvalidArgument("name=value is needed");
    }
    config->store.quota.evict_label = {};
    if (text.empty()) return OkStatus();
    config->store.quota.evict_label = {text.substr(0, equals), text.substr(equals + 1)};
    return OkStatus();
  };
  label.get = [](const ServerConfig& config) {
    const auto& [name, value] = config.store.quota.evict_label;
    return Texts{name.empty() ? "" : name + "=" + value};
  };
}

void AddAcceptDamage(TableBuilder* table) {
  ConfigOption& accept =
      table->Add("accept_damage", "",
                 "start although damage was found in the data directory (its file DAMAGED), and "
                 "serve what is sound");
  accept.kind = ConfigOption::Kind::kFlag;
  accept.is_bare = true;
  accept.set = [](const Texts& texts, ServerConfig* config) -> Status {
    ALAYA_ASSIGN_OR_RETURN(config->store.accept_damage, ParseBool(texts.front()));
    return OkStatus();
  };
  accept.get = [](const ServerConfig& config) {
    return Texts{config.store.accept_damage ? "true" : "false"};
  };
}

void AddStorage(TableBuilder* table) {
  constexpr uint64_t kMebibyte = uint64_t{1} << 20;
  constexpr uint64_t kPebibyte = uint64_t{1} << 50;
  table->Group("Storage");
  ConfigOption& directory =
      table->Add("data_dir", "PATH",
                 "directory of all stored contexts, created if missing; one server at a time");
  directory.set = [](const Texts& texts, ServerConfig* config) -> Status {
    if (texts.front().empty()) return InvalidArgument("a path is needed");
    config->store.directory = texts.front();
    return OkStatus();
  };
  directory.get = [](const ServerConfig& config) { return Texts{config.store.directory}; };
  AddAcceptDamage(table);
  table->Bytes(
      "memory_budget", 16 * kMebibyte, kPebibyte,
      [](auto& config) -> auto& { return config.store.memory_budget_bytes; },
      "memory for stored KV and what the store needs to know of it; hard; session tails have "
      "max_tail_bytes_total beside it");
  table->Bytes(
      "disk_high_water", 0, kPebibyte,
      [](auto& config) -> auto& { return config.store.quota.high_water_bytes; },
      "bytes of stored contexts at which writes stop and reads go on; 0: as long as the disk has "
      "room");
  table->Choice(
      "disk_eviction", std::vector<std::pair<std::string, bool>>{{"off", false}, {"on", true}},
      [](auto& config) -> auto& { return config.store.quota.evicts; },
      "on: at the high water mark contexts that are not pinned are deleted, those unused for "
      "longest first, before a write is refused");
  table->Bytes(
      "disk_low_water", 0, kPebibyte,
      [](auto& config) -> auto& { return config.store.quota.low_water_bytes; },
      "bytes of stored contexts at which eviction ends; 0: nine tenths of the high water mark");
  AddEvictLabel(table);
  table->Bytes(
      "gpu_memory_budget", 0, kPebibyte,
      [](auto& config) -> auto& { return config.gpu_memory_budget_bytes; },
      "memory to use on the GPU, for what is hot; 0: do not use one");
  table->Duration(
      "expiry_sweep_interval",
      [](auto& config) -> auto& { return config.engine.expiry_sweep_interval; },
      "time between searches for expired contexts and unused sessions");
  table->Count(
      "merge_segments_min", 0, 1000,
      [](auto& config) -> auto& { return config.store.merge.segments_min; },
      "so many short segments that follow each other in a context, as stored sessions leave them, "
      "are joined in the background; at least 2; 0: none are");
  table->Count(
      "merge_tokens_max", 1, std::numeric_limits<int32_t>::max(),
      [](auto& config) -> auto& { return config.store.merge.tokens_max; },
      "tokens that a joined segment may have");
  table->Count(
      "flat_index_min_tokens", 0, std::numeric_limits<int32_t>::max(),
      [](auto& config) -> auto& { return config.engine.indexes.flat_min_tokens; },
      "stored segments of at least so many tokens get the flat index unless the import says "
      "otherwise");
}

void AddThreads(TableBuilder* table) {
  constexpr uint64_t kThreadCountMax = 1024;
  table->Group("Threads");
  table->Count(
      "worker_threads", 0, kThreadCountMax,
      [](auto& config) -> auto& { return config.engine.worker_count; },
      "threads that compute attention; 0: one per core");
  table->Count(
      "blocking_threads", 1, kThreadCountMax,
      [](auto& config) -> auto& { return config.rpc.blocking_worker_count; },
      "threads for calls that may wait for the disk");
  table->Count(
      "max_waiting_calls", 1, std::numeric_limits<int32_t>::max(),
      [](auto& config) -> auto& { return config.rpc.max_waiting_calls; },
      "calls that wait for such a thread; more are refused");
  table->Count(
      "index_build_threads", 0, kThreadCountMax,
      [](auto& config) -> auto& { return config.engine.indexes.build_thread_count; },
      "low-priority threads that build indexes in the background; 0: none are built");
}

constexpr uint64_t kCountMax = std::numeric_limits<int32_t>::max();

void AddCallLimits(TableBuilder* table) {
  constexpr uint64_t kKibibyte = uint64_t{1} << 10;
  table->Group("Limits");
  // gRPC counts message bytes in an int.
  table->Bytes(
      "max_message_bytes", 64 * kKibibyte, kCountMax / kKibibyte * kKibibyte,
      [](auto& config) -> auto& { return config.rpc.max_message_bytes; },
      "longest message that is received");
  table->Count(
      "max_items_per_request", 1, kCountMax,
      [](auto& config) -> auto& { return config.rpc.max_items_per_request; },
      "items of one AttendRequest");
  table->Count(
      "max_requests_in_flight_per_stream", 1, kCountMax,
      [](auto& config) -> auto& { return config.rpc.max_requests_in_flight_per_stream; },
      "unanswered requests of one Attend stream; at this number it is not read from");
  table->Count(
      "max_attend_items_in_flight", 1, kCountMax,
      [](auto& config) -> auto& {
        return config.engine.tenant_limits.all.max_attend_items_in_flight;
      },
      "attention items that wait or run, of all streams; more are refused");
  table->Bytes(
      "max_bytes_in_flight", kKibibyte * kKibibyte, std::numeric_limits<uint64_t>::max(),
      [](auto& config) -> auto& { return config.engine.tenant_limits.all.max_bytes_in_flight; },
      "memory of messages not yet answered and answers not yet written; more are refused");
  table->Count(
      "max_streams", 0, kCountMax,
      [](auto& config) -> auto& { return config.engine.tenant_limits.all.max_streams; },
      "calls that run at a time, streams included; 0: no limit");
  table->Count(
      "max_requests_per_second", 0, kCountMax,
      [](auto& config) -> auto& { return config.engine.tenant_limits.all.max_requests_per_second; },
      "calls and Attend requests, those of a second at once; 0: no limit");
  table->Count(
      "max_streams_per_connection", 1, kCountMax,
      [](auto& config) -> auto& { return config.rpc.max_streams_per_connection; },
      "calls at a time on one connection");
  table->Duration(
      "keepalive_interval", [](auto& config) -> auto& { return config.rpc.keepalive_interval; },
      "silent connections are pinged this often and closed without an answer");
  table->Duration(
      "handshake_timeout", [](auto& config) -> auto& { return config.rpc.handshake_timeout; },
      "new connections that have not begun to speak HTTP/2 by then are closed");
  table->DurationOrZero(
      "max_connection_age", [](auto& config) -> auto& { return config.rpc.max_connection_age; },
      "older connections are asked to go, so that clients spread anew; 0ms: never");
  table->Duration(
      "max_connection_age_grace",
      [](auto& config) -> auto& { return config.rpc.max_connection_age_grace; },
      "time that calls on such a connection have to end");
}

void AddSizeLimits(TableBuilder* table) {
  table->Count(
      "max_context_tokens", 1, kCountMax,
      [](auto& config) -> auto& { return config.engine.limits.max_context_tokens; },
      "tokens of one context");
  table->Count(
      "max_queries_per_item", 1, kCountMax,
      [](auto& config) -> auto& { return config.engine.limits.max_queries_per_item; },
      "query positions of one attention item");
  table->Count(
      "max_sessions", 1, kCountMax,
      [](auto& config) -> auto& { return config.engine.limits.max_sessions; }, "open sessions");
  table->DurationOrZero(
      "session_idle_timeout",
      [](auto& config) -> auto& { return config.engine.limits.session_idle_timeout; },
      "sessions that nobody uses for so long end, and give their memory back; 0ms: never");
  table->Count(
      "max_tail_tokens_per_session", 1, kCountMax,
      [](auto& config) -> auto& { return config.engine.limits.max_tail_tokens_per_session; },
      "new tokens that one session may hold");
  table->Bytes(
      "max_tail_bytes_total", 0, std::numeric_limits<uint64_t>::max(),
      [](auto& config) -> auto& { return config.engine.limits.max_tail_bytes_total; },
      "memory of all sessions' new tokens together");
}

template <typename Member>
void AddTenantLimit(TableBuilder* table, const std::string& key, bool in_bytes, Member member,
                    std::string help) {
  const auto field = [member](auto& config) -> auto& {
    return config.engine.tenant_limits.others.*member;
  };
  constexpr uint64_t kMost = uint64_t{1} << 50;
  if (in_bytes) {
    table->Bytes("tenant_" + key, 0, kMost, field, std::move(help));
  } else {
    table->Count("tenant_" + key, 0, std::numeric_limits<int32_t>::max(), field, std::move(help));
  }
}

// Also the keys of a [tenants.NAME] table, without "tenant_".
void AddTenants(TableBuilder* table) {
  table->Group("Limits of every tenant; [tenants.NAME] in the file has them for one");
  AddTenantLimit(table, "max_stored_bytes", true, &TenantLimits::max_stored_bytes,
                 "keys, values and indexes that it stores; 0: no limit of its own");
  AddTenantLimit(table, "max_memory_bytes", true, &TenantLimits::max_memory_bytes,
                 "what its contexts may take of memory_budget, at least 16MiB; its own make room "
                 "for each other then; 0: no limit of its own");
  AddTenantLimit(table, "max_tail_bytes", true, &TenantLimits::max_tail_bytes,
                 "memory of its sessions' new tokens; 0: no limit of its own");
  AddTenantLimit(table, "max_sessions", false, &TenantLimits::max_sessions,
                 "its open sessions; 0: no limit of its own");
  AddTenantLimit(table, "max_streams", false, &TenantLimits::max_streams,
                 "its calls that run at a time, streams included; 0: no limit of its own");
  AddTenantLimit(table, "max_attend_items_in_flight", false,
                 &TenantLimits::max_attend_items_in_flight,
                 "its attention items that wait or run; 0: no limit of its own");
  AddTenantLimit(
      table, "max_bytes_in_flight", true, &TenantLimits::max_bytes_in_flight,
      "memory of its messages not yet answered and answers not yet written; 0: no limit of its "
      "own");
  AddTenantLimit(
      table, "max_requests_per_second", false, &TenantLimits::max_requests_per_second,
      "its calls and Attend requests, those of a second at once; 0: no limit of its own");
}

void AddOperation(TableBuilder* table) {
  table->Group("Operation");
  table->Choice(
      "log_level",
      std::vector<std::pair<std::string, LogLevel>>{{"trace", LogLevel::kTrace},
                                                    {"debug", LogLevel::kDebug},
                                                    {"info", LogLevel::kInfo},
                                                    {"warning", LogLevel::kWarning},
                                                    {"error", LogLevel::kError}},
      [](auto& config) -> auto& { return config.log.level; },
      "least severe events that are logged; SetLogLevel changes it at run time");
  table->Choice(
      "log_format",
      std::vector<std::pair<std::string, LogFormat>>{{"text", LogFormat::kText},
                                                     {"json", LogFormat::kJson}},
      [](auto& config) -> auto& { return config.log.format; },
      "one line per event on standard error, for people or for machines");
  table->Duration(
      "slow_call", [](auto& config) -> auto& { return config.log.slow_call; },
      "unary calls and attention items that take longer are logged as warnings");
  table->Duration(
      "drain_timeout", [](auto& config) -> auto& { return config.drain_timeout; },
      "longest wait for calls in progress after SIGTERM; then they are cancelled");
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}

// A TOML basic string.
std::string Quoted(const std::string& text) {
  constexpr std::string_view kHexDigits = "0123456789ABCDEF";
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted.append(1, '\\').append(1, c);
    } else if (std::iscntrl(byte) != 0) {
      quoted.append("\\u00").append(1, kHexDigits[byte >> 4U]).append(1, kHexDigits[byte & 15U]);
    } else {
      quoted.append(1, c);
    }
  }
  return quoted + "\"";
}

}  // namespace

std::string ConfigOption::flag() const {
  std::string name = "--" + key;
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::string ConfigOption::environment() const {
  std::string name = "ALAYA_" + key;
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

std::string ConfigOption::Toml(const ServerConfig& config) const {
  const Texts texts = get(config);
  if (kind != Kind::kList) return is_bare ? texts.front() : Quoted(texts.front());
  std::string list = "[";
  for (const std::string& text : texts) list += (list.size() > 1 ? ", " : "") + Quoted(text);
  return list + "]";
}

const std::vector<ConfigOption>& ConfigOptions() {
  static const std::vector<ConfigOption> options = [] {
    TableBuilder table;
    AddListeners(&table);
    AddSecurity(&table);
    AddStorage(&table);
    AddThreads(&table);
    AddCallLimits(&table);
    AddSizeLimits(&table);
    AddTenants(&table);
    AddOperation(&table);
    return table.Take();
  }();
  return options;
}

std::string NearestName(std::string_view name, const std::vector<std::string>& names) {
  const auto nearest =
      std::min_element(names.begin(), names.end(), [name](const auto& a, const auto& b) {
        return EditDistance(name, a) < EditDistance(name, b);
      });
  return nearest == names.end() ? std::string() : *nearest;
}

}  // namespace alaya
