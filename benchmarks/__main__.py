"""Run every benchmark in turn, each in a process of its own and in its short form: `python -m benchmarks` or `make bench`.

One that fails is named at the end, and the exit status is then 1; the others are run all the same.
"""

import pkgutil
import subprocess
import sys
import time

import benchmarks
from benchmarks._process import how_it_ended


def run(module: str) -> tuple[float, str]:
    """Run a benchmark; return the seconds that it took, and how it failed, in words, or nothing."""
    start = time.perf_counter()
    status = subprocess.run([sys.executable, "-m", f"benchmarks.{module}"], check=False).returncode  # noqa: S603
    return time.perf_counter() - start, how_it_ended(status)


def main() -> int:
    """Run them all, say what each took, and return the exit status."""
    found = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(benchmarks.__path__)):
        if not module.startswith("_"):
            print(f"\n== {module}", flush=True)
            found[module] = run(module)
            print(f"\n{module}: {found[module][0]:.0f} s {found[module][1]}".rstrip(), flush=True)
    print("\n| benchmark | s | |\n|---|---|---|")
    for module, (seconds, failure) in found.items():
        print(f"| {module} | {seconds:.0f} | {failure} |")
    print(f"| all | {sum(seconds for seconds, _ in found.values()):.0f} | |")
    return int(any(failure for _, failure in found.values()))


if __name__ == "__main__":
    sys.exit(main())
