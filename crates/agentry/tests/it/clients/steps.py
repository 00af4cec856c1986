"""Counts what holds. One step that does not hold does not hide the next."""

import sys
import traceback

# Where Agentry is, the key, and the upstreams behind it: `anthropic-tools` is the alias of `tools` at `anthropic`.
BASE, KEY, UPSTREAMS = sys.argv[1], sys.argv[2], sys.argv[3:]
# One red point.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="

counted = {"passed": 0, "total": 0}


def step(name):
    """Runs a function as a step; what it returns must be true."""

    def run(body):
        counted["total"] += 1
        try:
            held = body()
            assert held is True, f"it does not hold: {held!r}"
            counted["passed"] += 1
        except Exception:
            print("FAILED:", name, "\n", traceback.format_exc(limit=6))
        return body

    return run


def same(found, expected):
    """Says what it found when that is something else."""
    assert found == expected, f"{found!r} instead of {expected!r}"
    return True


def raises(kind, call):
    """The error of that kind, or a failed step."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def finish():
    print(f"{counted['passed']} of {counted['total']} steps")
    sys.exit(0 if counted["passed"] == counted["total"] else 1)
