// alayadb-server: builds and wires everything, serves until SIGTERM or SIGINT, drains.
//
// Exit codes: 0 drained, 1 could not start, 2 bad configuration.

#include <malloc.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "google/protobuf/stubs/logging.h"
#include "grpc/support/log.h"
#include "index/attention/cpu_backend.h"
#include "server/access/certificate_stage.h"
#include "server/access/key_files.h"
#include "server/access/key_ring.h"
#include "server/access/reload_thread.h"
#include "server/config/config_loader.h"
#include "server/config/value_text.h"
#include "server/engine/engine.h"
#include "server/gpu/gpu.h"
#include "server/rpc/rpc_server.h"
#include "server/telemetry/engine_collector.h"
#include "server/telemetry/http_endpoint.h"
#include "server/telemetry/logging.h"
#include "server/telemetry/metrics.h"
#include "server/telemetry/process_stats.h"
#include "server/telemetry/readiness.h"
#include "server/telemetry/service_manager.h"
#include "storage/context/context_store.h"

namespace alaya {
namespace {

constexpr char kVersion[] = ALAYA_VERSION;
constexpr char kBuild[] = "commit " ALAYA_COMMIT ", compiler " __VERSION__;

// Waits for SIGTERM and SIGINT on a thread of its own; a second one ends the process
// at once. SIGHUP is passed on. Must be made before any other thread, which then inherit the
// blocked mask.
class SignalWatcher {
 public:
  SignalWatcher() {
    std::signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals_);
    for (const int number : {SIGTERM, SIGINT, SIGHUP, kStop}) sigaddset(&signals_, number);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    thread_ = std::thread([this] { Run(); });
  }
  ~SignalWatcher() {
    stopping_ = true;
    pthread_kill(thread_.native_handle(), kStop);
    thread_.join();
  }
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

  // The first signal's number.
  int Wait() { return first_.get_future().get(); }

  // From now on `action` runs at every SIGHUP; null: nothing does.
  void SetHangUpAction(std::function<void()> action) {
    const std::lock_guard lock(mutex_);
    hang_up_action_ = std::move(action);
  }

 private:
  static constexpr int kStop = SIGUSR1;

  void Run() {
    bool is_first = true;
    while (true) {
      int number = 0;
      sigwait(&signals_, &number);
      if (stopping_) return;
      if (number == kStop) continue;  // somebody else's
      if (number == SIGHUP) {
        const std::lock_guard lock(mutex_);
        if (hang_up_action_) hang_up_action_();
        continue;
      }
      constexpr int kExitBySignal = 128;
      if (!is_first) _exit(kExitBySignal + number);
      is_first = false;
      first_.set_value(number);
    }
  }

  sigset_t signals_{};
  std::atomic<bool> stopping_{false};
  std::promise<int> first_;
  std::mutex mutex_;
  std::function<void()> hang_up_action_;  // guarded by mutex_
  std::thread thread_;
};

// Every connection is an open file.
void RaiseOpenFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// By default the C library keeps up to eight pools of freed memory a core, each as large as
// its busiest moment: hundreds of megabytes that nobody uses, and more with every burst. And
// once a large piece was freed, pieces up to its size come from those pools, too.
void LimitMemoryPools() {
  constexpr int kMappedBytesMin = 256 << 10;
  constexpr int kKeptBytesMax = 1 << 20;  // at the end of a pool
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  mallopt(M_ARENA_MAX, std::max(2, cores));
  mallopt(M_MMAP_THRESHOLD, kMappedBytesMin);
  mallopt(M_TRIM_THRESHOLD, kKeptBytesMax);
}

// gRPC's own messages come through a plain function.
std::atomic<EventLog*> grpc_log{nullptr};

void LogGrpcMessage(gpr_log_func_args* args) {
  EventLog* const log = grpc_log;
  // Even its errors are mostly about clients that went away.
  if (log != nullptr) log->Write(LogLevel::kDebug, "grpc", {{"message", args->message}});
}

// Connects what happens in calls to metrics and log. Failures that are the server's fault
// are errors, slow calls warnings, all others are logged at level debug.
class CallTelemetry final : public RpcObserver {
 public:
  CallTelemetry(Metrics* metrics, EventLog* log, std::chrono::nanoseconds slow_call)
      : metrics_(metrics), log_(log), slow_call_(slow_call) {}

