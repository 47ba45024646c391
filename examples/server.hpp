// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "arguments.hpp"

#include <leat/net/serve_threads.hpp>
#include <leat/runtime/runtime.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>

#include <functional>
#include <string>

/// The frame that the servers among the examples share: an orderly end on signals, and exit codes.
namespace server {

/// `leat::serve_until_signal` at `common.address`. Says on standard output where it listens and on which
/// backends, once clients can connect to every listener.
///
/// On the first executor, whatever the number of threads: the others serve, and no more. `beside` may start tasks in the group,
/// that end with it.
leat::Task<leat::ServeReport>
serve(std::string name, leat::Runtime& runtime, const arguments::Common& common,
      leat::ConnectionHandler handler,
      std::function<void(leat::TaskGroup&, const leat::ThreadedServeControl&)> beside = nullptr);

/// Parses the command line, makes a runtime, and runs `body(runtime)` on its first executor. Gives the exit
/// code: 2 for wrong arguments, 1 for other failures; each prints one line on standard error.
int run(arguments::Parser& parser, int argc, char* argv[], const arguments::Common& common,
        const std::function<leat::Task<>(leat::Runtime&)>& body);

}  // namespace server
