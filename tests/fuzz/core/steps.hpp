// SPDX-License-Identifier: GPL-2.0
// What a step can be. `place` is that of the file that it is done to; the caller is world.who.
#pragma once

#include "tests/fuzz/core/world.hpp"

namespace stm::fuzz {

using Act = void (*)(World& world, const Step& step, std::size_t place);

// files.cc
void open_node(World& world, const Step& step, std::size_t place);
void open_region(World& world, const Step& step, std::size_t place);
void close_file(World& world, const Step& step, std::size_t place);
void close_descriptor(World& world, const Step& step, std::size_t place);

// calls.cc
void read(World& world, const Step& step, std::size_t place);
void write(World& world, const Step& step, std::size_t place);

// transactions.cc
void start(World& world, const Step& step, std::size_t place);
void commit(World& world, const Step& step, std::size_t place);
void cancel(World& world, const Step& step, std::size_t place);
void validate(World& world, const Step& step, std::size_t place);
void wait(World& world, const Step& step, std::size_t place);
void transaction_info(World& world, const Step& step, std::size_t place);
// A transaction has begun. `seen` began before the call that has begun it. Predicted: its pages are
// mapped from the start.
void started(World& world, std::size_t place, std::optional<Observer> seen, bool predicted);
// The outermost part was committed, or could not be; for all steps that end one.
void ended_by_commit(World& world, std::size_t place, Transaction& own, long result);

// vectors.cc
void vector(World& world, const Step& step, std::size_t place);

// typed.cc
void typed_read(World& world, const Step& step, std::size_t place);
void typed_commit(World& world, const Step& step, std::size_t place);
void typed_wait(World& world, const Step& step, std::size_t place);

// mappings.cc
void map(World& world, const Step& step, std::size_t place);
void load(World& world, const Step& step, std::size_t place);
void store(World& world, const Step& step, std::size_t place);
void unmap(World& world, const Step& step, std::size_t place);

// ends.cc
void end(World& world, const Step& step, std::size_t place);

// requests.cc
void set_size(World& world, const Step& step, std::size_t place);
void info(World& world, const Step& step, std::size_t place);
void places(World& world, const Step& step, std::size_t place);
void attachments(World& world, const Step& step, std::size_t place);
void destroy(World& world, const Step& step, std::size_t place);
void statistics(World& world, const Step& step, std::size_t place);
void timers_or_any_request(World& world, const Step& step, std::size_t place);
void version_or_look(World& world, const Step& step, std::size_t place);
void change_settings_or_rights(World& world, const Step& step, std::size_t place);

} // namespace stm::fuzz
