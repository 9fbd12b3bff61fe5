/* SPDX-License-Identifier: MIT */
/*
 * `halloc heap`: show a heap profile as text, without pprof.
 *
 * Reads the file (profile_reader.h), names the frames (stacks.h), adds the values up (top.h) and prints a
 * table of functions, whole stacks or JSON (heap_print.h). The option names are pprof's where pprof has the
 * same thing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/heap_print.h"
#include "tools/options.h"
#include "tools/report.h"
#include "tools/verbs.h"

#define DEFAULT_NODE_COUNT 30
#define TYPE_LIST_MAX 512

enum heap_option {
  OPT_SAMPLE_INDEX,
  OPT_INUSE_SPACE,
  OPT_INUSE_OBJECTS,
  OPT_ALLOC_SPACE,
  OPT_ALLOC_OBJECTS,
  OPT_NODECOUNT,
  OPT_CUM,
  OPT_STACKS,
  OPT_RSS,
  OPT_COMMENTS,
  OPT_JSON,
  OPT_HELP,
};

static const struct ha_option options[] = {
    [OPT_SAMPLE_INDEX] = {"sample_index", "i", "the name of a sample type, such as inuse_space"},
    [OPT_INUSE_SPACE] = {"inuse_space", NULL, NULL},
    [OPT_INUSE_OBJECTS] = {"inuse_objects", NULL, NULL},
    [OPT_ALLOC_SPACE] = {"alloc_space", NULL, NULL},
    [OPT_ALLOC_OBJECTS] = {"alloc_objects", NULL, NULL},
    [OPT_NODECOUNT] = {"nodecount", "n", "an integer >= 0 (entries shown; 0 = all)"},
    [OPT_CUM] = {"cum", NULL, NULL},
    [OPT_STACKS] = {"stacks", NULL, NULL},
    [OPT_RSS] = {"rss", NULL, NULL},
    [OPT_COMMENTS] = {"comments", NULL, NULL},
    [OPT_JSON] = {"json", NULL, NULL},
    [OPT_HELP] = {"help", "h", NULL},
};

static const char help[] =
    "usage: halloc heap [options] FILE\n"
    "\n"
    "Prints the functions that hold the memory in a heap profile (pprof format, gzip or plain).\n"
    "flat is what a function allocated itself, cum what it and the functions it called allocated.\n"
    "\n"
    "  -i, --sample_index NAME  a value of the profile, such as inuse_space or freed_objects (default: the\n"
    "                           profile's own choice); those of a heap profile also as flags: --alloc_space\n"
    "  -n, --nodecount N        entries shown (default 30; 0 = all)\n"
    "  --cum                    sort by cum instead of flat\n"
    "  --stacks                 show whole stacks, innermost function first, instead of functions\n"
    "  --rss                    show an rss profile: where the resident memory of the process is\n"
    "  --comments               print the comments of the profile and nothing else\n"
    "  --json                   print one JSON object\n"
    "\n"
    "The last line says how exact the total is: sampling gives estimates with a known standard error.\n";

struct heap_request {
  const char *file;
  const char *type; /* NULL: the profile's own choice */
  uint64_t node_count;
  bool by_cum, stacks, rss, comments, json;
};

static bool set_node_count(struct heap_request *request, const char *value) {
  if (ha_parse_number(value, 0, SIZE_MAX, &request->node_count))
    return true;
  ha_complain("--nodecount: %s: expected %s; nothing was read", value, options[OPT_NODECOUNT].value_form);
  return false;
}

static bool apply_option(struct heap_request *request, enum heap_option option, const char *value) {
  switch (option) {
  case OPT_SAMPLE_INDEX:
    request->type = value;
    return true;
  case OPT_INUSE_SPACE:
  case OPT_INUSE_OBJECTS:
  case OPT_ALLOC_SPACE:
  case OPT_ALLOC_OBJECTS:
    request->type = options[option].name;
    return true;
  case OPT_NODECOUNT:
    return set_node_count(request, value);
  case OPT_CUM:
    return request->by_cum = true;
  case OPT_STACKS:
    return request->stacks = true;
  case OPT_RSS:
    return request->rss = true;
  case OPT_COMMENTS:
    return request->comments = true;
  case OPT_JSON:
    return request->json = true;
  case OPT_HELP:
    break;
  }
  return true;
}

static bool apply_word(struct heap_request *request, const char *word) {
  if (request->file != NULL) {
    ha_complain("heap: %s: expected one profile, %s was given before; nothing was read", word, request->file);
    return false;
  }
  request->file = word;
  return true;
}

