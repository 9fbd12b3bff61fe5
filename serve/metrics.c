/* SPDX-License-Identifier: MIT */
/*
 * The statistics are read once for all; most metrics are a row of a table: where the value is in them.
 */
#include "serve/metrics.h"

#include "alloc/stats.h"
#include "base/clock.h"
#include "base/log.h"
#include "sampler/heap_profile.h"
#include "sampler/interval.h"
#include "sampler/sample.h"
#include "sampler/stack.h"
#include "serve/http_routes.h"
#include "serve/http_status.h"

#define DECIMALS 9

void ha_metric_family(struct ha_body *body, const struct ha_metric *metric) {
  ha_body_format(body, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
                 metric->type);
}

void ha_metric_number(struct ha_body *body, const struct ha_metric *metric, uint64_t value) {
  ha_metric_family(body, metric);
  ha_body_format(body, "%s %lu\n", metric->name, value);
}

void ha_metric_seconds(struct ha_body *body, const struct ha_metric *metric, uint64_t nanos) {
  char decimals[DECIMALS + 1];
  uint64_t rest = nanos % HA_SECOND;
  for (int i = DECIMALS - 1; i >= 0; i--) {
    decimals[i] = (char)('0' + rest % 10);
    rest /= 10;
  }
  decimals[DECIMALS] = '\0';
  ha_metric_family(body, metric);
  ha_body_format(body, "%s %lu.%s\n", metric->name, nanos / HA_SECOND, decimals);
}

#define STAT(field) offsetof(struct hp_memstats, field)

static const struct statistic {
  struct ha_metric metric;
  size_t offset;
} statistics[] = {
    {{"halloc_heap_alloc_bytes", "gauge", "Bytes of blocks in use."}, STAT(HeapAlloc)},
    {{"halloc_heap_inuse_bytes", "gauge",
      "Address space for blocks that holds some; heap_sys = inuse + idle."},
     STAT(HeapInuse)},
    {{"halloc_heap_idle_bytes", "gauge",
      "Address space for blocks that holds none; released is a part of it."},
     STAT(HeapIdle)},
    {{"halloc_heap_released_bytes", "gauge", "Idle address space that takes no memory."}, STAT(HeapReleased)},
    {{"halloc_heap_sys_bytes", "gauge", "Address space for blocks."}, STAT(HeapSys)},
    {{"halloc_heap_objects", "gauge", "Blocks in use; mallocs - frees."}, STAT(HeapObjects)},
    {{"halloc_alloc_bytes_total", "counter", "Bytes of all blocks ever allocated."}, STAT(TotalAlloc)},
    {{"halloc_mallocs_total", "counter", "Blocks ever allocated."}, STAT(Mallocs)},
    {{"halloc_frees_total", "counter", "Blocks ever freed."}, STAT(Frees)},
    {{"halloc_sys_bytes", "gauge",
      "Address space for blocks and for halloc itself; sys - heap_released is what the memory limit bounds."},
     STAT(Sys)},
    {{"halloc_memory_limit_exceeded_total", "counter", "Times that the memory limit could not be kept."},
     STAT(MemoryLimitExceeded)},
    {{"halloc_released_bytes_total", "counter", "Bytes given back to the kernel."}, STAT(ReleasedTotal)},
    {{"halloc_profile_memory_bytes", "gauge", "Memory of the profiler's tables."}, STAT(BuckHashSys)},
    {{"halloc_threads", "gauge", "Threads that have allocated and not ended."}, STAT(Threads)},
};

static void put_statistics(struct ha_body *body, const struct hp_memstats *stats) {
  static const struct ha_metric limit = {"halloc_memory_limit_bytes", "gauge",
                                         "Limit on sys - heap_released; absent without one."};
  static const struct ha_metric release = {"halloc_release_cpu_seconds_total", "counter",
                                           "Processor time that giving memory back took."};
  for (size_t i = 0; i < HA_ARRAY_LEN(statistics); i++) {
    const char *field = (const char *)stats + statistics[i].offset;
    ha_metric_number(body, &statistics[i].metric, *(const uint64_t *)(const void *)field);
  }
  if (stats->MemoryLimit != INT64_MAX) {
    ha_metric_number(body, &limit, stats->MemoryLimit);
  }
  ha_metric_seconds(body, &release, stats->ReleaseCPUNanos);
}

static void put_profiler(struct ha_body *body) {
  static const struct ha_metric rate = {"halloc_profile_rate_bytes", "gauge",
                                        "Mean bytes between samples; 0: nothing is sampled."};
  static const struct ha_metric samples = {"halloc_profile_samples_total", "counter", "Blocks sampled."};
  static const struct ha_metric live = {"halloc_profile_live_samples", "gauge", "Sampled blocks in use."};
  static const struct ha_metric stacks = {"halloc_profile_stacks", "gauge", "Distinct call stacks."};
  static const struct ha_metric drops = {"halloc_profile_samples_dropped_total", "counter",
                                         "Samples that could not be recorded."};
  struct ha_heap_totals totals = ha_heap_totals();
  ha_metric_number(body, &rate, (uint64_t)ha_rate());
  ha_metric_number(body, &samples, (uint64_t)totals.sampled[0]);
  ha_metric_number(body, &live, (uint64_t)totals.sampled[2]);
  ha_metric_number(body, &stacks, ha_stack_count());
  ha_metric_family(body, &drops);
  for (int reason = 0; reason < HA_DROP_COUNT; reason++) {
    ha_body_format(body, "%s{reason=\"%s\"} %lu\n", drops.name, ha_drop_name((enum ha_drop)reason),
                   ha_samples_dropped((enum ha_drop)reason));
  }
}

static void put_build(struct ha_body *body) {
  static const struct ha_metric build = {"halloc_build_info", "gauge",
                                         "1; the labels say which build this is."};
  ha_metric_family(body, &build);
  ha_body_format(body, "%s{version=\"" HA_VERSION "\",compiler=\"" __VERSION__ "\",checks=\"%s\"} 1\n",
                 build.name, HA_CHECKS ? "on" : "off");
}

void ha_route_metrics(struct ha_answer *answer, const struct ha_http_request *request) {
  (void)request;
  struct hp_memstats stats;
  ha_stats_read(&stats);
  ha_answer_start(answer, HA_STATUS_OK, "text/plain; version=0.0.4; charset=utf-8");
  put_statistics(&answer->body, &stats);
  put_profiler(&answer->body);
  put_build(&answer->body);
  ha_metrics_of_process(&answer->body);
}
