/* SPDX-License-Identifier: MIT */
/*
 * The text of an address to listen at, as HALLOC_HTTP has it:
 *
 *   127.0.0.1:6060   [::1]:6060   localhost:6060   :6060 or 6060 (127.0.0.1)   unix:/path
 *
 * A port of 0 lets the kernel choose one. Hosts are numbers or "localhost"; names are not looked up.
 *
 * Pure: keeps no state, async-signal-safe. Costs one pass over the text.
 */
#ifndef HA_BASE_ADDRESS_TEXT_H
#define HA_BASE_ADDRESS_TEXT_H

#include "base/compiler.h"

enum ha_address_kind { HA_ADDRESS_NONE, HA_ADDRESS_IPV4, HA_ADDRESS_IPV6, HA_ADDRESS_UNIX };

/* With its NUL. A socket's name has 108 bytes, of which 12 are kept for the one it is bound to first. */
#define HA_ADDRESS_PATH_MAX 96
/* "unix:" and the path is the longest. */
#define HA_ADDRESS_TEXT_MAX (HA_ADDRESS_PATH_MAX + 8)

struct ha_address {
  enum ha_address_kind kind;
  uint16_t port;        /* in the machine's byte order; 0: any */
  unsigned char ip[16]; /* in the network's byte order; 4 or 16 bytes of it */
  char path[HA_ADDRESS_PATH_MAX];
};

/* For messages: "expected " HA_ADDRESS_TEXT_ACCEPTED. */
#define HA_ADDRESS_TEXT_ACCEPTED                                                                             \
  "IP:PORT such as 127.0.0.1:6060 or [::1]:6060, :PORT for 127.0.0.1 (0: any free port), or unix:/path (at " \
  "most "                                                                                                    \
  "95 bytes)"

/* False, and the address is as it was, unless the whole text is of one of the forms above. */
bool ha_address_text_parse(struct ha_address *address, const char *text);

/* Whether only this machine can reach it. */
bool ha_address_is_local(const struct ha_address *address);

/* The text; returns its length, as ha_format. */
size_t ha_address_format(const struct ha_address *address, char *out, size_t size);

#endif