  void CallStarted(const CallInfo& /*call*/) override { metrics_->CallStarted(); }
  void CallFinished(const CallInfo& call, const Status& status,
                    std::chrono::nanoseconds duration) override {
    metrics_->CallFinished(call.method, status.code(), duration);
    Log(call, status, duration);
  }
  void AttendItemFinished(const CallInfo& item, const AttendResult& result,
                          std::chrono::nanoseconds duration) override {
    metrics_->AttendItemFinished(result.status.code(), duration, result.stats);
    if (!result.status.ok() || duration >= slow_call_) Log(item, result.status, duration);
  }
  std::vector<AttendStageTimes> attend_stages() const override { return metrics_->attend_stages(); }

 private:
  // A backlog makes every item slow at once; some lines a second say that.
  static constexpr int kSlowLinesPerSecond = 20;

  void Log(const CallInfo& call, const Status& status, std::chrono::nanoseconds duration) {
    const bool our_fault = status.code() == StatusCode::kInternal ||
                           status.code() == StatusCode::kUnknown ||
                           status.code() == StatusCode::kDataLoss;
    const bool slow = duration >= slow_call_ && !LastsAsItsClientLikes(call.method);
    const LogLevel level = our_fault                  ? LogLevel::kError
                           : slow && MayLogSlowCall() ? LogLevel::kWarning
                                                      : LogLevel::kDebug;
    if (!log_->enabled(level)) return;
    const std::string code = absl::StatusCodeToString(status.code());
    std::vector<LogField> fields = {
        {"method", call.method},
        {"code", code},
        {"message", Message(status)},
        {"microseconds", static_cast<int64_t>(duration.count() / 1000)}};
    if (!call.traceparent.empty()) fields.push_back({"traceparent", call.traceparent});
    log_->Write(level, slow && !our_fault ? "slow_call" : "call", fields);
  }

  static bool LastsAsItsClientLikes(std::string_view method) {
    return method == "AttendStream" || method == "ImportContext" || method == "ReadContext";
  }

  bool MayLogSlowCall() {
    const int64_t second = std::chrono::duration_cast<std::chrono::seconds>(
                               std::chrono::steady_clock::now().time_since_epoch())
                               .count();
    if (slow_second_.exchange(second) != second) slow_line_count_ = 0;
    return slow_line_count_++ < kSlowLinesPerSecond;
  }

  Metrics* const metrics_;
  EventLog* const log_;
  const std::chrono::nanoseconds slow_call_;
  std::atomic<int64_t> slow_second_{0};
  std::atomic<int> slow_line_count_{0};
};

std::string MetricsAddress(const ListenAddress& address, uint16_t port) {
  const bool is_v6 = address.host.find(':') != std::string::npos;
  return (is_v6 ? "[" + address.host + "]" : address.host) + ":" + std::to_string(port);
}

// Readers see the whole file or none.
Status WritePortFile(const std::string& path, const RpcServer& rpc,
                     const std::string& metrics_address) {
  const std::string temporary = path + ".new";
  {
    std::ofstream file(temporary, std::ios::trunc);
    for (const std::string& address : rpc.addresses()) file << "grpc=" << address << "\n";
    if (!rpc.health_address().empty()) file << "health=" << rpc.health_address() << "\n";
    file << "metrics=" << metrics_address << "\n";
    file.close();
    if (!file) return Unavailable("port_file: cannot write " + temporary);
  }
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error) return Unavailable("port_file: cannot write " + path + ": " + error.message());
  return OkStatus();
}

