#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make the patch series for QEMU's tree out of the sources here: `patches.py QEMU-SOURCE`.

The device's files are these files under other names, less what only a module needs
(`#ifdef XEN_VSCSI_MODULE`); everything else is in `patches/parts/`. Writes patches/*.patch and
checks them with the tree's own checkpatch.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATCHES = HERE / "patches"
PARTS = PATCHES / "parts"
AUTHOR = "vhost_pvscsi <vhost-pvscsi@localhost>"
#: Files that are the module's own.
MODULE_ONLY = ("module.c", "watch.c")


@dataclass(frozen=True)
class Edit:
    """Text put into a file of QEMU's, before or after a line that is there."""

    file: str
    anchor: str
    text: str
    before: bool = False


def tree_name(name: str) -> str:
    """Return where a file of ours stands in QEMU's tree."""
    stem = name if name.startswith("xen-vscsi") else f"xen-vscsi-{name}"
    return f"hw/scsi/{stem}"


def tree_text(text: str) -> str:
    """Return what a file of ours says there."""
    text = re.sub(r"#ifdef XEN_VSCSI_MODULE\n.*?#endif\n", "", text, flags=re.DOTALL)
    return text.replace('#include "protocol.h"', '#include "xen-vscsi-protocol.h"')


def sources() -> dict[str, str]:
    """Return the device as QEMU's tree has it: file name = text."""
    files = sorted([*HERE.glob("*.c"), *HERE.glob("*.h")])
    return {
        tree_name(path.name): tree_text(path.read_text(encoding="utf-8"))
        for path in files
        if path.name not in MODULE_ONLY
    }


def meson_lines() -> str:
    """Return what hw/scsi/meson.build says of them."""
    names = [name.rpartition("/")[2] for name in sources() if name.endswith(".c")]
    listed = "".join(f"  '{name}',\n" for name in names)
    return f"system_ss.add(when: 'CONFIG_XEN_VSCSI', if_true: files(\n{listed}))\n"


KCONFIG = """
config XEN_VSCSI
    bool
    default y
    depends on XEN_EMU
"""
MAINTAINERS = """
Xen pvSCSI out-of-process back-end
M: vhost_pvscsi <vhost-pvscsi@localhost>
L: xen-devel@lists.xenproject.org
S: Maintained
F: hw/scsi/xen-vscsi*
F: docs/system/i386/xen-vscsi.rst
F: tests/functional/test_x86_64_kvm_xen_vscsi.py
"""
UNWATCH_FAULT = """    for (l = &w->next; *l; l = &w->next) {
        w = *l;

        if (!g_strcmp0(token, w->token) && fn == w->cb &&
            opaque != w->cb_opaque && dom_id == w->dom_id) {
"""


def main() -> int:
    """Make and check the series."""
    if len(sys.argv) != 2:
        print(f"usage: {sys.argv[0]} QEMU-SOURCE", file=sys.stderr)
        return 2
    source = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="xen-vscsi-") as name:
        tree = Tree(Path(name), source)
        fix_unwatch(tree)
        add_device(tree)
        add_documentation(tree)
        add_test(tree)
        for old in PATCHES.glob("*.patch"):
            old.unlink()
        tree.git(
            "format-patch", "-q", "--no-signature", "--zero-commit", "-o", str(PATCHES), "base"
        )
    checkpatch = source / "scripts" / "checkpatch.pl"
    patches = sorted(map(str, PATCHES.glob("*.patch")))
    command = ["perl", str(checkpatch), "--no-tree", "--terse", "--summary-file", *patches]
    return subprocess.run(command, check=False).returncode


class Tree:
    """Those files of QEMU's that are changed, in a repository of their own."""

    def __init__(self, root: Path, source: Path) -> None:
        self.root = root
        self._source = source
        self.git("init", "-q", "-b", "work")
        for name in (
            "MAINTAINERS",
            "docs/system/target-i386.rst",
            "hw/i386/kvm/xenstore_impl.c",
            "hw/scsi/Kconfig",
            "hw/scsi/meson.build",
            "tests/functional/meson.build",
        ):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, root / name)
        self.commit("base")
        self.git("tag", "base")

    def git(self, *arguments: str) -> None:
        """Run git in it, with names and times that are always the same."""
        who, _, mail = AUTHOR.partition(" <")
        identity = {"NAME": who, "EMAIL": mail.rstrip(">"), "DATE": "2026-01-01T00:00:00Z"}
        environment = {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in identity.items()
        }
        environment |= {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.root)}
        subprocess.run(["git", *arguments], cwd=self.root, env=environment, check=True)

    def commit(self, message: str) -> None:
        """Commit all that has changed."""
        self.git("add", "-A")
        self.git("commit", "-q", "-s", "-m", message)

    def write(self, name: str, text: str) -> None:
        """Add a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        """Replace text that stands there once."""
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            sys.exit(f"error: {name} has this {text.count(old)} times, once was expected:\n{old}")
        path.write_text(text.replace(old, new), encoding="utf-8")

    def append(self, name: str, text: str) -> None:
        """Add text at a file's end."""
        path = self.root / name
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def message(name: str) -> str:
    return (PARTS / f"{name}.txt").read_text(encoding="utf-8")


def fix_unwatch(tree: Tree) -> None:
    """The first patch: what watch.c gets out of the way of."""
    mended = UNWATCH_FAULT.replace(
        "l = &w->next) {\n        w = *l", "l = &(*l)->next) {\n        w = *l"
    )
    mended = mended.replace("opaque != w->cb_opaque", "opaque == w->cb_opaque")
    tree.replace("hw/i386/kvm/xenstore_impl.c", UNWATCH_FAULT, mended)
    tree.commit(message("unwatch"))


def add_device(tree: Tree) -> None:
    """The second: the device."""
    for name, text in sources().items():
        tree.write(name, text)
    tree.append("hw/scsi/Kconfig", KCONFIG)
    tree.append("hw/scsi/meson.build", "\n" + meson_lines())
    anchor = "F: docs/system/i386/xenpvh.rst\n"
    tree.replace("MAINTAINERS", anchor, anchor + MAINTAINERS)
    tree.commit(message("device"))


def add_documentation(tree: Tree) -> None:
    """The third: its page."""
    tree.write("docs/system/i386/xen-vscsi.rst", (PARTS / "xen-vscsi.rst").read_text())
    anchor = "   i386/xen\n"
    tree.replace("docs/system/target-i386.rst", anchor, anchor + "   i386/xen-vscsi\n")
    tree.commit(message("documentation"))


def add_test(tree: Tree) -> None:
    """The fourth: a functional test beside that of Xen under KVM."""
    name = "tests/functional/test_x86_64_kvm_xen_vscsi.py"
    tree.write(name, (PARTS / "test_x86_64_kvm_xen_vscsi.py").read_text())
    (tree.root / name).chmod(0o755)
    anchor = "  'x86_64_kvm_xen',\n"
    tree.replace("tests/functional/meson.build", anchor, anchor + "  'x86_64_kvm_xen_vscsi',\n")
    tree.commit(message("test"))


if __name__ == "__main__":
    sys.exit(main())