/* HA_EXIT_DONE, HA_EXIT_USAGE or HA_HELP_WANTED. */
static int read_request(char **words, struct heap_request *request) {
  struct ha_arguments args = {"heap", options, HA_ARRAY_LEN(options), words, 0, NULL};
  bool only_words = false;
  for (;;) {
    int option = only_words && words[args.next] != NULL ? HA_ARGUMENT_PLAIN : ha_arguments_next(&args);
    if (only_words && option == HA_ARGUMENT_PLAIN)
      args.value = words[args.next++];
    if (option == HA_ARGUMENT_END)
      break;
    if (option == HA_ARGUMENT_DASHES)
      only_words = true;
    else if (option == OPT_HELP)
      return HA_HELP_WANTED;
    else if (option == HA_ARGUMENT_BAD || (option == HA_ARGUMENT_PLAIN && !apply_word(request, args.value)) ||
             (option >= 0 && !apply_option(request, (enum heap_option)option, args.value)))
      return HA_EXIT_USAGE;
  }
  if (request->file == NULL)
    return ha_complain("heap: profile: expected a file, as in 'halloc heap FILE'; nothing was read");
  return HA_EXIT_DONE;
}

static bool is_running_process(const char *source) {
  uint64_t pid;
  bool is_url = strstr(source, "://") != NULL || strncmp(source, "unix:", strlen("unix:")) == 0;
  return access(source, F_OK) != 0 && (is_url || ha_parse_number(source, 0, UINT64_MAX, &pid));
}

static void list_types(const struct ha_pprof *profile, char ret_list[TYPE_LIST_MAX]) {
  size_t used = 0;
  ret_list[0] = '\0';
  for (size_t i = 0; i < ha_pprof_type_count(profile) && used < TYPE_LIST_MAX; i++)
    used += (size_t)snprintf(ret_list + used, TYPE_LIST_MAX - used, "%s%.64s", i == 0 ? "" : ", ",
                             ha_pprof_type(profile, i).type);
}

/* As in pprof, a number counts the types from 0, and inuse_space also finds a type called space. */
static int find_type(const struct ha_pprof *profile, const char *name) {
  static const char inuse[] = "inuse_";
  uint64_t number;
  if (name != NULL && ha_parse_number(name, 0, ha_pprof_type_count(profile) - 1, &number))
    return (int)number;
  int type = ha_pprof_find_type(profile, name);
  if (type < 0 && strncmp(name, inuse, strlen(inuse)) == 0)
    type = ha_pprof_find_type(profile, name + strlen(inuse));
  if (type < 0) {
    char list[TYPE_LIST_MAX];
    list_types(profile, list);
    ha_complain("--sample_index: %s: expected one of %s; nothing was shown", name, list);
  }
  return type;
}

static void print_comments(const struct ha_pprof *profile) {
  for (size_t i = 0; i < ha_pprof_comment_count(profile); i++) {
    ha_put_text(stdout, ha_pprof_comment(profile, i));
    putchar('\n');
  }
}

static int find_rss(const struct heap_request *request, const struct ha_pprof *profile) {
  int type = ha_pprof_find_type(profile, HA_RSS_TYPE);
  if (type < 0) {
    char list[TYPE_LIST_MAX];
    list_types(profile, list);
    ha_complain(
        "--rss: %s: expected an rss profile, which hp_write_profile(\"rss\", fd, 0) writes, this one has %s;"
        " nothing was shown",
        request->file, list);
  }
  return type;
}

static int show_profile(const struct heap_request *request, const struct ha_pprof *profile) {
  int type = request->rss ? find_rss(request, profile) : find_type(profile, request->type);
  if (type < 0)
    return HA_EXIT_USAGE;
  struct ha_stacks *stacks = ha_stacks_new(profile, request->stacks ? HA_NAME_FULL : HA_NAME_SHORT);
  if (stacks == NULL)
    return HA_EXIT_USAGE;
  double *variances = ha_accuracy_variances(profile, (size_t)type);
  struct ha_top top = request->stacks
                          ? ha_top_stacks(stacks, (size_t)type, variances, ha_pprof_type_count(profile))
                          : ha_top_functions(stacks, (size_t)type, variances, request->by_cum);
  bool is_cut = request->node_count != 0 && request->node_count < top.count;
  struct ha_heap_view view = {
      profile, stacks, &top, (size_t)type, is_cut ? request->node_count : top.count, variances != NULL};
  if (request->json)
    ha_heap_print_json(&view);
  else
    ha_heap_print_text(&view);
  ha_top_done(&top);
  free(variances);
  ha_stacks_free(stacks);
  return HA_EXIT_DONE;
}

static int heap_verb(char **words) {
  struct heap_request request = {.node_count = DEFAULT_NODE_COUNT};
  int status = read_request(words, &request);
  if (status != HA_EXIT_DONE)
    return status;
  if (is_running_process(request.file))
    return ha_complain(
        "heap: %s: expected a profile file; reading from a running process is not available in this"
        " version",
        request.file);
  struct ha_pprof *profile = ha_pprof_open(request.file);
  if (profile == NULL)
    return HA_EXIT_USAGE;
  if (request.comments)
    print_comments(profile);
  else
    status = show_profile(&request, profile);
  ha_pprof_free(profile);
  return status;
}

const struct ha_verb ha_verb_heap = {"heap", "show where the memory in a heap profile is", help, heap_verb};
