"""Makes what derives from the tables: rules/slo.yml, dashboards/*.json, docs/metrics.md. `--check` fails when stale."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from mesh.metric_table import ALL, LIBRARY, TABLE, Described
from monitoring import dashboards, slo

TREE = Path(__file__).resolve().parent.parent
MADE_BY = "Made by `python -m monitoring`"


def made() -> Mapping[Path, str]:
    """Returns what each file should hold."""
    files = {
        TREE / "monitoring" / "rules" / "slo.yml": f"# {MADE_BY} of monitoring/slo.py.\n{_yaml(slo.rules())}",
        TREE / "docs" / "metrics.md": _page(),
    }
    for dashboard in dashboards.ALL:
        path = TREE / "monitoring" / "dashboards" / f"{dashboard.name}.json"
        files[path] = json.dumps(dashboards.as_json(dashboard), indent=1) + "\n"
    return files


def stale() -> list[Path]:
    """Returns the files that hold something else."""
    return [path for path, text in made().items() if not path.exists() or path.read_text() != text]


def _yaml(content: object) -> str:
    return str(yaml.safe_dump(content, sort_keys=False, width=10_000, allow_unicode=True))


def _page() -> str:
    lines = [
        "# Metrics",
        "",
        f"{MADE_BY} of mesh/metric_table.py; a test compares it with what each process of a running mesh exports.",
        "",
        "| metric | kind | labels | of | what it counts |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [_row(metric) for metric in (*TABLE.values(), *LIBRARY.values())]
    return "\n".join(lines) + "\n"


def _row(metric: Described) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    processes = "all" if metric.processes == ALL else ", ".join(metric.processes)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {processes} | {metric.help} |"


def main() -> None:
    """Writes the files, or only compares them."""
    if "--check" in sys.argv:
        for path in stale():
            print(f"{path.relative_to(TREE)} is stale: python -m monitoring", file=sys.stderr)
        sys.exit(bool(stale()))
    for path, text in made().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
