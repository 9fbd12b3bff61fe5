/* SPDX-License-Identifier: MIT */
/*
 * The port is behind the last colon, the host before it.
 */
#include "base/address_text.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/log.h"

#define HOST_MAX 64
#define PORT_DIGITS_MAX 5
#define UNIX_PREFIX "unix:"

static bool parse_port(const char *text, uint16_t *port) {
  unsigned number = 0;
  size_t digits = 0;
  for (; text[digits] >= '0' && text[digits] <= '9' && digits < PORT_DIGITS_MAX; digits++) {
    number = number * 10 + (unsigned)(text[digits] - '0');
  }
  if (digits == 0 || text[digits] != '\0' || number > UINT16_MAX) {
    return false;
  }
  *port = (uint16_t)number;
  return true;
}

static bool parse_path(struct ha_address *address, const char *path) {
  size_t length = strlen(path);
  if (path[0] != '/' || length >= sizeof address->path) {
    return false;
  }
  address->kind = HA_ADDRESS_UNIX;
  memcpy(address->path, path, length + 1);
  return true;
}

static bool parse_host(struct ha_address *address, const char *host) {
  size_t length = strlen(host);
  char inner[HOST_MAX];
  if (length == 0 || strcmp(host, "localhost") == 0) {
    host = "127.0.0.1";
  }
  if (host[0] == '[' && host[length - 1] == ']') {
    memcpy(inner, host + 1, length - 2);
    inner[length - 2] = '\0';
    address->kind = HA_ADDRESS_IPV6;
    return inet_pton(AF_INET6, inner, address->ip) == 1;
  }
  address->kind = HA_ADDRESS_IPV4;
  return inet_pton(AF_INET, host, address->ip) == 1;
}

bool ha_address_text_parse(struct ha_address *address, const char *text) {
  struct ha_address parsed;
  memset(&parsed, 0, sizeof parsed);
  if (strncmp(text, UNIX_PREFIX, sizeof UNIX_PREFIX - 1) == 0) {
    if (!parse_path(&parsed, text + sizeof UNIX_PREFIX - 1)) {
      return false;
    }
    *address = parsed;
    return true;
  }
  const char *colon = strrchr(text, ':');
  size_t host_length = colon != NULL ? (size_t)(colon - text) : 0;
  char host[HOST_MAX];
  if (host_length >= sizeof host) {
    return false;
  }
  memcpy(host, text, host_length);
  host[host_length] = '\0';
  if (!parse_host(&parsed, host) || !parse_port(colon != NULL ? colon + 1 : text, &parsed.port)) {
    return false;
  }
  *address = parsed;
  return true;
}

bool ha_address_is_local(const struct ha_address *address) {
  static const unsigned char loopback[sizeof address->ip] = {[sizeof address->ip - 1] = 1};
  const unsigned char loopback_net = 127;
  switch (address->kind) {
  case HA_ADDRESS_UNIX:
    return true;
  case HA_ADDRESS_IPV4:
    return address->ip[0] == loopback_net;
  case HA_ADDRESS_IPV6:
    return memcmp(address->ip, loopback, sizeof loopback) == 0;
  default:
    return false;
  }
}

size_t ha_address_format(const struct ha_address *address, char *out, size_t size) {
  char host[INET6_ADDRSTRLEN] = "";
  switch (address->kind) {
  case HA_ADDRESS_UNIX:
    return ha_format(out, size, UNIX_PREFIX "%s", address->path);
  case HA_ADDRESS_IPV4:
    inet_ntop(AF_INET, address->ip, host, sizeof host);
    return ha_format(out, size, "%s:%u", host, (unsigned)address->port);
  case HA_ADDRESS_IPV6:
    inet_ntop(AF_INET6, address->ip, host, sizeof host);
    return ha_format(out, size, "[%s]:%u", host, (unsigned)address->port);
  default:
    return ha_format(out, size, "%s", "");
  }
}
