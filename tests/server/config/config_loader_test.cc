#include "server/config/config_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "server/config/option_table.h"

namespace alaya {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using Arguments = std::vector<std::string>;

class ConfigLoaderTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }

  std::string WriteFile(const std::string& text) const {
    std::ofstream(path_) << text;
    return path_;
  }
  static StatusOr<LoadedConfig> Load(const Arguments& arguments,
                                     const Environment& environment = {}) {
    return LoadConfig(arguments, environment, "version 1");
  }
  static std::string ErrorOf(const Arguments& arguments, const Environment& environment = {}) {
    const auto loaded = Load(arguments, environment);
    EXPECT_EQ(loaded.status().code(), StatusCode::kInvalidArgument);
    return std::string(Message(loaded.status()));
  }

  const std::string path_ =
      testing::TempDir() + "/alaya-config-" + std::to_string(getpid()) + ".toml";
};

TEST_F(ConfigLoaderTest, DefaultsAreThoseOfTheDocumentation) {
  const auto loaded = Load({});

  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_THAT(loaded->config.rpc.listen_addresses, ElementsAre("127.0.0.1:50600"));
  EXPECT_EQ(loaded->config.metrics_listen, "127.0.0.1:50601");
  EXPECT_EQ(loaded->config.rpc.max_message_bytes, uint64_t{64} << 20);
  EXPECT_EQ(loaded->config.drain_timeout, std::chrono::seconds(30));
  EXPECT_FALSE(loaded->config.insecure);
}

TEST_F(ConfigLoaderTest, FlagsWinOverEnvironmentOverFileOverDefaults) {
  const std::string path = WriteFile(
      "memory_budget = \"1GiB\"\nworker_threads = 3\nlog_level = \"debug\"\n"
      "listen = [\"unix:/tmp/a\", \"127.0.0.1:1\"]\n");

  const auto loaded =
      Load({"--config", path, "--memory-budget=3GiB"},
           {{"ALAYA_MEMORY_BUDGET", "2GiB"}, {"ALAYA_LOG_LEVEL", "error"}, {"UNRELATED", "x"}});

  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->config.store.memory_budget_bytes, uint64_t{3} << 30);
  EXPECT_EQ(loaded->config.log.level, LogLevel::kError);
  EXPECT_EQ(loaded->config.engine.worker_count, 3U);
  EXPECT_THAT(loaded->config.rpc.listen_addresses, ElementsAre("unix:/tmp/a", "127.0.0.1:1"));
  EXPECT_EQ(loaded->origins.at("memory_budget"), "--memory-budget");
  EXPECT_EQ(loaded->origins.at("log_level"), "ALAYA_LOG_LEVEL");
  EXPECT_EQ(loaded->origins.at("worker_threads"), path);
  EXPECT_EQ(loaded->origins.count("data_dir"), 0U);
}

TEST_F(ConfigLoaderTest, ListenIsRepeatableAndCommaSeparatedInTheEnvironment) {
  const auto flags = Load({"--listen", "unix:/tmp/a", "--listen=127.0.0.1:2"});
  ASSERT_TRUE(flags.ok()) << flags.status();
  EXPECT_THAT(flags->config.rpc.listen_addresses, ElementsAre("unix:/tmp/a", "127.0.0.1:2"));

  const auto environment = Load({}, {{"ALAYA_LISTEN", "127.0.0.1:3,unix:/tmp/b"}});
  ASSERT_TRUE(environment.ok()) << environment.status();
  EXPECT_THAT(environment->config.rpc.listen_addresses, ElementsAre("127.0.0.1:3", "unix:/tmp/b"));
}

TEST_F(ConfigLoaderTest, WhatClientsReadFromTheEnvironmentIsLeftToThem) {
  EXPECT_TRUE(Load({}, {{"ALAYA_SERVER", "127.0.0.1:50600"}, {"ALAYA_CLIENT_API_KEY", "x"}}).ok());
}

TEST_F(ConfigLoaderTest, UnknownNamesNameTheNearestKnownOne) {
  EXPECT_THAT(ErrorOf({"--memory-bugdet", "1GiB"}),
              AllOf(HasSubstr("--memory-bugdet"), HasSubstr("--memory-budget")));
  EXPECT_THAT(ErrorOf({}, {{"ALAYA_DATADIR", "x"}}),
              AllOf(HasSubstr("ALAYA_DATADIR"), HasSubstr("ALAYA_DATA_DIR")));
  const std::string path = WriteFile("log_levle = \"info\"\n");
  EXPECT_THAT(ErrorOf({"--config", path}),
              AllOf(HasSubstr(path), HasSubstr("log_levle"), HasSubstr("log_level")));
}

