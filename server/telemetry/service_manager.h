// Tells the service manager that started the process how it is: systemd's notify
// protocol, a datagram of NAME=VALUE lines to a Unix socket (man sd_notify).

#ifndef ALAYA_SERVER_TELEMETRY_SERVICE_MANAGER_H_
#define ALAYA_SERVER_TELEMETRY_SERVICE_MANAGER_H_

#include <string>
#include <string_view>

#include "storage/types/status.h"

namespace alaya {

constexpr std::string_view kServiceReady = "READY=1\nSTATUS=serving";
constexpr std::string_view kServiceStopping = "STOPPING=1\nSTATUS=draining";

// `socket` is what the environment variable NOTIFY_SOCKET says: a path, or a name with
// a leading @ of Linux's abstract namespace; empty: nobody asked, and nothing is done.
// Errors: InvalidArgument, Unavailable; the service itself is none the worse.
Status NotifyServiceManager(const std::string& socket, std::string_view state);

}  // namespace alaya

#endif  // ALAYA_SERVER_TELEMETRY_SERVICE_MANAGER_H_
