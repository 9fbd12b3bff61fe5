/* SPDX-License-Identifier: MIT */
/*
 * halloc: a malloc with an always-on heap profiler. C99 and C++11.
 *
 * Nothing here needs initialising. Functions that return int give 0 or a negative errno value; nothing
 * aborts. Names and meanings follow Go's runtime, runtime/debug and runtime/pprof packages where Go has the
 * thing.
 */
#ifndef HALLOC_H
#define HALLOC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HP_VERSION "0.1.0"

/* ---- Statistics ---- */

/* Number of size classes of small and medium blocks. */
#define HP_SIZE_CLASSES 88

/*
 * Memory statistics with the field names and identities of Go's runtime.MemStats. Sizes in bytes.
 *
 *   Alloc = HeapAlloc = TotalAlloc - what was freed      HeapObjects = Mallocs - Frees
 *   HeapSys = HeapInuse + HeapIdle                       HeapReleased <= HeapIdle, HeapAlloc <= HeapInuse
 *   Sys = HeapSys + StackSys + MSpanSys + MCacheSys + BuckHashSys + GCSys + OtherSys
 *
 * Block sizes count as they are handed out: a request is rounded up to its size class, or to 4 KiB above 128
 * KiB. Mallocs, Frees and TotalAlloc never fall from one reading to the next. Fields of Go that mean nothing without a
 * garbage collector are 0, so that dashboards made for Go find them; PauseNs, PauseEnd, GCCPUFraction, EnableGC and
 * DebugGC are left out.
 */
struct hp_memstats {
  uint64_t Alloc;        /* as HeapAlloc */
  uint64_t TotalAlloc;   /* bytes of all blocks ever allocated */
  uint64_t Sys;          /* address space for blocks, and what halloc uses for itself */
  uint64_t Lookups;      /* 0 */
  uint64_t Mallocs;      /* blocks ever allocated */
  uint64_t Frees;        /* blocks ever freed */
  uint64_t HeapAlloc;    /* bytes of blocks in use */
  uint64_t HeapSys;      /* address space for blocks */
  uint64_t HeapIdle;     /* of that: what holds no block: free spans, and OS pages of others that never held one or were
                            given back */
  uint64_t HeapInuse;    /* of that: the rest */
  uint64_t HeapReleased; /* of HeapIdle: not backed by memory: given back, or never used yet */
  uint64_t HeapObjects;  /* blocks in use */
  uint64_t StackInuse;   /* 0: thread stacks are not halloc's */
  uint64_t StackSys;     /* 0 */
  uint64_t MSpanInuse;   /* as MSpanSys */
  uint64_t MSpanSys;     /* halloc's descriptors of spans, and the maps from addresses to them and to what is resident */
  uint64_t MCacheInuse;  /* per-thread heaps of running threads */
  uint64_t MCacheSys;    /* halloc's per-thread heaps */
  uint64_t BuckHashSys;  /* the profiler's tables: stacks, counters, records of live samples */
  uint64_t GCSys;        /* 0, as are all fields of Go's collector: */
  uint64_t OtherSys;     /* mapped for halloc's own use, not handed out yet */
  uint64_t NextGC;       /* 0 */
  uint64_t LastGC;       /* 0 */
  uint64_t PauseTotalNs; /* 0 */
  uint64_t NumGC;        /* 0 */
  uint64_t NumForcedGC;  /* 0 */

  /* Not in Go's struct. */
  uint64_t Threads;             /* threads that have allocated and not ended */
  uint64_t RSS;                 /* resident memory of the whole process; 0 if /proc cannot be read */
  uint64_t MinorFaults;         /* page faults of the process that needed no disk, so far */
  uint64_t MajorFaults;         /* those that did */
  uint64_t MemoryLimit;         /* INT64_MAX: none */
  uint64_t MemoryLimitExceeded; /* how often the limit could not be kept, so far */
  uint64_t ReleasedTotal;       /* bytes given back to the kernel, ever; what was used again and given back again counts
                                   twice. Freed blocks above 32 MiB are not in it */
  uint64_t ReleaseCPUNanos;     /* processor time that took */
  struct {
    uint32_t Size;    /* bytes of a block of the class */
    uint64_t Mallocs; /* ever, of this class */
    uint64_t Frees;
  } BySize[HP_SIZE_CLASSES];
};

