"""Shows what the measurements gave: a table and the targets on standard output, and a plot beside the figures.

    python3 script/lib/figures.py FOLDER [--readme]

It reads FOLDER/figures.json and writes FOLDER/plot.svg. With --readme the plot goes to script/bench.svg too, and the tables
between the marks in the README. It measures nothing. Where a case has several rounds, the median is shown.
"""

import json
import re
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent))
import plot

REPOSITORY = Path(__file__).resolve().parent.parent.parent
MARKS = re.compile(r"(<!-- figures -->\n).*(<!-- end of figures -->)", re.DOTALL)


def cases(figures):
    """The rounds of each case together."""
    found = {}
    for one in figures["rounds"]:
        found.setdefault((one["latency_ms"], one["answers"], one["sessions"]), []).append(one)
    return [Case(*key, rounds) for key, rounds in sorted(found.items())]


class Case:
    def __init__(self, latency_ms, answers, sessions, rounds):
        self.latency_ms, self.answers, self.sessions, self.rounds = latency_ms, answers, sessions, rounds
        self.limit = sessions / self.of_limit("seconds")
        self.sweep = sessions / self.of_sweep("seconds")
        # Of each round by itself: its two halves were measured one after the other.
        self.whole = median(one["limit"]["seconds"] / one["sweep"]["seconds"] for one in rounds)
        self.window = median(one["limit"]["seconds"] / one["sweep"]["window_seconds"] for one in rounds)

    def of_limit(self, name):
        return median(one["limit"][name] for one in self.rounds)

    def of_sweep(self, name):
        return median(one["sweep"][name] for one in self.rounds)

    def row(self):
        return [
            self.answers, f"{self.latency_ms} ms", f"{self.sessions:,}", f"{self.limit:,.0f}", f"{self.sweep:,.0f}",
            f"{self.window:.2f}", f"{self.whole:.2f}", f"{self.of_limit('own_cpu_us'):.0f}", f"{self.of_sweep('own_cpu_us'):.0f}",
            f"{self.of_sweep('postgres_cpu_us'):.0f}", f"{megabytes(self.of_sweep('peak_memory_kib')):.0f}",
            f"{self.of_sweep('wal_bytes'):,.0f}", f"{self.of_sweep('transactions'):.3f}", f"{self.of_sweep('fsyncs'):.3f}",
        ]


COLUMNS = ["answers", "latency", "sessions", "limit/s", "sweep/s", "ratio", "with start and end", "limit's CPU µs", "CPU µs",
           "Postgres's CPU µs", "peak MB", "WAL bytes", "transactions", "fsyncs"]


def megabytes(kib):
    return kib * 1024 / 1e6


def table(head, rows, left):
    """A table as Markdown has it, its columns aligned for a terminal too; the first `left` columns are words."""
    rows = [[str(cell) for cell in row] for row in rows]
    wide = [max(3, *(len(row[n]) for row in [head, *rows])) for n in range(len(head))]
    line = lambda row: "| " + " | ".join(c.ljust(w) if n < left else c.rjust(w) for n, (c, w) in enumerate(zip(row, wide))) + " |"
    rule = "|" + "|".join("-" * (w + 2) if n < left else "-" * (w + 1) + ":" for n, w in enumerate(wide)) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def targets(figures):
    """What was aimed at: (what, measured, target, reached)."""
    found = {(case.latency_ms, case.answers, case.sessions): case for case in cases(figures)}
    usual, slow = found.get((0, "good", 20_000)), found.get((20, "good", 20_000))
    small, large = found.get((0, "good", 10_000)), found.get((0, "good", 1_000_000))
    rows = []

    def at_least(what, value, target, unit=""):
        rows.append([what, f"{value:.2f}{unit}", f"≥ {target}{unit}", "reached" if value >= target else "missed"])

    def at_most(what, value, target, unit="", digits=0):
        shown = "reached" if value <= target else "missed"
        rows.append([what, f"{value:,.{digits}f}{unit}", f"≤ {target:,}{unit}", shown])

    if usual:
        at_least("0 ms, with start and end: of the limit", usual.whole, 0.33)
        at_most("0 ms, WAL a session, empty tables", usual.of_sweep("wal_bytes"), 900, " B")
        at_most("0 ms, transactions a session", usual.of_sweep("transactions"), 0.02, digits=3)
        at_most("0 ms, own CPU a session", usual.of_sweep("own_cpu_us"), 35, " µs")
    if slow:
        at_least("20 ms, first request to last record: of the limit", slow.window, 0.97)
        at_least("20 ms, with start and end: of the limit", slow.whole, 0.93)
        at_most("20 ms, WAL a session, empty tables", slow.of_sweep("wal_bytes"), 900, " B")
        at_most("20 ms, transactions a session", slow.of_sweep("transactions"), 0.02, digits=3)
        limit = slow.of_limit("own_cpu_us")
        at_most(f"20 ms, own CPU a session (of the limit: {limit:.0f} µs)", slow.of_sweep("own_cpu_us"), 35, " µs")
    if one := figures.get("with_history"):
        at_most("WAL a session, 1,000,000 rows of history, right after a checkpoint", one["wal_bytes"], 4500, " B")
    if large:
        at_most("WAL a session at 1,000,000 sessions", large.of_sweep("wal_bytes"), 900, " B")
        at_most("peak memory at 1,000,000 sessions", megabytes(large.of_sweep("peak_memory_kib")), 40, " MB", 1)
    if small and large:
        for name, what, target in [("own_cpu_us", "own CPU", 15), ("postgres_cpu_us", "Postgres's CPU", 50)]:
            change = (large.of_sweep(name) / small.of_sweep(name) - 1) * 100
            at_most(f"{what} a session, 1,000,000 against 10,000 sessions: change", abs(change), target, " %")
    if figures["start_ms"]:
        at_most("start: to the first request", median(figures["start_ms"]), 100, " ms")
    if idle := figures.get("idle"):
        at_most("idle daemon: memory", megabytes(idle["memory_kib"]), 20, " MB", 1)
        at_most("idle daemon: of a core", idle["cpu_share"] * 100, 0.1, " %", 3)
    return rows


