"""The console scripts' entry: `serve` is the daemon's, the other verbs are for a running one."""

from __future__ import annotations

import click

from vhost_pvscsi.cli.changer.command import CHANGER
from vhost_pvscsi.cli.tape.command import TAPE
from vhost_pvscsi.cli.verbs import VERBS
from vhost_pvscsi.daemon.command import check_config, serve

__all__ = ["check_config", "main", "serve"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vhost-pvscsi")
def main() -> None:
    """A userspace SCSI host for guests of QEMU and Xen."""


main.add_command(serve)
main.add_command(check_config)
main.add_command(TAPE)
main.add_command(CHANGER)
for verb in VERBS:
    main.add_command(verb)

if __name__ == "__main__":
    main(prog_name="vhost-pvscsi")