// Certificates and keys, read again when their files change.
class Security {
 public:
  // Errors: InvalidArgument, naming the file.
  static StatusOr<std::unique_ptr<Security>> Open(const AccessOptions& options) {
    auto security = std::make_unique<Security>(options);
    if (options.tls.enabled()) {
      ALAYA_ASSIGN_OR_RETURN(security->certificates_, CertificateStage::Open(options.tls));
    }
    if (security->needs_keys_) ALAYA_RETURN_IF_ERROR(security->key_files_.Load().status());
    return security;
  }
  explicit Security(const AccessOptions& options)
      : needs_keys_(!options.key_files.empty()),
        unix_identities_(options.unix_identities),
        key_files_(options.key_files, &keys_) {}

  void StartReloading(EventLog* log) {
    constexpr std::chrono::seconds kInterval{1};
    thread_.emplace(kInterval, [this, log](bool asked) {
      if (certificates_ != nullptr) Report(certificates_->Load(asked), "certificates", log);
      if (needs_keys_) Report(key_files_.Load(asked), "api_keys", log);
    });
  }
  void Reload() { thread_->Ask(); }

  RpcSecurity rpc() const {
    return {.certificates = certificates_.get(),
            .keys = needs_keys_ ? &keys_ : nullptr,
            .unix_identities = unix_identities_};
  }
  // Of the server's certificate; none without TLS. Threads: any.
  std::optional<WallTime> certificate_end() const {
    if (certificates_ == nullptr) return std::nullopt;
    return std::chrono::time_point_cast<WallTime::duration>(certificates_->expire_time());
  }

 private:
  static void Report(const StatusOr<bool>& loaded, std::string_view what, EventLog* log) {
    if (!loaded.ok()) {
      log->Write(LogLevel::kError, "reload_failed",
                 {{"what", what}, {"message", Message(loaded.status())}});
    } else if (*loaded) {
      log->Write(LogLevel::kInfo, "reloaded", {{"what", what}});
    }
  }

  const bool needs_keys_;
  const std::vector<UnixIdentity> unix_identities_;
  KeyRing keys_;
  KeyFiles key_files_;
  std::unique_ptr<CertificateStage> certificates_;  // null: no TLS
  std::optional<ReloadThread> thread_;
};

// The parts of the running server, in the order in which they start; they go in the
// opposite order.
class ServerProcess {
 public:
  ServerProcess(ServerConfig config, EventLog* log)
      : config_(std::move(config)), log_(log), metrics_(kVersion, kBuild) {}

  Status Start() {
    ALAYA_ASSIGN_OR_RETURN(security_, Security::Open(config_.access));
    ALAYA_ASSIGN_OR_RETURN(const ListenAddress metrics_listen,
                           ParseListenAddress(config_.metrics_listen));
    ALAYA_ASSIGN_OR_RETURN(http_, HttpEndpoint::Start(metrics_listen.host, metrics_listen.port,
                                                      &metrics_, &readiness_));
    OpenDevice();
    config_.store.log = log_->ForStorage();
    config_.engine.indexes.on_event = [this](const IndexEvent& event) { LogIndexEvent(event); };
    ALAYA_ASSIGN_OR_RETURN(store_, ContextStore::Open(config_.store));
    ALAYA_ASSIGN_OR_RETURN(
        engine_, Engine::Open(config_.engine, store_.get(), &backend_, &clock_, gpu_.get()));
    ALAYA_ASSIGN_OR_RETURN(
        rpc_, RpcServer::Start(config_.rpc, Self(), engine_.get(), &calls_, security_->rpc()));
    metrics_.SetCollectable(std::make_shared<EngineCollector>(
        [engine = engine_.get()] { return engine->stats(); }, [this] { return Connections(); },
        ReadProcessStats, start_time_));
    security_->StartReloading(log_);
    const std::string metrics_address = MetricsAddress(metrics_listen, http_->port());
    readiness_.Set(Readiness::State::kReady);
    if (!config_.port_file.empty()) {
      ALAYA_RETURN_IF_ERROR(WritePortFile(config_.port_file, *rpc_, metrics_address));
    }
    Announce(metrics_address);
    return OkStatus();
  }