def scale_out(figures):
    one = figures["scale_out"][0]["per_second"]
    return [
        [run["processes"], f"{run['sessions']:,}", f"{run['per_second']:,.0f}", f"{run['per_second'] / one:.2f}",
         f"{run['limit_per_second']:,.0f}", f"{run['per_second'] / run['limit_per_second']:.2f}", run["not_once"]]
        for run in figures["scale_out"]
    ]


def notify(figures):
    return [
        [one["at_once"], f"{one['commits_per_second']:,.0f}", f"{one['commits_per_second_with_trigger']:,.0f}",
         f"{one['commits_per_second_with_trigger'] / one['commits_per_second']:.2f}"]
        for one in figures["notify"]
    ]


def show(figures):
    """Everything, as Markdown."""
    parts = [f"{figures['machine']}, PostgreSQL {figures['postgres']}, 64 requests in flight."]
    if figures["rounds"]:
        parts.append(table(COLUMNS, [case.row() for case in cases(figures)], 2))
    if aims := targets(figures):
        parts.append(table(["target", "measured", "wanted", ""], aims, 1))
    if figures["scale_out"]:
        head = ["processes", "sessions", "sessions/s", "against one", "limit/s", "of the limit", "not once"]
        parts.append(table(head, scale_out(figures), 0))
    if figures["notify"]:
        parts.append(table(["writers", "commits/s", "with the trigger", "ratio"], notify(figures), 0))
    others = []
    if sandbox := figures.get("sandbox"):
        others.append(f"The sandbox alone takes {sandbox['requests_per_second']:,.0f} requests/s, {sandbox['cpu_us']:.0f} µs of CPU each.")
    if (trips := figures.get("round_trips")) is not None:
        others.append(f"A session costs {trips:.3f} round trips to the database.")
    return "\n\n".join(parts + [" ".join(others)] * bool(others)) + "\n"


def is_whole(figures):
    """Whether every part was measured, the long ones too."""
    parts = ["sandbox", "rounds", "round_trips", "with_history", "scale_out", "start_ms", "idle", "notify"]
    return all(figures.get(part) for part in parts) and any(one["sessions"] == 1_000_000 for one in figures["rounds"])


def main(folder, readme):
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    text = show(figures)
    print(text)
    picture = plot.draw(cases(figures)) if figures["rounds"] else None
    if picture:
        (folder / "plot.svg").write_text(picture, encoding="utf-8")
    if readme:
        file = REPOSITORY / "README.md"
        whole, found = MARKS.subn(lambda marks: f"{marks[1]}{text}{marks[2]}", file.read_text(encoding="utf-8"))
        if found != 1 or not is_whole(figures):
            sys.exit("the README takes a whole run (script/bench --full), between its two marks")
        file.write_text(whole, encoding="utf-8")
        (REPOSITORY / "script" / "bench.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--readme" in sys.argv[2:])