/*
 * Reads the statistics. `size` is sizeof *out as the caller was compiled, so that fields can be added later.
 *
 * Exact whenever no thread is inside malloc or free; otherwise each number is off by at most what is in
 * flight. Returns 0, or -EINVAL if out is NULL or size is 0. Thread-safe, async-signal-safe, stops and waits
 * for no one, does not allocate. Cost: one pass over the page descriptors, 13 microseconds, mostly
 * system calls for what the kernel counts, and about 70 for each GiB in small blocks.
 */
int hp_memstats_read(struct hp_memstats *out, size_t size);

/* The statistics as a value. As hp_memstats_read. */
static inline struct hp_memstats hp_memstats(void) {
  struct hp_memstats stats;
  hp_memstats_read(&stats, sizeof stats);
  return stats;
}

/* ---- Memory limit ---- */

/*
 * Sets a soft limit on Sys - HeapReleased, the memory that halloc takes from the machine, and returns the previous one;
 * a negative argument only reads; INT64_MAX is off. Go's runtime/debug.SetMemoryLimit.
 *
 * When an allocation would cross the limit, idle memory is given back first. If that is not enough the allocation
 * succeeds all the same and MemoryLimitExceeded rises. A limit given as "hard" in HALLOC_MEMLIMIT makes it fail with
 * ENOMEM instead; this function keeps that choice. If idle memory is above the new limit it is given back before the
 * function returns. Thread-safe; not for signal handlers.
 */
int64_t hp_set_memory_limit(int64_t bytes);

/* What a function registered with hp_on_memory_pressure is told. */
struct hp_pressure {
  int level;           /* 1: the limit was met, and kept by giving idle memory back; 2: it could not be kept */
  uint64_t limit;      /* bytes */
  uint64_t quantity;   /* Sys - HeapReleased at that moment */
  uint64_t bytes_over; /* by how much that is above the limit; 0 at level 1 */
};

/*
 * Registers a function that is called when the limit is met, so that the program can shrink its caches; up to 8. fn
 * NULL removes all. It is called at most once a second for each level, outside all locks, on a thread that may allocate and
 * free: halloc's background thread, or with HALLOC_BACKGROUND=0 the allocating thread, in the middle of its malloc (but
 * not if libc called malloc).
 * Returns 0, or -ENOMEM when 8 different pairs of fn and arg have been registered. Thread-safe.
 */
int hp_on_memory_pressure(void (*fn)(const struct hp_pressure *pressure, void *arg), void *arg);

/*
 * Gives as much memory back to the kernel as can be had, whatever the limit. Go's runtime/debug.FreeOSMemory, and what
 * malloc_trim does. Other threads give up the empty pages they keep with their next slow path. Thread-safe; not
 * for signal handlers. Cost: about 100 microseconds for each MiB given back.
 */
void hp_free_os_memory(void);

/* ---- Labels ---- */

/*
 * A label set: keys with values that say on whose behalf memory is allocated. Go's pprof.Labels. A small
 * value to be copied; all zero is the empty set. A set lives as long as the process, and equal labels are one
 * set.
 *
 * Each thread has a current set, at first that of the thread that created it. A sampled block keeps the set
 * it was allocated with, so that profiles split both what was allocated and what is in use.
 */
typedef struct {
  uint32_t id; /* halloc's */
} hp_labels_t;

#if defined(__GNUC__)
#define HP_SENTINEL_ __attribute__((sentinel))
#else
#define HP_SENTINEL_
#endif

