/* SPDX-License-Identifier: MIT */
/*
 * One table of variables: name, how its value is read, what is accepted. Adding a variable is adding a row.
 */
#include "base/config.h"

#include <string.h>
#include <sys/auxv.h>

#include "base/atomic.h"
#include "base/log.h"
#include "base/text.h"

#define DEFAULT_PROFILE_RATE (512 * 1024) /* Go's runtime.MemProfileRate */
#define DEFAULT_STACK_DEPTH 128           /* Go's since 1.23 */

#define DEFAULTS                                                                                             \
  { .profile_rate = DEFAULT_PROFILE_RATE, .stack_depth = DEFAULT_STACK_DEPTH, .unwind = HA_UNWIND_AUTO }

struct ha_config ha_config = DEFAULTS;

struct variable {
  const char *name; /* without the HALLOC_ prefix */
  bool (*read)(struct ha_config *config, const char *value);
  const char *accepted;
};

/* Decimal digits only; false on anything else and outside [low, high]. */
static bool read_integer(const char *value, int64_t low, int64_t high, int64_t *result) {
  int64_t number = 0;
  if (*value == '\0') {
    return false;
  }
  for (; *value != '\0'; value++) {
    if (*value < '0' || *value > '9' || __builtin_mul_overflow(number, 10, &number) ||
        __builtin_add_overflow(number, *value - '0', &number)) {
      return false;
    }
  }
  if (number < low || number > high) {
    return false;
  }
  *result = number;
  return true;
}

static bool read_rate(struct ha_config *config, const char *value) {
  return read_integer(value, 0, INT64_MAX, &config->profile_rate);
}

static bool read_depth(struct ha_config *config, const char *value) {
  return read_integer(value, 1, HA_STACK_DEPTH_MAX, &config->stack_depth);
}

static bool read_mutex_fraction(struct ha_config *config, const char *value) {
  return read_integer(value, 0, INT_MAX, &config->mutex_fraction);
}

static bool read_block_rate(struct ha_config *config, const char *value) {
  return read_integer(value, 0, INT64_MAX, &config->block_rate);
}

static bool read_memstats(struct ha_config *config, const char *value) {
  return read_integer(value, 0, 1, &config->memstats);
}

static bool read_label_thread(struct ha_config *config, const char *value) {
  return read_integer(value, 0, 1, &config->label_thread);
}

static bool read_path(struct ha_config *config, const char *value) {
  size_t length = strlen(value);
  if (length == 0 || length >= sizeof config->profile_path) {
    return false;
  }
  memcpy(config->profile_path, value, length + 1);
  return true;
}

static bool read_unwind(struct ha_config *config, const char *value) {
  static const char *const modes[] = {"auto", "dwarf", "fp", "libgcc"};
  for (unsigned i = 0; i < HA_ARRAY_LEN(modes); i++) {
    if (strcmp(value, modes[i]) == 0) {
      config->unwind = (enum ha_unwind_mode)i;
      return true;
    }
  }
  return false;
}

static bool read_memlimit(struct ha_config *config, const char *value) {
  return ha_limit_text_parse(&config->memlimit, value);
}

static bool read_background(struct ha_config *config, const char *value) {
  if (strcmp(value, "auto") == 0) {
    config->background = HA_BACKGROUND_AUTO;
    return true;
  }
  int64_t number;
  if (!read_integer(value, 0, 1, &number)) {
    return false;
  }
  config->background = number != 0 ? HA_BACKGROUND_ON : HA_BACKGROUND_OFF;
  return true;
}

/* "a,b,c", or nothing at all. */
static bool are_label_keys(const char *value) {
  for (const char *key = value; *value != '\0'; key++) {
    size_t size = ha_text_name(key);
    key += size;
    if (size == 0 || size > HA_LABEL_KEY_MAX || (*key != ',' && *key != '\0')) {
      return false;
    }
    if (*key == '\0') {
      break;
    }
  }
  return true;
}

static bool read_label_keys(struct ha_config *config, const char *value) {
  size_t length = strlen(value);
  if (length >= sizeof config->label_keys || !are_label_keys(value)) {
    return false;
  }
  memcpy(config->label_keys, value, length + 1);
  config->has_label_keys = true;
  return true;
}