TEST_F(ConfigLoaderTest, BadValuesNameKeyValueAndWhatIsAllowed) {
  struct Case {
    const char* key;
    const char* value;
    const char* allowed;
  };
  for (const Case& c : std::vector<Case>{{"memory_budget", "8GB", "KiB, MiB, GiB or TiB"},
                                         {"memory_budget", "1MiB", "16MiB"},
                                         {"worker_threads", "-1", "a whole number"},
                                         {"worker_threads", "5000", "0 to 1024"},
                                         {"blocking_threads", "0", "1 to 1024"},
                                         {"log_level", "verbose", "trace|debug|info|warning|error"},
                                         {"log_format", "xml", "text|json"},
                                         {"drain_timeout", "30", "ms, s, m or h"},
                                         {"drain_timeout", "0s", "above 0"},
                                         {"insecure", "yes", "true or false"},
                                         {"listen", "nowhere", "host:port"},
                                         {"metrics_listen", "unix:/tmp/x", "host:port"},
                                         {"data_dir", "", "a path"},
                                         {"disk_eviction", "maybe", "off|on"},
                                         {"disk_evict_label", "cache", "name=value"},
                                         {"max_message_bytes", "4GiB", "allowed is 64KiB"},
                                         {"max_items_per_request", "0", "1 to"}}) {
    std::string variable = std::string("ALAYA_") + c.key;
    for (char& letter : variable) letter = static_cast<char>(std::toupper(letter));
    EXPECT_THAT(ErrorOf({}, {{variable, c.value}}),
                AllOf(HasSubstr(c.key), HasSubstr("\"" + std::string(c.value) + "\""),
                      HasSubstr(c.allowed)));
  }
}

TEST_F(ConfigLoaderTest, BadFilesAreExplained) {
  EXPECT_THAT(ErrorOf({"--config", "/nonexistent/file.toml"}), HasSubstr("/nonexistent/file.toml"));
  EXPECT_THAT(ErrorOf({"--config", WriteFile("data_dir = \n")}), HasSubstr("line 1"));
  EXPECT_THAT(ErrorOf({"--config", WriteFile("memory_budget = 1.5\n")}),
              HasSubstr("memory_budget"));
  EXPECT_THAT(ErrorOf({"--config", WriteFile("listen = [1.5]\n")}), HasSubstr("array of strings"));
  EXPECT_THAT(ErrorOf({"--config", WriteFile("[data_dir]\nx = 1\n")}), HasSubstr("data_dir"));
}

TEST_F(ConfigLoaderTest, WaterMarksMustFitEachOther) {
  EXPECT_THAT(ErrorOf({"--disk-high-water=1GiB", "--disk-low-water=2GiB"}),
              HasSubstr("disk_low_water = 2GiB is above disk_high_water = 1GiB"));
  EXPECT_THAT(ErrorOf({"--disk-eviction=on"}), HasSubstr("disk_high_water"));
  const auto loaded =
      Load({"--disk-high-water=10GiB", "--disk-eviction=on", "--disk-evict-label=tier=cache"});
  ASSERT_TRUE(loaded.ok());
  const DiskQuotaOptions& quota = loaded->config.store.quota;
  EXPECT_TRUE(quota.evicts);
  EXPECT_EQ(quota.low_water(), (uint64_t{10} << 30) / 10 * 9);
  EXPECT_EQ(quota.evict_label.second, "cache");
}

TEST_F(ConfigLoaderTest, AddressesThatOthersReachNeedEncryptionAndKeys) {
  const std::vector<std::string> secure = {"--tls-cert=c", "--tls-key=k", "--api-key-files=a"};
  for (const char* flag : {"--listen=0.0.0.0:50600", "--metrics-listen=0.0.0.0:50601",
                           "--health-listen=0.0.0.0:50602"}) {
    std::vector<std::string> flags = secure;
    flags.emplace_back(flag);
    EXPECT_TRUE(Load(flags).ok()) << flag;
    EXPECT_THAT(ErrorOf({flag, "--tls-cert=c", "--tls-key=k"}), HasSubstr("api_key_files"));
    EXPECT_THAT(ErrorOf({flag, "--api-key-files=a"}), HasSubstr("tls_cert"));
  }
}

