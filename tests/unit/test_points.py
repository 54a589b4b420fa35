"""Named points at which a test stops a process from outside."""

import os
import signal
import subprocess
import sys
from pathlib import Path

PROGRAM = "from mesh import points; points.reached('a'); print('passed a'); points.reached('b'); print('passed b')"


def _run(folder: Path | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "SCOREBOARD_TEST_POINTS"}
    if folder is not None:
        environment["SCOREBOARD_TEST_POINTS"] = str(folder)
    return subprocess.run(
        [sys.executable, "-uc", PROGRAM], env=environment, capture_output=True, text=True, check=False
    )


def test_an_armed_point_kills_once(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("SIGKILL\n")
    killed = _run(tmp_path)
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "passed a\n")
    assert not (tmp_path / "b").exists()
    assert _run(tmp_path).returncode == 0


def test_points_do_nothing_when_nobody_listens() -> None:
    passed = _run(None)
    assert (passed.returncode, passed.stdout) == (0, "passed a\npassed b\n")