/*
 * The set with these labels: key, value, key, value and so on. The macro adds the NULL at the end; without
 * it, as in (hp_labels)("key", "value", NULL), write it yourself.
 *
 * Of a key given twice the later value wins. A label whose value is "" or NULL, and a last key without value,
 * are left out. Keys are names [a-zA-Z_][a-zA-Z0-9_]* of at most 64 bytes; others are left out, as are
 * "bytes", "request", "age" and "lifetime", those that begin with "__" or "halloc_", and those that
 * HALLOC_LABEL_KEYS does not list. Values are cut to 128 bytes, and what is not printable UTF-8 becomes
 * '?'. A set has at most 16 labels, a process 65,536 sets and 16 MiB of them: beyond that, values become
 * "[other]". Thread-safe; not for signal handlers. Does not allocate from the heap. Cost: about 100 ns for
 * two labels. Values that never repeat (request ids, times) use the sets up.
 */
hp_labels_t hp_labels(const char *key, const char *value, ...) HP_SENTINEL_;
#ifdef __cplusplus
#define hp_labels(...) hp_labels(__VA_ARGS__, nullptr, nullptr)
#else
#define hp_labels(...) hp_labels(__VA_ARGS__, (const char *)0, (const char *)0)
#endif

/*
 * Calls fn with `labels` merged over the thread's current set, key by key, and then restores the set that the
 * thread had: also when fn is left by a C++ exception, by pthread_exit or because the thread is cancelled.
 * After a longjmp out of fn its labels stay until a caller's hp_do or HP_SCOPE ends, or hp_set_labels. Go's
 * pprof.Do. Does not allocate. Cost of both ends together: less than 10 ns if these two sets were merged
 * before.
 */
void hp_do(hp_labels_t labels, void (*fn)(void));
void hp_do_arg(hp_labels_t labels, void (*fn)(void *arg), void *arg);

/* Makes `labels` the thread's set and returns the one it had. Async-signal-safe. Cost: about 2 ns. */
hp_labels_t hp_set_labels(hp_labels_t labels);

/* As hp_set_labels with `labels` merged over the current set. Thread-safe. */
hp_labels_t hp_add_labels(hp_labels_t labels);

/* The thread's set. Async-signal-safe. */
hp_labels_t hp_current_labels(void);

/* The value of a key in the thread's set, or NULL. The text lives as long as the process. Async-signal-safe.
 * */
const char *hp_label(const char *key);

/*
 * HP_SCOPE(labels) { ... } merges `labels` over the thread's set for the length of the block. The thread's
 * set is restored when the block is left by its end, break, continue, return or goto, and in C++ by an
 * exception. In C, exceptions, pthread_exit and cancellation restore it if the file is compiled with
 * -fexceptions. break and continue leave the block, not a loop around it. Cost: as hp_do.
 */
#define HP_SCOPE_JOIN_(a, b) a##b
#define HP_SCOPE_NAME_(line) HP_SCOPE_JOIN_(hp_scope_, line)
#ifdef __cplusplus
#define HP_SCOPE(labels) for (::hp::scope HP_SCOPE_NAME_(__LINE__)(labels); HP_SCOPE_NAME_(__LINE__).first();)

extern "C++" {
namespace hp {
/* The same as an object: from its construction to its destruction, on one thread, last made first destroyed.
 * */
class scope {
public:
  explicit scope(hp_labels_t labels) : before_(hp_add_labels(labels)), is_first_(true) {
  }
  ~scope() {
    hp_set_labels(before_);
  }
  scope(const scope &) = delete;
  scope &operator=(const scope &) = delete;
  /* True once: for HP_SCOPE. */
  bool first() {
    bool is_first = is_first_;
    is_first_ = false;
    return is_first;
  }

private:
  hp_labels_t before_;
  bool is_first_;
};
} // namespace hp

/* Calls f and returns what it returns. */
template <class F> auto hp_do(hp_labels_t labels, F &&f) -> decltype(static_cast<F &&>(f)()) {
  hp::scope scope(labels);
  return static_cast<F &&>(f)();
}
}
#else
struct hp_scope_ {
  hp_labels_t before;
  int is_first;
};