  // Looks at certificates, keys and tenants' limits now. Requires: started.
  void Reload(const StatusOr<LoadedConfig>& loaded) {
    security_->Reload();
    if (loaded.ok()) {
      engine_->SetTenantLimits(loaded->config.engine.tenant_limits);
      log_->Write(LogLevel::kInfo, "reloaded", {{"what", "tenant_limits"}});
    } else {
      log_->Write(LogLevel::kError, "reload_failed",
                  {{"what", "tenant_limits"}, {"message", Message(loaded.status())}});
    }
  }

  // True if all calls in progress were answered.
  bool Drain() {
    readiness_.Set(Readiness::State::kDraining);
    const bool in_time = rpc_->Drain(config_.drain_timeout);
    engine_->Drain();
    return in_time;
  }

  ~ServerProcess() {
    readiness_.Set(Readiness::State::kDraining);
    metrics_.SetCollectable(nullptr);
    rpc_.reset();
  }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

 private:
  ServerSelf Self() {
    return {.version = kVersion,
            .build = kBuild,
            .start_time = start_time_,
            .memory_budget_bytes = config_.store.memory_budget_bytes,
            .gpu_memory_budget_bytes = config_.gpu_memory_budget_bytes,
            .resident_bytes = ReadResidentBytes,
            .exchange_log_level = [log = log_](int level) {
              return static_cast<int>(log->SetLevel(static_cast<LogLevel>(level)));
            }};
  }

  ConnectionFigures Connections() const {
    const AcceptorStats stats = rpc_->connections();
    return {.accepted = stats.accepted,
            .refused_for_files = stats.refused_for_files,
            .refused_users = stats.refused_users,
            .failed_accepts = stats.failed_accepts,
            .certificate_end = security_->certificate_end()};
  }

  // Whatever is wrong with it, the CPU can do without.
  void OpenDevice() {
    if (config_.gpu_memory_budget_bytes == 0) {
      return log_->Write(LogLevel::kInfo, "no_gpu",
                         {{"message", "gpu_memory_budget is 0: attention runs on the CPU"}});
    }
    GpuOptions options;
    options.memory_budget_bytes = config_.gpu_memory_budget_bytes;
    options.on_given_up = [log = log_](const Status& status) {
      const std::string message =
          "attention runs on the CPU until the next start: " + std::string(Message(status));
      log->Write(LogLevel::kError, "gpu_lost", {{"message", message}});
    };
    options.on_wrong_build = [log = log_](const Status& status) {
      const std::string message =
          "the CPU finds nearest keys for fine indexes until the next start: " +
          std::string(Message(status));
      log->Write(LogLevel::kError, "gpu_wrong", {{"message", message}});
    };
    StatusOr<std::unique_ptr<AttentionDevice>> opened = OpenGpu(options);
    if (!opened.ok()) {
      const std::string message =
          std::string(Message(opened.status())) + ": attention runs on the CPU";
      return log_->Write(LogLevel::kWarning, "no_gpu", {{"message", message}});
    }
    gpu_ = *std::move(opened);
    log_->Write(LogLevel::kInfo, "gpu",
                {{"name", gpu_->name()},
                 {"description", gpu_->description()},
                 {"memory_budget", static_cast<int64_t>(config_.gpu_memory_budget_bytes)}});
  }

  void LogIndexEvent(const IndexEvent& event) {
    const bool built = event.what == IndexEvent::What::kBuilt;
    const bool damaged = event.what == IndexEvent::What::kDamaged;
    log_->Write(built ? LogLevel::kInfo : LogLevel::kError,
                built     ? "index_built"
                : damaged ? "index_damaged"
                          : "index_build_failed",
                {{"kind", IndexKindName(event.kind)},
                 {"segment", static_cast<int64_t>(ToInt(event.segment))},
                 {"tokens", static_cast<int64_t>(event.token_count)},
                 {"milliseconds", static_cast<int64_t>(event.seconds * 1000)},
                 {"message", Message(event.status)}});
  }

