// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "server_process.hpp"
#include "strace.hpp"

#include <cstddef>
#include <string>

/// What holds of a server whatever strace does to its calls.
namespace leat::test {

/// New connections come one after the other; each is served, or closed where the fault allows that. How many were served.
std::size_t count_served(EchoServer& server, int connections);

/// After a fault a connection may still be turned away; in the end one is served.
void expect_recovery(EchoServer& server);

/// Asked to, it ends as if nothing had been.
void expect_clean_end(EchoServer& server);

/// Lockstep, streaming and half-closed traffic, all of it under `fault`, which hits `call` more than a few times.
void expect_byte_exact_traffic(const Injection& fault, const std::string& call);

/// What is sent to it without being read stops, and then comes back whole, under `fault`.
void expect_a_narrow_reader_gets_everything(const Injection& fault);

}  // namespace leat::test
