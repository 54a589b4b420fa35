"""The file that names the regions: what is refused, and with which words."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from scoreboard.local import region_gateway
from scoreboard.local.trouble import Trouble

EU = '[[region]]\nname = "eu"\ngateway = "http://127.0.0.1:8081"\naddresses = ["10.0.0.0/8"]\n'
US = '[[region]]\nname = "us"\ngateway = "https://us.example:443"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    {
        "no TOML": ('default = "eu', "is no TOML"),
        "no region": ('default = "eu"\n', "region: Field required"),
        "an unknown default": (f'default = "ap"\n{EU}', "default names none of the regions (eu)"),
        "a name twice": (f'default = "eu"\n{EU}{EU}', "each region has a name of its own"),
        "an address of two": (
            f'default = "eu"\n{EU}{US}addresses = ["10.1.0.0/16"]\n',
            "each address belongs to one region: ranges may not overlap",
        ),
        "a gateway without a port": (f'default = "us"\n{US.replace(":443", "")}', "region.0.gateway"),
        "a wrong range": (f'default = "us"\n{US}addresses = ["10.0.0.1/8"]\n', "region.0.addresses.0"),
    }.values(),
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "regions.toml"
    file.write_text(text)
    with pytest.raises(Trouble) as trouble:
        region_gateway.read(file)
    assert said in str(trouble.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Trouble, match="cannot be read: No such file or directory"):
        region_gateway.read(tmp_path / "regions.toml")


def test_ranges_of_both_kinds_of_addresses_may_stand_together(tmp_path: Path) -> None:
    file = tmp_path / "regions.toml"
    file.write_text(f'default = "eu"\n{EU}{US}addresses = ["2001:db8::/32"]\n')
    config = yaml.load(region_gateway.render(region_gateway.read(file), 8000, 9901), yaml.CSafeLoader)
    eu, us = config["static_resources"]["clusters"]
    assert (eu["type"], us["type"]) == ("STATIC", "STRICT_DNS")
    assert us["transport_socket"]["typed_config"]["sni"] == "us.example"
    assert "transport_socket" not in eu
