// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "arguments.hpp"

#include <leat/net/serve.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>

#include <CLI/CLI.hpp>

#include <functional>
#include <string>

/// The frame that the servers among the examples share: an orderly end on signals, and exit codes.
namespace server {

/// Serves connections at `common.address` until SIGTERM or SIGINT: the first one lets connections finish what has
/// arrived, the second one ends them. Says on standard output where it listens.
///
/// `beside` may start tasks in the group that end with it.
leat::Task<leat::ServeReport>
serve_until_signal(std::string name, leat::Executor& executor, const arguments::Common& common,
                   leat::ConnectionHandler handler,
                   std::function<void(leat::TaskGroup&, const leat::ServeControl&)> beside = nullptr);

/// Parses the command line, runs `body(executor)` to its end, and gives the exit code. What fails is one line on standard
/// error: 2 if the arguments are wrong, 1 for the rest.
int run(CLI::App& app, int argc, char* argv[], const arguments::Common& common,
        const std::function<leat::Task<>(leat::Executor&)>& body);

}  // namespace server
