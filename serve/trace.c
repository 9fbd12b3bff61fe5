/* SPDX-License-Identifier: MIT */
/*
 * Begin, wait, end, encode.
 */
#include "serve/trace.h"

#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "sampler/interval.h"
#include "sampler/trace.h"
#include "serve/kinds.h"
#include "serve/pprof_library.h"

#define PAUSE_NANOS (HA_SECOND / 10)
#define AS_TEXT 1

static int open_trace(struct ha_profile *profile, const char *name, const struct ha_kind_memory *memory) {
  (void)name;
  ha_trace_profile(profile);
  ha_kind_comment(profile, memory, "halloc: version=" HA_VERSION " pid=%d rate=%ld", (int)getpid(),
                  (long)ha_rate());
  ha_kind_comment(profile, memory, "halloc: lost dropped=%lu", ha_trace_dropped());
  return 0;
}

static const struct ha_kind trace_kind = {.name = "trace", .open = open_trace};

/* False: it was asked to end early. */
static bool pass_time(uint64_t nanos, bool (*goes_on)(void *arg), void *arg) {
  uint64_t now = ha_clock_monotonic();
  for (uint64_t end = now + nanos; now < end; now = ha_clock_monotonic()) {
    struct timespec time = {0, (long)(end - now < PAUSE_NANOS ? end - now : PAUSE_NANOS)};
    syscall(SYS_nanosleep, &time, NULL);
    if (goes_on != NULL && !goes_on(arg)) {
      return false;
    }
  }
  return true;
}

int ha_trace_begin(void) {
  return ha_pprof_library() != NULL ? ha_trace_start() : -ELIBACC;
}

int ha_trace_stop_encode(struct ha_profile_file *ret_file) {
  ha_trace_stop();
  int error = ha_profile_encode_kind(&trace_kind, AS_TEXT, ret_file);
  ha_trace_discard();
  return error;
}

void ha_trace_abandon(void) {
  ha_trace_stop();
  ha_trace_discard();
}

int ha_trace_collect(uint64_t nanos, bool (*goes_on)(void *arg), void *arg,
                     struct ha_profile_file *ret_file) {
  int error = ha_trace_begin();
  if (error != 0) {
    return error;
  }
  if (!pass_time(nanos, goes_on, arg)) {
    ha_trace_abandon();
    return -ECANCELED;
  }
  return ha_trace_stop_encode(ret_file);
}
