# SPDX-License-Identifier: MIT
"""JSON, regular expressions, big numbers, threads and processes; prints digests of what came out."""
import hashlib
import json
import multiprocessing
import re
import subprocess
import sys
import threading


def digest(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def documents(count, seed=0):
    return [{"id": i, "name": f"name-{i * seed % 97}", "tags": ["x" * (i % 50)] * (i % 7), "half": i / 2}
            for i in range(count)]


def through_json(count):
    made = documents(count, 3)
    return digest(json.loads(json.dumps(made))) == digest(made), digest(made)


def through_regex(count):
    text = " ".join(f"key{i}=value{i * 7 % 31};" for i in range(count))
    pairs = re.findall(r"(\w+)=(?:value)(\d+);", text)
    return digest(pairs), digest(re.sub(r"(\d+)=", lambda found: found.group(1)[::-1] + ":", text))


def in_threads(rounds, count):
    results = {}

    def work(number):
        results[number] = digest([bytes(range(256)).hex() * (number % 5 + 1), documents(300, number)])

    for start in range(rounds):
        threads = [threading.Thread(target=work, args=(start * count + i,)) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return digest(sorted(results.items()))


def in_process(number):
    return digest(documents(500, number))


def main():
    print(through_json(10000))
    print(through_regex(20000))
    print(in_threads(4, 8))
    print(digest(f"{3 ** 50000:x}"))
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(3) as pool:
            print(method, digest(pool.map(in_process, range(12))))
    # A fork while other threads allocate: the child must find the allocator usable.
    stop = threading.Event()
    busy = [threading.Thread(target=lambda: [documents(50) for _ in iter(stop.is_set, True)]) for _ in range(3)]
    for thread in busy:
        thread.start()
    context = multiprocessing.get_context("fork")
    for i in range(12):
        child = context.Process(target=in_process, args=(i,))
        child.start()
        child.join(30)
        if child.exitcode != 0:
            print("child", i, "ended with", child.exitcode)
            child.kill()
    stop.set()
    for thread in busy:
        thread.join()
    print(subprocess.run([sys.executable, "-c", "print('child')"], check=True, stdout=subprocess.PIPE).stdout)


if __name__ == "__main__":
    main()
