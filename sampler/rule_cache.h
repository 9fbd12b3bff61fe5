/* SPDX-License-Identifier: MIT */
/*
 * The rules found so far, by address: what makes a warm stack walk cheap.
 *
 * One table for the process, no locks: a lookup is a few loads, a new rule is published with two stores.
 * Where the table is full around an address, the rule is found anew each time. Unloading a library forgets
 * all rules; one that is used a moment too long can give a wrong frame but never a fault, since walks check
 * what they read.
 */
#ifndef HA_SAMPLER_RULE_CACHE_H
#define HA_SAMPLER_RULE_CACHE_H

#include "sampler/rule.h"

/* As ha_rule_find, remembered. Lock-free; callable in malloc and in signal handlers. */
struct ha_rule ha_rule_lookup(uintptr_t pc);

/* From now on rules come from `resolve` when it is free, which is called for one thread at a time. Once, at
 * start-up. */
void ha_rules_resolve_with(struct ha_rule (*resolve)(uintptr_t pc));

/* Code may have gone or come at known addresses. Any thread. */
void ha_rules_forget(void);

/* Lookups that had to find the rule, so far. */
uint64_t ha_rule_misses(void);

#endif