static inline struct hp_scope_ hp_scope_enter_(hp_labels_t labels) {
  struct hp_scope_ scope;
  scope.before = hp_add_labels(labels);
  scope.is_first = 1;
  return scope;
}

static inline void hp_scope_leave_(struct hp_scope_ *scope) {
  hp_set_labels(scope->before);
}

#define HP_SCOPE(labels)                                                                                     \
  for (struct hp_scope_ HP_SCOPE_NAME_(__LINE__)                                                             \
           __attribute__((cleanup(hp_scope_leave_))) = hp_scope_enter_(labels);                              \
       HP_SCOPE_NAME_(__LINE__).is_first; HP_SCOPE_NAME_(__LINE__).is_first = 0)
#endif

/* ---- Profiles ---- */

/*
 * Sets the mean number of bytes between samples: 1 samples every allocation, 0 none. Returns the previous
 * rate; a negative argument only reads. May be called at any time: samples keep the weight they were taken
 * with, so the protobuf form is right for any history of rates (readers of the text form scale with the
 * current one). The calling thread follows at once, other threads when the free blocks they have at hand are
 * used up (at most one page's). Thread-safe.
 */
int64_t hp_set_mem_profile_rate(int64_t bytes);

/*
 * Writes a profile to a file descriptor.
 *
 * name: "heap" (tools show bytes in use first) or "allocs" (bytes allocated first); both carry alloc_objects,
 * alloc_space, inuse_objects and inuse_space, and as numeric labels of what is in use "request" (mean bytes
 * asked for) and "age" (seconds, at least). "rss": the resident memory of the process, which adds up to VmRSS, as
 * rss_space; it needs /proc. Also "peak" (in use at the highest), "since_mark" (allocated
 * since hp_profile_mark and in use), "lifetimes" (freed, by how long it lived), "delta_heap" (allocated since the
 * last one) and "fragmentation" (free memory that pages in use hold); hp_write_profile(3) has their values.
 * "threads", or "goroutine": what all threads are doing; each walks its own stack in a signal handler, see
 * hp_write_profile(3) for what that means for them. "threadcreate": where live threads were created. "mutex" and
 * "block": waits for locks, see hp_set_mutex_profile_fraction(3); "delta_mutex" and "delta_block": those since the
 * last one.
 *
 * debug 0: gzip-compressed pprof protobuf; 1 and 2: text.
 * Returns 0; -ENOENT for an unknown name or NULL; -EINVAL for another debug; -ENOMEM; -ELIBACC
 * if libhalloc-pprof.so cannot be loaded (one line on standard error tells why); or the error of
 * write(2). Thread-safe; one profile is encoded at a time; other threads go on allocating. Not for signal
 * handlers. Cost: milliseconds for some hundred stacks, and memory for the encoded profile that is given back
 * afterwards.
 */
int hp_write_profile(const char *name, int fd, int debug);

/*
 * Sets a mark: the profile "since_mark" then shows what was allocated after it and is still in use. Returns the
 * mark's number, 1 for the first. There is one mark at a time, the last. Thread-safe, async-signal-safe; does
 * not wait or allocate. Cost: about 20 ns.
 */
uint64_t hp_profile_mark(void);

/* hp_write_profile("heap", fd, 0): Go's pprof.WriteHeapProfile. */
int hp_write_heap_profile(int fd);

/*
 * What the profile "mutex" records: one of n contentions on average, charged to the thread that held the lock;
 * 1: all, 0: none, as at the start. Returns the previous n; a negative n only reads. Go's
 * runtime.SetMutexProfileFraction. The values are unbiased.
 *
 * Only in a process that has loaded libhalloc-locks.so (LD_PRELOAD, or -lhalloc-locks): without it one line on
 * standard error says so and nothing changes. Thread-safe; not for signal handlers. Cost: a lock or unlock that
 * nobody waits for takes some 5 to 10 ns longer while something is recorded, a contended one a stack walk.
 */
int hp_set_mutex_profile_fraction(int n);

