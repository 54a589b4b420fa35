"""Says which tests of the last run may run once more: prints their ids, or ends with 1 and says why none may.

Reads what pytest left: `.pytest_cache/v/cache/lastfailed`, and the junit file whose path is the argument.
"""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

TESTS_MAX = 6  # more than that is no bad luck of single tests
NEVER_TWICE = ("lost", "doubled")  # what tests of faults count (tests/fault/trial.py)


def refusal(failed: list[str], junit: Path) -> str:
    """Why the failed tests may not run once more; empty: they may."""
    if not failed:
        return "no test failed: something else did"
    if len(failed) > TESTS_MAX:
        return f"{len(failed)} tests failed"
    for told in ElementTree.parse(junit).iter("property"):  # noqa: S314 -- our own file
        if told.get("name") in NEVER_TWICE and told.get("value") != "0":
            return f"{told.get('value')} updates were {told.get('name')}"
    return ""


if __name__ == "__main__":
    last = Path(".pytest_cache/v/cache/lastfailed")
    failed = sorted(json.loads(last.read_text())) if last.exists() else []
    print(*failed, sep="\n")
    if why := refusal(failed, Path(sys.argv[1])):
        sys.exit(f"no second run: {why}")
