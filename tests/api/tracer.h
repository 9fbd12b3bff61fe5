/* SPDX-License-Identifier: MIT */
/*
 * A tracer of static probes, by ptrace alone: runs a function in a child with breakpoints on probes, and has
 * each hit reported with its arguments, read from where the probe's note says. Threads of the child are
 * traced too.
 *
 * The child's semaphores are what they are until the tracer is told to raise them.
 */
#ifndef TESTS_API_TRACER_H
#define TESTS_API_TRACER_H

#include <stdbool.h>

#include "tests/api/notes.h"

#define TRACER_ARGUMENTS_MAX 3

struct tracer_probe {
  struct probe_note note;
  bool is_attached; /* raise the semaphore before the child goes on */
};

/* Called in the tracing process, in the order of the hits. */
typedef void tracer_hit_fn(unsigned probe, const uint64_t arguments[TRACER_ARGUMENTS_MAX], void *arg);

/* Runs body in a child and returns when it has ended; fails the test unless it exited with 0. Skips the test
 * where the kernel or the container forbids tracing. */
void tracer_run(const struct tracer_probe *probes, unsigned count, void (*body)(void), tracer_hit_fn *hit,
                void *arg);

#endif
