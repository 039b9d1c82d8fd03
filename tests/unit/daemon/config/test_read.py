"""Configuration files: what they say, and everything that is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vhost_pvscsi.daemon.command import settings
from vhost_pvscsi.daemon.config.mistakes import MistakesError
from vhost_pvscsi.daemon.config.read import Config, read_config
from vhost_pvscsi.devices.lun_options import Cache
from vhost_pvscsi.errors import MISUSE, DeviceError
from vhost_pvscsi.identity import Address

PAGE = Path(__file__).parents[4] / "docs" / "config.md"
EXAMPLE = PAGE.with_name("examples") / "vhost-pvscsi.toml"


def read(folder: Path, text: str) -> Config:
    path = folder / "c.toml"
    path.write_text(text, encoding="utf-8")
    config = read_config(path, settings())
    config.check()
    return config


def told(folder: Path, text: str) -> list[str]:
    with pytest.raises(MistakesError) as caught:
        read(folder, text)
    assert caught.value.exit_status == MISUSE
    return caught.value.told().replace(f"{folder}/", "").splitlines()


def test_a_file_says_what_the_command_line_does(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        """
        vscsi = [ 'x.img,1:0:0:0,ro' ]
        daemon.threads = 3
        daemon.io-uring = false
        daemon.state-directory = "state"
        [[control]]
        path = "a,b"
        group = 0
        ro = true
        [[host]]
        number = 0
        socket-path = "0.sock"
        socket-mode = "660"
        [[host]]
        number = 1
        socket-path = "/run/1.sock"
        queues = 4
        [[lun]]
        vdev = "0:0:1:0"
        pdev = "sub/d,1.img"
        cache = "none"
        block-size = 4096
        lock = false
        fault = ["opcode=read:hang", "opcode=write:delay=1s"]
        fault-file = "f.toml"
        """,
    )
    assert config.settings == {
        "threads": 3,
        "io_uring": False,
        "state_directory": str(tmp_path / "state"),
    }
    [control] = config.controls
    assert (control.path, control.group, control.read_only) == (tmp_path / "a,b", 0, True)
    hosts = {number: host.spec for number, host in config.plan.hosts.items()}
    assert (hosts[0].path, hosts[0].mode, hosts[1].queues) == (tmp_path / "0.sock", 0o660, 4)
    lun = config.plan.luns[Address(0, 0, 1, 0)]
    assert lun.spec.path == tmp_path / "sub/d,1.img"
    options = lun.spec.options
    assert (options.cache, options.block_size, options.lock) == (Cache.NONE, 4096, False)
    assert len(options.faults) == 2
    assert options.fault_file == tmp_path / "f.toml"
    assert lun.place == f"{tmp_path}/c.toml:18"
    assert config.plan.luns[Address(1, 0, 0, 0)].spec.options.read_only


def test_all_mistakes_are_told_at_once_each_with_its_line(tmp_path: Path) -> None:
    said = told(
        tmp_path,
        """\