static bool read_http(struct ha_config *config, const char *value) {
  return ha_address_text_parse(&config->http, value);
}

static bool read_http_token(struct ha_config *config, const char *value) {
  size_t length = 0;
  while (value[length] > ' ' && value[length] <= '~') {
    length++;
  }
  if (length == 0 || length > HA_HTTP_TOKEN_MAX || value[length] != '\0') {
    config->is_http_token_malformed = true;
    return false;
  }
  memcpy(config->http_token, value, length + 1);
  return true;
}

static bool read_http_cmdline(struct ha_config *config, const char *value) {
  return read_integer(value, 0, 1, &config->http_cmdline);
}

static const struct variable variables[] = {
    {"MEMLIMIT", read_memlimit, HA_LIMIT_TEXT_ACCEPTED},
    {"BACKGROUND", read_background, "auto, 0 or 1"},
    {"MEMPROFILERATE", read_rate, "an integer of at least 0 (bytes; 1 samples all, 0 none)"},
    {"MEMPROFILE", read_path, "a path shorter than 4096 bytes"},
    {"MUTEXPROFILEFRACTION", read_mutex_fraction, "an integer from 0 to 2147483647 (one of so many; 0 none)"},
    {"BLOCKPROFILERATE", read_block_rate, "an integer of at least 0 (nanoseconds; 1 all, 0 none)"},
    {"MEMSTATS", read_memstats, "0 or 1"},
    {"STACKDEPTH", read_depth, "an integer from 1 to 1024"},
    {"LABEL_KEYS", read_label_keys, "names of letters, digits and _ with commas between, at most 1023 bytes"},
    {"LABEL_THREAD", read_label_thread, "0 or 1"},
    {"UNWIND", read_unwind, "auto, dwarf, fp or libgcc"},
    {"HTTP", read_http, HA_ADDRESS_TEXT_ACCEPTED},
    {"HTTP_TOKEN", read_http_token, "1 to 256 visible ASCII characters without spaces"},
    {"HTTP_CMDLINE", read_http_cmdline, "0 or 1"},
};

static void complain(const struct variable *variable, const char *value) {
  if (variable->read == read_http_token) {
    /* The value is a secret, and to go on without it would open what was to be closed. */
    ha_log("HALLOC_%s: expected %s; nothing is served", variable->name, variable->accepted);
  } else {
    ha_log("HALLOC_%s=%s: expected %s; the default is used", variable->name, value, variable->accepted);
  }
}

static void apply(struct ha_config *config, const char *name, size_t name_length, const char *value) {
  for (unsigned i = 0; i < HA_ARRAY_LEN(variables); i++) {
    const struct variable *variable = &variables[i];
    if (strlen(variable->name) != name_length || memcmp(variable->name, name, name_length) != 0) {
      continue;
    }
    if (!variable->read(config, value)) {
      complain(variable, value);
    }
    return;
  }
  char unknown[64];
  size_t kept = name_length < sizeof unknown ? name_length : sizeof unknown - 1;
  memcpy(unknown, name, kept);
  unknown[kept] = '\0';
  ha_log("HALLOC_%s: this version has no such variable; it is ignored", unknown);
}

void ha_config_parse(struct ha_config *config, char *const *environment) {
  static const char prefix[] = "HALLOC_";
  const size_t prefix_length = sizeof prefix - 1;
  for (; *environment != NULL; environment++) {
    if (strncmp(*environment, prefix, prefix_length) != 0) {
      continue;
    }
    const char *name = *environment + prefix_length;
    const char *equals = strchr(name, '=');
    if (equals != NULL) {
      apply(config, name, (size_t)(equals - name), equals + 1);
    }
  }
}

/* Set by ld.so before any library runs: the address of argc, with argv and the environment behind it. */
extern void *__libc_stack_end;

void ha_config_load(void) {
  static bool is_loaded; /* atomic */
  if (ha_load_acquire(&is_loaded) || ha_exchange_acq_rel(&is_loaded, true)) {
    return;
  }
  if (getauxval(AT_SECURE) != 0 || __libc_stack_end == NULL) {
    return;
  }
  long argc = *(long *)__libc_stack_end;
  char *const *argv = (char *const *)((long *)__libc_stack_end + 1);
  ha_config_parse(&ha_config, argv + argc + 1);
}
