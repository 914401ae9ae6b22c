// What encryption and keys cost an Attend on a warm stream.
//
//   security_bench [--tiny]
//
// Two servers that differ in nothing else: one takes plain connections from anybody, the
// other wants TLS and an API key. One session on each decodes over the same context; their
// requests take turns in short rounds, so that both see the same machine. Overhead is what
// the client saw minus the engine's own time.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "client/client.h"
#include "tests/integration/kv_sequence.h"
#include "tests/integration/service_calls.h"
#include "tests/support/quality.h"
#include "tests/support/run_program.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_directory.h"
#include "tests/support/test_certificates.h"

namespace alaya {
namespace {

constexpr char kKey[] = "alaya_key-of-the-benchmark";

struct BenchPlan {
  size_t context_tokens = 4096;
  size_t rounds = 40;
  size_t requests_per_round = 100;
};

// A server, and one session on it that decodes.
struct Side {
  std::string name;
  std::unique_ptr<ServerProcess> server;
  std::optional<client::Client> client;
  std::string session;
  std::optional<client::BlockingAttendStream> stream;
  std::vector<double> client_us;
  std::vector<double> overhead_us;
};

StatusOr<Side> StartSide(std::string name, const std::string& directory,
                         std::vector<std::string> arguments, const client::ClientOptions& options,
                         const KvSequence& sequence, size_t context_tokens) {
  Side side;
  side.name = std::move(name);
  ALAYA_ASSIGN_OR_RETURN(side.server, ServerProcess::Start({.data_directory = directory,
                                                            .arguments = std::move(arguments)}));
  ALAYA_ASSIGN_OR_RETURN(side.client,
                         client::Client::Connect(side.server->grpc_address(), options));
  ALAYA_RETURN_IF_ERROR(RegisterModel(*side.client, sequence.model()));
  const KvSequence context = sequence.Branch(context_tokens, context_tokens, /*seed=*/1);
  ALAYA_RETURN_IF_ERROR(Import(*side.client, context, "context").status());
  ALAYA_ASSIGN_OR_RETURN(side.session, OpenSession(*side.client, "context"));
  side.stream.emplace(side.client->AttendBlocking());
  return side;
}

Status Decode(const KvSequence& sequence, size_t position, Side* side) {
  pb::AttendItem item = sequence.AskAndAppend(side->session, /*layer=*/0, position);
  const auto start = std::chrono::steady_clock::now();
  ALAYA_ASSIGN_OR_RETURN(const pb::AttendResult result, side->stream->AttendOne(std::move(item)));
  const std::chrono::duration<double, std::micro> seen = std::chrono::steady_clock::now() - start;
  side->client_us.push_back(seen.count());
  side->overhead_us.push_back(seen.count() - result.stats().engine_microseconds());
  return OkStatus();
}

Status Run(const BenchPlan& plan) {
  const TempDirectory directory;
  const TestAuthority authority(directory / "authority");
  const TestCertificate certificate = authority.Issue("server");
  const std::string hash =
      RunProgram("printf %s '" + std::string(kKey) + "' | sha256sum").output.substr(0, 64);
  std::ofstream(directory / "keys") << "bench default admin sha256:" << hash << "\n";
  client::ClientOptions secure;
  secure.tls.emplace().ca_file = authority.ca_file();
  secure.api_key = kKey;

  const size_t request_count = plan.rounds * plan.requests_per_round;
  const KvSequence sequence(MakeModel("bench", {.layers = 1}), plan.context_tokens + request_count,
                            /*seed=*/1);
  std::vector<Side> sides;
  ALAYA_ASSIGN_OR_RETURN(Side plain, StartSide("plain TCP", directory / "plain", {}, {}, sequence,
                                               plan.context_tokens));
  sides.push_back(std::move(plain));
  ALAYA_ASSIGN_OR_RETURN(Side secured,
                         StartSide("TLS and key", directory / "secure",
                                   {"--tls-cert", certificate.certificate, "--tls-key",
                                    certificate.private_key, "--api-key-files", directory / "keys"},
                                   secure, sequence, plan.context_tokens));
  sides.push_back(std::move(secured));

  for (size_t round = 0; round < plan.rounds; ++round) {
    for (Side& side : sides) {
      for (size_t i = 0; i < plan.requests_per_round; ++i) {
        const size_t position = plan.context_tokens + round * plan.requests_per_round + i;
        ALAYA_RETURN_IF_ERROR(Decode(sequence, position, &side));
      }
    }
  }
  fmt::print("{} tokens, {} requests each; microseconds\n{:>12} {:>19} {:>19}\n",
             plan.context_tokens, request_count, "", "client p50  p99", "overhead p50  p99");
  for (const Side& side : sides) {
    fmt::print("{:>12} {:>9.1f} {:>9.1f} {:>9.1f} {:>9.1f}\n", side.name,
               Percentile(side.client_us, 0.5), Percentile(side.client_us, 0.99),
               Percentile(side.overhead_us, 0.5), Percentile(side.overhead_us, 0.99));
  }
  fmt::print("TLS and key add {:.1f} at p50 (overhead: {:.1f})\n",
             Percentile(sides[1].client_us, 0.5) - Percentile(sides[0].client_us, 0.5),
             Percentile(sides[1].overhead_us, 0.5) - Percentile(sides[0].overhead_us, 0.5));
  return OkStatus();
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  alaya::BenchPlan plan;
  if (argc > 1 && std::string_view(argv[1]) == "--tiny") {
    plan = {.context_tokens = 512, .rounds = 2, .requests_per_round = 5};
  } else if (argc > 1) {
    std::fprintf(stderr, "usage: security_bench [--tiny]\n");
    return EXIT_FAILURE;
  }
  const alaya::Status status = alaya::Run(plan);
  if (status.ok()) return EXIT_SUCCESS;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return EXIT_FAILURE;
}
