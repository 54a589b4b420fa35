"""Makes of a rendered pod what Kubernetes would: its files, its variables, its command, confined as it says.

As there, a process has the pod's uid and no capability, a root that it cannot write to, and volumes that its group may
read. What is missing: the seccomp profile, cgroups, and a network of each pod's own.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from scoreboard.local import probe
from scoreboard.local.installed import debian_program
from scoreboard.local.program import Program, Running
from tests.k8s.rendered import NAME, Pod, of_kind, pod, pods
from tests.waiting import SCALE

#: Two addresses of score_svc, as if it had two pods: the same process, since it listens on all of 127.0.0.0/8.
TWICE = "score-svc"


class Kubelet:
    """Starts the pods of one overlay. root: of the image's container; secrets: by Secret and key."""

    def __init__(self, overlay: str, root: Path, folder: Path, secrets: Mapping[str, Mapping[str, str]]) -> None:
        self._overlay, self._root, self._folder, self._secrets = overlay, root, folder, secrets
        self._maps = {name: doc["data"] for name, doc in of_kind(overlay, "ConfigMap").items()}
        hosts = ["127.0.0.1 localhost", f"127.0.0.2 {TWICE}", f"127.0.0.3 {TWICE}"]
        hosts += [f"127.0.0.1 {name}" for name in of_kind(overlay, "Service") if name != TWICE]
        (folder / "hosts").write_text("\n".join(hosts) + "\n")
        (root / "etc" / "hosts").touch()

    def value(self, secret: str, key: str) -> str:
        """Return a Secret's value."""
        return self._secrets[secret][key]

    def json(self, secret: str, key: str) -> dict[str, Any]:
        """Return a Secret's value that is JSON."""
        value: dict[str, Any] = json.loads(self.value(secret, key))
        return value

    def redis(self) -> Program:
        """Debian's Redis with the arguments of the StatefulSet."""
        one = pod(self._overlay, "redis")
        data = self._folder / "redis"
        data.mkdir()
        users = self._folder / "users.acl"
        users.write_text(self.value("redis-users", "users.acl"))
        places = {"/data": str(data), "/etc/redis/users.acl": str(users)}
        argv = [places.get(argument, argument) for argument in one.container["args"]]
        ready = partial(probe.redis, self.value("owner", "SCOREBOARD_REDIS_URL").replace("@redis:", "@127.0.0.1:"))
        return Program("redis", (debian_program("redis-server", "redis-server"), *argv), 6379, ready, folder=data)

    def program(self, name: str) -> Program:
        """Return a pod as a program that is ready when its probe says so."""
        one = pod(self._overlay, name)
        argv = [*one.container["command"], *one.container.get("args", [])]
        return replace(self._program(one, argv), is_ready=self._probe(one))

    async def run_to_end(self, name: str, *command: str) -> str:
        """Run a Job's pod, or another command in a pod's place; return what it prints. Raises AssertionError."""
        one = next(one for one in pods(self._overlay) if one.labels[NAME] == name)
        program = self._program(one, list(command) or one.container["command"])
        process = await asyncio.create_subprocess_exec(
            *program.command(), env=dict(os.environ) | dict(program.environment), stdout=-1, stderr=-1
        )
        out, err = await process.communicate()
        assert process.returncode == 0, f"{name}: {out.decode()}{err.decode()}"
        return out.decode()

    def _program(self, one: Pod, argv: list[str]) -> Program:
        security = one.spec["securityContext"]
        box = ["bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
        box += [
            "--ro-bind" if one.container["securityContext"]["readOnlyRootFilesystem"] else "--bind",
            str(self._root),
            "/",
        ]
        box += ["--proc", "/proc", "--dev", "/dev", "--ro-bind", str(self._folder / "hosts"), "/etc/hosts"]
        box += self._volumes(one, int(security["fsGroup"]))
        box += ["--chdir", "/app", "--clearenv"]
        for name, value in self._variables(one).items():
            box += ["--setenv", name, value]
        user, group = str(security["runAsUser"]), str(security["runAsGroup"])
        drop = ["setpriv", "--reuid", user, "--regid", group, "--groups", str(security["fsGroup"])]
        assert one.container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        drop += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
        port = next(iter(one.ports.values()), 0)
        return Program(one.labels[NAME], (*box, "--", *drop, "--", *argv), port, _never, ready_timeout_s=60 * SCALE)

    def _variables(self, one: Pod) -> dict[str, str]:
        # Of the image's own configuration: Docker and Kubernetes give it to every process.
        values = {"PATH": "/app/.venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONDONTWRITEBYTECODE": "1"}
        for source in one.container.get("envFrom", []):
            values |= self._secrets[source["secretRef"]["name"]]
        for name, given in one.variables.items():
            match given:
                case {"value": value}:
                    values[name] = value
                case {"valueFrom": {"configMapKeyRef": ref}}:
                    values[name] = self._maps[ref["name"]][ref["key"]]
                case {"valueFrom": {"secretKeyRef": ref}}:
                    values[name] = self._secrets[ref["name"]][ref["key"]]
        return values

    def _volumes(self, one: Pod, group: int) -> list[str]:
        volumes = {volume["name"]: volume for volume in one.spec["volumes"]}
        arguments: list[str] = []
        for mount in one.container["volumeMounts"]:
            volume, place = volumes[mount["name"]], mount["mountPath"]
            (self._root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)  # as a container's runtime does
            if "emptyDir" in volume:
                arguments += ["--perms", "1777", "--tmpfs", place]
            else:
                made = self._files(f"{one.name}-{mount['name']}", volume, group)
                arguments += ["--ro-bind", str(made), place]
        return arguments

    def _files(self, name: str, volume: dict[str, Any], group: int) -> Path:
        """Write a ConfigMap or a Secret as the kubelet does: root's, readable for the pod's group where it says so."""
        folder = self._folder / "volumes" / name
        if folder.exists():
            return folder
        folder.mkdir(parents=True)
        if "secret" in volume:
            files, mode = self._secrets[volume["secret"]["secretName"]], volume["secret"]["defaultMode"]
        else:
            files, mode = self._maps[volume["configMap"]["name"]], 0o644
        for key, text in files.items():
            (folder / key).write_text(text)
            (folder / key).chmod(mode)
            os.chown(folder / key, 0, group)
        return folder

    def _probe(self, one: Pod) -> Any:
        match one.container["readinessProbe"]:
            case {"grpc": {"port": port, "service": service}}:
                return partial(probe.grpc_health, port, service)
            case {"httpGet": {"path": path, "port": name}}:
                return partial(probe.http, f"http://127.0.0.1:{one.ports[name]}{path}")
            case {"tcpSocket": {"port": name}}:
                return partial(probe.listens, one.ports[name])
        raise AssertionError("a probe of another kind")


def main_process(running: Running) -> psutil.Process:
    """Return a pod's first process, to which Kubernetes sends the signal: what bubblewrap has started."""
    inside = psutil.Process(running.pid).children(recursive=True)
    (first,) = (one for one in inside if one.name() != "bwrap" and psutil.Process(one.ppid()).name() == "bwrap")
    return first


async def _never() -> bool:
    return False
