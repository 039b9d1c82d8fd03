"""/proc's tables of what is in use (proc(5); drivers/scsi/sg.c, sg_proc_seq_show_debug)."""

import os
from pathlib import Path

from vhost_pvscsi.discovery import proc
from vhost_pvscsi.discovery.usage import read_mountinfo, read_sg_debug, read_swaps

DEBUG = """max_active_device=3  def_reserved_size=32768
 >>> device=sg0 0:0:0:0   em=0 sg_tablesize=254 excl=1 open_cnt=1
   FD(1): timeout=60000ms bufflen=32768 (res)sgat=1 low_dma=0
   cmd_q=0 f_packid=0 k_orphan=0 closed=0
     No requests active
 >>> device=sg12 2:0:0:0   em=0 sg_tablesize=254 excl=0 open_cnt=2
"""


def test_a_node_that_is_opened_exclusively():
    assert read_sg_debug(DEBUG) == {"sg0"}


def test_a_mount_of_several_devices_is_told_by_its_source():
    line = r"36 25 0:33 /root /a\040b rw shared:1 - btrfs /dev/sda2 rw,subvol=/root"
    assert read_mountinfo(line) == [("b0:33", "/dev/sda2", "/a b")]


def test_half_a_line_is_no_mount():
    assert read_mountinfo("36 25 0:33 /\n - \n36 25 0:1 / /x rw - ext4") == []


def test_swap_is_read():
    text = "Filename\tType\tSize\tUsed\tPriority\n/dev/sda3   partition\t1\t0\t-2\n"
    assert read_swaps(text) == ["/dev/sda3"]


def test_a_process_that_has_a_device_open_is_found():
    with Path("/dev/null").open("rb") as opened:
        number = proc.number_of("/dev/null")
        assert number == "c1:3"
        mine = {each.process for each in proc.uses().opened if each.number == number}
    assert opened.closed
    assert any(each.endswith(f"[{os.getpid()}]") for each in mine)
