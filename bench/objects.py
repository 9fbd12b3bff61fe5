# SPDX-License-Identifier: MIT
"""What does an interpreter pay that takes every object from malloc?

Run with PYTHONMALLOC=malloc. Builds records of strings, lists and dicts, keeps a live set of them, replaces
records at random and regroups the live set now and then. The seed is fixed. The argument is the number of
records.
"""
import random
import sys

SEED = 20011
LIVE_RECORDS = 20_000
REGROUP_EVERY = 20_000


def make_record(number, rng):
    name = f"user-{number}-{rng.getrandbits(32):x}"
    tags = [f"tag-{rng.randrange(100)}" for _ in range(rng.randrange(6))]
    return {"id": number, "name": name, "tags": tags, "note": "x" * rng.randrange(200), "score": rng.random()}


def group_by_tag(records):
    groups = {}
    for record in records:
        for tag in record["tags"] if record else ():
            groups.setdefault(tag, []).append(record["name"])
    return {tag: ",".join(sorted(names)) for tag, names in groups.items()}


def main():
    count = int(sys.argv[1])
    rng = random.Random(SEED)
    live = [None] * LIVE_RECORDS
    length = 0
    for number in range(count):
        live[rng.randrange(LIVE_RECORDS)] = make_record(number, rng)
        if number % REGROUP_EVERY == 0:
            length += sum(len(text) for text in group_by_tag(live).values())
    print(f"seed: {SEED}, {count} records, {length} characters grouped")


main()
