"""The programs: each module of this package has some, as a tuple `PROGRAMS`."""

from __future__ import annotations

import importlib
import pkgutil

from benchmarks.faults.program import Program


def collect(package: str) -> tuple[Program, ...]:
    """The programs of all modules of a package, in order of the modules.

    Args:
        package: The dotted name of the package.

    Returns:
        The programs.

    Raises:
        ValueError: If two programs have one name.
    """
    homes: dict[str, str] = {}
    programs: list[Program] = []
    for module in sorted(found.name for found in pkgutil.iter_modules(importlib.import_module(package).__path__)):
        for program in getattr(importlib.import_module(f"{package}.{module}"), "PROGRAMS", ()):
            if program.name in homes:
                where = f"{homes[program.name]} and {module}"
                raise ValueError(f"Two programs are named {program.name!r}, in {where} of {package}. Rename one.")
            homes[program.name] = module
            programs.append(program)
    return tuple(programs)


PROGRAMS: tuple[Program, ...] = collect(__name__)
"""All programs."""