/*
 * What the profile "block" records: waits for locks, conditions and semaphores of ns nanoseconds or more, and of
 * shorter ones a share of their length by ns; 1: all, 0 or less: none, as at the start. Go's
 * runtime.SetBlockProfileRate. The values are unbiased. Otherwise as hp_set_mutex_profile_fraction.
 */
void hp_set_block_profile_rate(int64_t ns);

/*
 * Begins a CPU profile: every thread is sampled after each 10 ms of processor time that it used, by SIGPROF.
 * Go's pprof.StartCPUProfile. fd is duplicated; the profile is written to it, in pprof's format, by
 * hp_stop_cpu_profile. Returns 0; -EBUSY if one is running already, or if the program has a handler for
 * SIGPROF (one line on standard error tells); -ENOMEM; -ELIBACC as hp_write_profile; or the error of fcntl(2)
 * for fd. halloc's handler stays installed afterwards. Thread-safe; not for signal handlers. Cost while it
 * runs: some microseconds per sample, less than 0.1 % of the processor time.
 */
int hp_start_cpu_profile(int fd);

/*
 * Ends the CPU profile that hp_start_cpu_profile began and writes it. Returns 0; -EINVAL if there is none;
 * -EBADF if the descriptor has become another file; -ENOMEM; or the error of write(2). After an error there
 * is no profile any more. Thread-safe; not for signal handlers.
 */
int hp_stop_cpu_profile(void);

/* ---- Admin port ---- */

/*
 * Serves profiles, metrics and statistics over HTTP, as Go's net/http/pprof does: docs/endpoints.md lists what.
 *
 * address: "127.0.0.1:6060", "[::1]:6060", ":0" (127.0.0.1 and a free port) or "unix:/path". Addresses that other
 * machines reach are refused unless HALLOC_HTTP_TOKEN is set, which every request must then bring. A thread named
 * halloc-http serves, with all signals blocked. It goes on until the process ends; a forked child does not serve and may
 * call this again. One line on standard error tells the address.
 *
 * Returns 0; -EINVAL for NULL and texts of another form; -EALREADY if the process serves; -EACCES without the token;
 * -EPERM in a program with raised privileges; -EADDRINUSE and the other errors of bind(2); -EAGAIN if the thread cannot
 * be created; -ENOMEM. Thread-safe; not for signal handlers. Cost: a millisecond, and then none until somebody asks.
 */
int hp_http_serve(const char *address);

/* The address being served, with the port that was given: "127.0.0.1:41234", "unix:/path". NULL: none is. The text
 * lives until the process serves another address. Thread-safe. */
const char *hp_http_address(void);

/* Where hp_http_handle puts an answer. The functions are called in this order on the calling thread; one that returns
 * other than 0 ends the answer. They may allocate. status and header may be NULL. */
struct hp_http_sink {
  size_t size; /* sizeof(struct hp_http_sink), as the caller was compiled */
  void *arg;   /* handed to the functions */
  /* Once: 200, 404 and so on. */
  int (*status)(void *arg, int status);
  /* For each header field, with Content-Length as the last. */
  int (*header)(void *arg, const char *name, const char *value);
  /* The whole body; not called if it is empty. */
  int (*write)(void *arg, const void *data, size_t size);
  const void *body; /* of a POST request; else NULL */
  size_t body_size;
};

/*
 * Answers a request of the program's own HTTP server as the admin port would: method "GET", target "/debug/pprof/heap".
 * Who may ask is for the program to decide: neither token nor Host are looked at. A target with seconds=N keeps the
 * calling thread for N seconds.
 *
 * Returns 0, also for answers such as 404; -EINVAL for NULL, a target that does not begin with '/' or has other than
 * visible ASCII characters, or a sink of a smaller size; else what a function of the sink returned. Thread-safe; not for
 * signal handlers.
 */
int hp_http_handle(const char *method, const char *target, const struct hp_http_sink *sink);

#ifdef __cplusplus
}
#endif

#endif
