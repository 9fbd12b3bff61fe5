# SPDX-License-Identifier: MIT
"""The lines at the end of a report: one figure for each question that one asks first."""
from results import BASE, geometric_mean, ratio

# Whoever does not sample; the best of them is what one would use for that row.
PEERS = ("glibc", "mimalloc", "jemalloc", "tcmalloc")
KIB = 1 << 10
NOT_MEASURED = "not measured"


def print_line(label, text):
    print(f"- {label}: {text}")


def ratios(results, value_of, subject, other):
    """(row, ratio) of every row that both finished."""
    pairs = ((row, ratio(value_of(row, subject), value_of(row, other))) for row in results.rows())
    return [(row, value) for row, value in pairs if value]


def describe(pairs, has_worst):
    if not pairs:
        return NOT_MEASURED
    text = f"{geometric_mean([value for _, value in pairs]):.3f} (geometric mean of {len(pairs)} rows)"
    if has_worst:
        row, value = max(pairs, key=lambda pair: pair[1])
        text += f", worst {value:.2f} in {row}"
    return text


def print_ratio(results, what, value_of, subject, other, has_worst=False):
    pairs = ratios(results, value_of, subject, other)
    print_line(f"{what}, {subject} / {other}", describe(pairs, has_worst))


def best_peer(results, row):
    times = [(results.time(row, name), name) for name in PEERS]
    known = [(time, name) for time, name in times if time]
    return min(known) if known else (None, None)


def print_best_peer(results):
    pairs = []
    for row in results.rows():
        value = ratio(results.time(row, "halloc"), best_peer(results, row)[0])
        if value:
            pairs.append((row, value))
    label = "time, halloc / the fastest of " + ", ".join(PEERS)
    print_line(label + " in each row", describe(pairs, True))


def print_startup(figures):
    halloc, base = figures.value("startup", "halloc"), figures.value("startup", BASE)
    if not halloc or not base:
        print_line("start-up of /bin/true", NOT_MEASURED)
        return
    text = f"{halloc / base:.3f} ({halloc / 1000:.0f} us and {base / 1000:.0f} us)"
    print_line(f"start-up of /bin/true, shortest, halloc / {BASE}", text)


def print_memory(figures, figure, label):
    values = [(name, figures.value(figure, name)) for name in ("halloc", *PEERS)]
    known = [f"{name} {value / KIB:.1f} KiB" for name, value in values if value is not None]
    print_line(label, ", ".join(known) or NOT_MEASURED)


def print_summary(results, figures):
    time, peak = results.time, results.peak
    print("### Summary\n\nBelow 1 the first is better.\n")
    print_ratio(results, "time", time, "halloc", BASE, has_worst=True)
    print_best_peer(results)
    for other in ("jemalloc-prof", "tcmalloc-sampled", "halloc-0"):
        print_ratio(results, "time", time, "halloc", other)
    print_ratio(results, "time", time, "halloc-16k", "halloc-0")
    print_ratio(results, "time", time, "halloc-1", "halloc-0")
    print_ratio(results, "peak memory", peak, "halloc", BASE, has_worst=True)
    print_startup(figures)
    print_memory(figures, "thread_rss", "memory of an idle thread with 1,000 small blocks (60,000 bytes)")
    print_memory(figures, "thread_drift", "growth from thread 500 to thread 10,000, one after another")
    print()
