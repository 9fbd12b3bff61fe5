/* SPDX-License-Identifier: MIT */
/*
 * The HALLOC_* environment, read once at the first allocation and constant afterwards.
 *
 * The variables are found on the initial stack, where the kernel put them: the first allocation comes before libc
 * has set `environ`. Programs with raised privileges (AT_SECURE) get the defaults. A malformed or unknown variable
 * prints one line that names it, its value and the accepted form; the default is then used.
 */
#ifndef HA_BASE_CONFIG_H
#define HA_BASE_CONFIG_H

#include <limits.h>

#include "base/address_text.h"
#include "base/compiler.h"
#include "base/limit_text.h"

enum ha_unwind_mode { HA_UNWIND_AUTO, HA_UNWIND_DWARF, HA_UNWIND_FP, HA_UNWIND_LIBGCC };

enum ha_background { HA_BACKGROUND_AUTO, HA_BACKGROUND_OFF, HA_BACKGROUND_ON };

#define HA_STACK_DEPTH_MAX 1024
#define HA_LABEL_KEY_MAX 64    /* bytes of a label's key */
#define HA_LABEL_KEYS_MAX 1024 /* bytes of the list of keys */
#define HA_HTTP_TOKEN_MAX 256  /* bytes of the token */

struct ha_config {
  int64_t profile_rate;   /* HALLOC_MEMPROFILERATE: mean bytes between samples; 1 all, 0 none */
  int64_t stack_depth;    /* HALLOC_STACKDEPTH: frames kept per sample */
  int64_t mutex_fraction; /* HALLOC_MUTEXPROFILEFRACTION: one of so many contentions is recorded; 0 none */
  int64_t block_rate;     /* HALLOC_BLOCKPROFILERATE: nanoseconds; 0 none */
  int64_t memstats;       /* HALLOC_MEMSTATS: 1 prints the statistics at exit */
  enum ha_unwind_mode unwind;         /* HALLOC_UNWIND */
  enum ha_background background;      /* HALLOC_BACKGROUND: the release thread */
  struct ha_limit_setting memlimit;   /* HALLOC_MEMLIMIT; all zero is off */
  bool has_label_keys;                /* HALLOC_LABEL_KEYS is set: only the keys in it become labels */
  char label_keys[HA_LABEL_KEYS_MAX]; /* names with commas between; may be empty */
  int64_t label_thread;               /* HALLOC_LABEL_THREAD: 1 makes the thread's name a label of its samples */
  struct ha_address http;             /* HALLOC_HTTP: where to serve; all zero is nowhere */
  char http_token[HA_HTTP_TOKEN_MAX + 1]; /* HALLOC_HTTP_TOKEN; empty when unset */
  bool is_http_token_malformed;           /* nothing is served then: without it everybody could read */
  int64_t http_cmdline;                   /* HALLOC_HTTP_CMDLINE: 1 serves the command line */
  char profile_path[PATH_MAX]; /* HALLOC_MEMPROFILE; empty when unset. A copy: programs overwrite their
                                  environment */
};

/* The process's configuration: defaults until ha_config_load has run. */
extern struct ha_config ha_config;

/* Reads the initial environment; all calls but the first do nothing. The first comes before any thread exists. Does not
 * allocate. */
void ha_config_load(void);

/* As ha_config_load for a given NULL-terminated list of NAME=value strings; for tests. */
void ha_config_parse(struct ha_config *config, char *const *environment);

#endif