[daemon]
thread = 1
[[host]]
number = 0
socket-path = "0.sock"
[[lun]]
vdev = "0:0:1:0"
pdev = "ram:1M"
cache = "none"
[[lun]]
vdev = "0:0:1:0"
pdev = "ram:1M"
[[lun]]
vdev = "3:0:0:0"
pdev = "ram:1M"
[[lun]]
vdev = "0:0:300:0"
pdev = "ram:big"
ro = "perhaps"
""",
    )
    assert [line for line in said if line.startswith("error: ")] == [
        "error: c.toml:2: [daemon] 'thread' is not known",
        "error: c.toml:9: [[lun]] ram:1M: option 'cache' does not apply",
        "error: c.toml:13: LUN 3:0:0:0: there is no virtual host 3",
        "error: c.toml:17: [[lun]] address '0:0:300:0': target 300 is out of range",
        "error: c.toml:18: [[lun]] ram:big: 'big' is not a size",
        "error: c.toml:19: [[lun]] ro=perhaps: 'perhaps' is no switch",
    ]
    assert said[1].startswith("hint: 'threads' is; all are ")


HOST = '[[host]]\nnumber = 0\nsocket-path = "s"\n'


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a = [\n", 1, "is no TOML"),
        ("a = 1\na = 2\n", 2, "is no TOML"),
        ("a = " + "[" * 100_000, 0, "is nested too deep"),
        ("hosts = 1", 1, "'hosts' is not known"),
        ("daemon = 1", 1, "daemon is no table"),
        ("host = 1", 1, "host is no list of tables"),
        ("host = [ 1 ]", 1, "host is no table"),
        ("[daemon]\nthreads = 65", 2, "threads: 65 is not in the range"),
        ("[daemon]\nthreads = true", 2, "threads: 'True' cannot be used"),
        ("[daemon]\npoll-us = 1.5", 2, "poll-us: '1.5' cannot be used"),
        ("[daemon]\nread-only = 1", 2, "read-only: '1' cannot be used"),
        ('[daemon]\nlog-level = "loud"', 2, "log-level: 'loud' is not one of"),
        ("[daemon]\nsocket-path = 's'", 2, "'socket-path' is not known"),
        ("[[control]]\nmode = '660'", 1, "path is missing"),
        ("[[control]]\npath = 'c'\nmode = '999'", 3, "'999' is no file mode"),
        ("[[host]]\nsocket-path = 's'", 1, "number is missing"),
        ("[[host]]\nnumber = true\nsocket-path = 's'", 2, "number is missing, or none"),
        ("[[host]]\nnumber = 0", 1, "socket-path is missing"),
        (HOST + "queues = 0", 4, "argument 'queues': 0 cannot be used"),
        (HOST + "socket-mode = 0o660", 4, "argument 'socket-mode': 432 cannot be used"),
        (HOST + "socket-group = 'no such'", 4, "there is no group 'no such'"),
        (HOST + "socket_mode = '660'", 4, "'socket_mode' is not known"),
        (HOST + HOST.replace('"s"', '"t"'), 5, "virtual host 0 is there twice, first at"),
        (HOST + HOST.replace("0", "1"), 6, "is a socket already, at"),
        (HOST + "[[lun]]\npdev = 'ram:1M'", 4, "vdev is missing"),
        (HOST + "[[lun]]\nvdev = '0:0:0:0'", 4, "pdev is missing"),
        (HOST + "[[lun]]\nvdev = 0\npdev = 'ram:1M'", 5, "vdev is missing, or no text"),
        (HOST + "[[lun]]\nvdev = '0:0:0:0'\npdev = 'ram:1M'\nro = [true, true]", 7, "given twice"),
        (
            HOST + "[[lun]]\nvdev = '0:0:0:0'\npdev = 'ram:1M'\nserial = 1.5",
            7,
            "1.5 cannot be used",
        ),
        (
            HOST + "[[lun]]\nvdev = '0:0:0:0'\npdev = 'ram:1M'\nfault = ['hang',\n 'bad']",
            8,
            "fault rule 'bad'",
        ),
        (HOST + "vscsi = 'x'", 4, "'vscsi' is not known"),
        ("vscsi = 'x'\n" + HOST, 1, "vscsi is no list of texts"),
        ("vscsi = [\n'ram:1M,0:0:0:0',\n'naa.5001405abcdef012:0,0:0:1:0']\n" + HOST, 3, "target"),
        ("vscsi = ['ram:1M,0:0:0:0',\n'ram:1M,0:0:0:0']\n" + HOST, 2, "is there twice, first at"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    errors = [one for one in told(tmp_path, text) if one.startswith("error: ")]
    assert len(errors) == 1, errors
    place = f"c.toml:{line}: " if line else "c.toml: "
    assert errors[0].startswith(f"error: {place}"), errors[0]
    assert said in errors[0]


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="No such file"):
        read_config(tmp_path / "none.toml", settings())
    path = tmp_path / "c.toml"
    path.write_bytes(b"a = 1\nb = '\xff'\n")
    with pytest.raises(MistakesError, match=r"c\.toml:2: is not UTF-8"):
        read_config(path, settings())


def test_hosts_of_the_command_line_are_known(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("vscsi = ['ram:1M,5:0:0:0']\n")
    read_config(path, settings()).check({5})


def test_the_page_lists_every_setting() -> None:
    section = PAGE.read_text(encoding="utf-8").split("\n## `[daemon]`\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)
    assert sorted(listed) == sorted(option.opts[0][2:] for option in settings())


def test_the_example_can_be_used() -> None:
    config = read_config(EXAMPLE, settings())
    config.check()
    assert config.plan.hosts
    assert config.plan.luns
    assert f"```toml\n{EXAMPLE.read_text(encoding='utf-8')}```" in PAGE.read_text(encoding="utf-8")
