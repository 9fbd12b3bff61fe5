/* SPDX-License-Identifier: MIT */
/*
 * A second opinion on unwind rules: libunwind, asked symbolically.
 *
 * It lives in libhalloc-unwind.so, which is loaded at start-up when HALLOC_UNWIND=dwarf asks for it; its only
 * exported symbol is the function below. libunwind runs in an address space of its own making, on made-up
 * registers, so it reads unwind tables but never a real stack.
 */
#ifndef HA_SAMPLER_RESOLVER_H
#define HA_SAMPLER_RESOLVER_H

#include "sampler/rule.h"

typedef struct ha_rule ha_resolve_fn(uintptr_t pc);

/* As ha_rule_find. One call at a time; not in signal handlers. */
struct ha_rule ha_libunwind_resolve(uintptr_t pc);

#endif