  void Announce(const std::string& metrics_address) {
    std::string grpc_addresses;
    for (const std::string& address : rpc_->addresses()) {
      grpc_addresses += (grpc_addresses.empty() ? "" : ",") + address;
    }
    log_->Write(LogLevel::kInfo, "serving",
                {{"grpc", grpc_addresses}, {"metrics", metrics_address}, {"version", kVersion}});
  }

  ServerConfig config_;
  EventLog* const log_;
  const SystemClock clock_;
  const WallTime start_time_ = clock_.now();
  Readiness readiness_;
  Metrics metrics_;
  CallTelemetry calls_{&metrics_, log_, config_.log.slow_call};
  std::unique_ptr<HttpEndpoint> http_;
  std::unique_ptr<ContextStore> store_;
  CpuBackend backend_;
  std::unique_ptr<Security> security_;
  std::unique_ptr<AttentionDevice> gpu_;  // null: none
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<RpcServer> rpc_;
};

// `notify_socket` is the service manager's, empty without one; `load_again` reads the
// configuration as it is then.
int Serve(const ServerConfig& config, const std::string& notify_socket,
          const std::function<StatusOr<LoadedConfig>()>& load_again) {
  // Stored KV and sockets are nobody else's business.
  umask(S_IRWXG | S_IRWXO);
  SignalWatcher signals;
  RaiseOpenFileLimit();
  LimitMemoryPools();
  EventLog log(config.log);
  grpc_log = &log;
  gpr_set_log_function(LogGrpcMessage);
  // It reports malformed text of clients, at any rate they like; they get the error.
  google::protobuf::SetLogHandler(nullptr);
  int exit_code = 0;
  {
    ServerProcess process(config, &log);
    if (const Status started = process.Start(); !started.ok()) {
      std::fprintf(stderr, "alayadb-server: %s\n", std::string(Message(started)).c_str());
      exit_code = 1;
    } else {
      const auto notify = [&](std::string_view state) {
        const Status told = NotifyServiceManager(notify_socket, state);
        if (!told.ok()) log.Write(LogLevel::kWarning, "notify", {{"message", Message(told)}});
      };
      signals.SetHangUpAction([&] { process.Reload(load_again()); });
      notify(kServiceReady);
      const int signal_number = signals.Wait();
      signals.SetHangUpAction(nullptr);
      notify(kServiceStopping);
      log.Write(LogLevel::kInfo, "draining", {{"signal", int64_t{signal_number}}});
      const bool in_time = process.Drain();
      if (!in_time) {
        log.Write(LogLevel::kWarning, "drain_timeout",
                  {{"message", "calls in progress were cancelled"}});
      }
    }
  }
  if (exit_code == 0) log.Write(LogLevel::kInfo, "stopped");
  grpc_log = nullptr;
  return exit_code;
}

int Main(const std::vector<std::string>& arguments) {
  constexpr int kBadConfiguration = 2;
  const std::string version = std::string("alayadb-server ") + kVersion + " (" + kBuild + ")";
  const Environment environment = ReadEnvironment();
  const StatusOr<LoadedConfig> loaded = LoadConfig(arguments, environment, version);
  if (!loaded.ok()) {
    std::fprintf(stderr, "alayadb-server: %s\n", std::string(Message(loaded.status())).c_str());
    return kBadConfiguration;
  }
  if (loaded->check_only) {
    const auto security = Security::Open(loaded->config.access);
    if (!security.ok()) {
      std::fprintf(stderr, "alayadb-server: %s\n", std::string(Message(security.status())).c_str());
      return kBadConfiguration;
    }
  }
  std::string text = loaded->text_to_print;
  if (text.empty() && loaded->print_only) text = PrintConfig(*loaded);
  if (text.empty() && !loaded->check_only) {
    const auto notify_socket = environment.find("NOTIFY_SOCKET");
    return Serve(loaded->config, notify_socket == environment.end() ? "" : notify_socket->second,
                 [&] { return LoadConfig(arguments, environment, version); });
  }
  std::fputs(text.c_str(), stdout);
  return 0;
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) { return alaya::Main({argv + 1, argv + argc}); }
