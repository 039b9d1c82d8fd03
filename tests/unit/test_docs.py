"""The pages on commands and munging say what the code does."""

import importlib.util
import re
from pathlib import Path

import pytest

from vhost_pvscsi.munge import registry
from vhost_pvscsi.scsi.request import Reply, Request
from vhost_pvscsi.translation import Table

DOCS = Path(__file__).resolve().parents[2] / "docs"


def writer(name):
    described = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["commands", "control"])
def test_a_page_of_commands_is_the_table(name):
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert page == writer(name).render(), f"run: python docs/{name}.py"


def test_the_munger_of_the_page_works(monkeypatch):
    page = (DOCS / "munging.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    own = registry.Registry()
    monkeypatch.setattr(registry, "outbound", own.on_reply)
    exec(compile(example, "munging.md", "exec"), {})
    request = Request(nexus="a", target=0, lun=0, cdb=bytes.fromhex("120000002400"))
    reply = own.theirs.outbound(request, Reply(data=bytes(36)), Table(0).resolve(0, 0))
    assert reply.data == bytes(8) + b"EXAMPLE " + bytes(20)
    short = own.theirs.outbound(request, Reply(data=bytes(10)), Table(0).resolve(0, 0))
    assert short.data == bytes(8) + b"EX"
