/* SPDX-License-Identifier: MIT */
/*
 * The handlers behind the paths. Each fills an answer; none may keep the request.
 */
#ifndef HA_SERVE_HTTP_ROUTES_H
#define HA_SERVE_HTTP_ROUTES_H

#include "serve/http_answer.h"

#define HA_PPROF_ROOT "/debug/pprof/"

typedef void ha_route_fn(struct ha_answer *answer, const struct ha_http_request *request);

ha_route_fn ha_route_front; /* / */
/* The live page asks for the token itself, since a browser cannot; it tells nothing about the process. */
ha_route_fn ha_route_front_without_token;
ha_route_fn ha_route_metrics;        /* /metrics */
ha_route_fn ha_route_memstats;       /* /memstats */
ha_route_fn ha_route_pprof_index;    /* /debug/pprof/ */
ha_route_fn ha_route_pprof_profile;  /* /debug/pprof/NAME */
ha_route_fn ha_route_pprof_cmdline;  /* /debug/pprof/cmdline */
ha_route_fn ha_route_pprof_symbol;   /* /debug/pprof/symbol and /pprof/symbol */
ha_route_fn ha_route_legacy_heap;    /* /pprof/heap: the text form, whatever the query says */
ha_route_fn ha_route_legacy_profile; /* /pprof/profile */
ha_route_fn ha_route_legacy_program; /* /pprof/cmdline: the program's name */

/* How many answers may wait at a time; a further one is refused. */
#define HA_WAITING_MAX 16

/* In a forked child no answer waits. */
void ha_routes_after_fork_in_child(void);

#endif
