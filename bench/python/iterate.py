"""What the connector beside this file costs in Python alone: its records are iterated and dropped."""

import json
import resource
import sys
import time

import requests


def records(base_url):
    session = requests.Session()
    path = "/items/1.json"
    while path:
        page = session.get(base_url + path).json()
        yield from page["data"]
        path = page["next"]


started = time.perf_counter()
rows = sum(1 for _ in records(sys.argv[1]))
wall = time.perf_counter() - started
usage = resource.getrusage(resource.RUSAGE_SELF)
figures = {
    "cpu_secs": usage.ru_utime + usage.ru_stime,
    "peak_rss_bytes": usage.ru_maxrss * 1024,
    "wall_secs": wall,
    "rows": rows,
}
print(json.dumps(figures))
