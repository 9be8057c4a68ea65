"""Run every benchmark in turn: `python -m benchmarks` or `make bench`."""

import importlib
import pkgutil

import benchmarks

for module in sorted(info.name for info in pkgutil.iter_modules(benchmarks.__path__) if not info.name.startswith("_")):
    print(f"\n== {module}")
    importlib.import_module(f"benchmarks.{module}").main()