TEST_F(ConfigLoaderTest, SecuritySettingsMustFitEachOther) {
  EXPECT_THAT(ErrorOf({"--tls-cert=c"}), HasSubstr("tls_key"));
  EXPECT_THAT(ErrorOf({"--tls-key=k"}), HasSubstr("tls_cert"));
  EXPECT_THAT(ErrorOf({"--tls-client-ca=a"}), HasSubstr("tls_cert"));
  EXPECT_THAT(ErrorOf({"--unix-socket-keys=off"}), HasSubstr("api_key_files"));
  EXPECT_THAT(ErrorOf({"--unix-socket-mode=0999"}), HasSubstr("octal"));
  EXPECT_THAT(ErrorOf({"--unix-socket-mode=07777"}), HasSubstr("octal"));
  EXPECT_THAT(ErrorOf({"--unix-socket-users=no-such-user"}), HasSubstr("user"));
  const auto loaded = Load({"--unix-socket-mode=0660", "--unix-socket-users=root",
                            "--unix-socket-users=1234", "--api-key-files=a", "--api-key-files=b"});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->config.rpc.unix_socket_mode, 0660U);
  EXPECT_THAT(loaded->config.rpc.acceptor.unix_users, ElementsAre(0U, 1234U));
  EXPECT_THAT(loaded->config.access.key_files, ElementsAre("a", "b"));
}

TEST_F(ConfigLoaderTest, UsersOfUnixSocketsAreTenants) {
  const auto loaded = Load({"--unix-socket-tenants", "1234:team-a:write", "--unix-socket-tenants",
                            "root:default:admin"});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const UnixIdentity team{.user = 1234, .tenant = "team-a", .role = Role::kWrite};
  const UnixIdentity root{.user = 0, .tenant = "default", .role = Role::kAdmin};

  EXPECT_THAT(loaded->config.access.unix_identities, ElementsAre(team, root));
  const auto again = Load({"--config", WriteFile(PrintConfig(*loaded))});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_THAT(again->config.access.unix_identities, ElementsAre(team, root));

  const std::vector<std::pair<std::string, std::string>> bad = {
      {"1234", "USER:TENANT:ROLE"},         {"1234:a", "USER:TENANT:ROLE"},
      {"no such user:a:read", "name of a"}, {":a:read", "name of a"},
      {"1234::read", "tenant's name"},      {"1234:a b:read", "tenant's name"},
      {"1234:a:owner", "read, write or"},   {"1234:a:read:x", "read, write or"}};
  for (const auto& [text, why] : bad) {
    EXPECT_THAT(ErrorOf({"--unix-socket-tenants", text}), HasSubstr(why)) << text;
  }
  EXPECT_THAT(ErrorOf({"--unix-socket-tenants", "1:a:read", "--unix-socket-tenants", "1:b:read"}),
              HasSubstr("twice"));
}

TEST_F(ConfigLoaderTest, TenantsHaveLimitsOfTheirOwn) {
  const std::string path = WriteFile(
      "tenant_max_sessions = 3\n[tenants.team-a]\nmax_stored_bytes = \"1GiB\"\n"
      "[tenants.\"b.2\"]\nmax_sessions = 9\n");
  const auto loaded =
      Load({"--config", path, "--tenant-max-streams=7"}, {{"ALAYA_TENANT_MAX_SESSIONS", "4"}});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const TenantLimitsTable& limits = loaded->config.engine.tenant_limits;

  TenantLimits expected = TenantLimitsTable().others;
  expected.max_sessions = 4;
  expected.max_streams = 7;
  EXPECT_EQ(limits.Of("anybody"), expected);
  expected.max_stored_bytes = uint64_t{1} << 30;
  EXPECT_EQ(limits.Of("team-a"), expected);
  expected.max_stored_bytes = 0;
  expected.max_sessions = 9;
  EXPECT_EQ(limits.Of("b.2"), expected);
  const auto again = Load({"--config", WriteFile(PrintConfig(*loaded))});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->config.engine.tenant_limits.named, limits.named);
}

