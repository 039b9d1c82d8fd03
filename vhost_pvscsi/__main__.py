"""The console scripts' entry: `serve` is the daemon's, the other verbs are for a running one."""

from __future__ import annotations

import click

from vhost_pvscsi.cli.program import Program
from vhost_pvscsi.cli.verbs import VERBS

#: Clients of a running daemon do without these, and without all that they stand on.
LATE = {
    "serve": "vhost_pvscsi.daemon.command:serve",
    "check-config": "vhost_pvscsi.daemon.command:check_config",
    "tape": "vhost_pvscsi.cli.tape.command:TAPE",
    "changer": "vhost_pvscsi.cli.changer.command:CHANGER",
}


@click.group(cls=Program, late=LATE, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vhost-pvscsi")
def main() -> None:
    """A userspace SCSI host for guests of QEMU and Xen."""


for verb in VERBS:
    main.add_command(verb)


if __name__ == "__main__":
    main(prog_name="vhost-pvscsi")