TEST_F(ConfigLoaderTest, ATenantsMemoryIsEnoughToWorkWith) {
  EXPECT_THAT(ErrorOf({"--tenant-max-memory-bytes=1MiB"}),
              AllOf(HasSubstr("tenant_max_memory_bytes"), HasSubstr("1MiB"), HasSubstr("16MiB")));
  EXPECT_THAT(ErrorOf({"--config", WriteFile("[tenants.a]\nmax_memory_bytes = \"2MiB\"\n")}),
              HasSubstr("tenants.a.max_memory_bytes"));
  EXPECT_TRUE(Load({"--tenant-max-memory-bytes=16MiB"}).ok());
}

TEST_F(ConfigLoaderTest, BadTenantsAreExplained) {
  EXPECT_THAT(ErrorOf({"--config", WriteFile("[tenants.a]\nmax_sesions = 1\n")}),
              AllOf(HasSubstr("tenants.a"), HasSubstr("max_sesions"), HasSubstr("max_sessions")));
  EXPECT_THAT(ErrorOf({"--config", WriteFile("[tenants.a]\nmax_sessions = \"many\"\n")}),
              AllOf(HasSubstr("tenants.a.max_sessions"), HasSubstr("many")));
  EXPECT_THAT(ErrorOf({"--config", WriteFile("[tenants.\"a b\"]\n")}), HasSubstr("letters"));
  EXPECT_THAT(ErrorOf({"--config", WriteFile("tenants = 3\n")}), HasSubstr("table"));
}

TEST_F(ConfigLoaderTest, AddressesThatOthersReachNeedInsecure) {
  for (const char* flag : {"--listen=0.0.0.0:50600", "--metrics-listen=[::]:50601"}) {
    EXPECT_THAT(ErrorOf({flag}), HasSubstr("--insecure"));
    EXPECT_TRUE(Load({flag, "--insecure"}).ok());
    EXPECT_TRUE(Load({flag}, {{"ALAYA_INSECURE", "true"}}).ok());
  }
}

TEST_F(ConfigLoaderTest, PositionalAndRepeatedSingleValuesAreRefused) {
  EXPECT_THAT(ErrorOf({"serve"}), HasSubstr("serve"));
  EXPECT_THAT(ErrorOf({"--data-dir", "a", "--data-dir", "b"}), HasSubstr("--data-dir"));
  ErrorOf({"--data-dir"});
}

TEST_F(ConfigLoaderTest, BytesThatCouldNotBePrintedAreRefused) {
  const auto loaded = Load({}, {{"ALAYA_LISTEN", "unix:/tmp/\xdc"}});

  EXPECT_EQ(Message(loaded.status()), "ALAYA_LISTEN: listen is not text in UTF-8");
}

TEST_F(ConfigLoaderTest, PrintedConfigurationReadsBackTheSame) {
  const auto loaded =
      Load({"--data-dir", "/tmp/with \"quotes\"\\\n", "--listen", "unix:/tmp/a", "--listen",
            "127.0.0.1:0", "--memory-budget", "123456789", "--log-format", "json", "--insecure"});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const std::string printed = PrintConfig(*loaded);

  const auto again = Load({"--config", WriteFile(printed)});

  ASSERT_TRUE(again.ok()) << again.status() << printed;
  for (const ConfigOption& option : ConfigOptions()) {
    EXPECT_EQ(option.Toml(again->config), option.Toml(loaded->config)) << option.key;
  }
  EXPECT_THAT(printed, HasSubstr("memory_budget = \"123456789\"  # from --memory-budget"));
  EXPECT_THAT(printed, HasSubstr("drain_timeout = \"30s\"  # default"));
}

TEST_F(ConfigLoaderTest, TheSampleFileHoldsTheDefaults) {
  std::ifstream file(ALAYA_SAMPLE_CONFIG);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  EXPECT_EQ(text, SampleConfig());

  const auto loaded = Load({"--config", ALAYA_SAMPLE_CONFIG, "--check-config"});

  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(loaded->check_only);
  for (const ConfigOption& option : ConfigOptions()) {
    EXPECT_EQ(option.Toml(loaded->config), option.Toml(ServerConfig())) << option.key;
  }
}

TEST_F(ConfigLoaderTest, HelpNamesEveryFlagAndItsVariable) {
  const auto loaded = Load({"--help"});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  for (const ConfigOption& option : ConfigOptions()) {
    EXPECT_THAT(loaded->text_to_print, HasSubstr(option.flag()));
    EXPECT_THAT(loaded->text_to_print, HasSubstr(option.environment()));
  }
  EXPECT_EQ(Load({"--version"})->text_to_print, "version 1\n");
}

}  // namespace
}  // namespace alaya
