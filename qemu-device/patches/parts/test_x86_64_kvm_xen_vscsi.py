#!/usr/bin/env python3
#
# Functional tests of xen-vscsi: its side of the socket
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import socket
import struct

from qemu.machine import machine

from qemu_test import QemuSystemTest

HEADER = struct.Struct('<III')
REPLY = 1 << 2

GET_FEATURES = 1
GET_PROTOCOL_FEATURES = 15
SET_PROTOCOL_FEATURES = 16
SET_BACKEND_REQ_FD = 21
HELLO = 0x5000
GET_LUNS = 0x5005

ABILITIES = 1 << 0 | 1 << 4
PROTOCOL_FEATURES = 1 << 3 | 1 << 5 | 1 << 13


class KVMXenVscsi(QemuSystemTest):

    def setUp(self):
        super().setUp()
        self.require_accelerator('kvm')
        self.set_machine('pc')
        self.path = os.path.join(self.socket_dir().name, 'vscsi.sock')
        self.listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.listener.close)
        self.listener.bind(self.path)
        self.listener.listen()
        self.listener.settimeout(30)

    def launch(self, share='on', aux='on'):
        self.vm.add_args(
            '-accel', 'kvm,xen-version=0x4000a,kernel-irqchip=split',
            '-object', f'memory-backend-memfd,id=mem,size=128M,share={share}',
            '-m', '128M',
            '-machine', f'memory-backend=mem,aux-ram-share={aux}',
            '-chardev', f'socket,id=c,path={self.path}',
            '-device', 'xen-vscsi,chardev=c,id=vscsi0', '-S')
        try:
            self.vm.launch()
        except machine.VMLaunchFailure as e:
            if 'Xen HVM guest support not present' in e.output:
                self.skipTest('KVM Xen support is not present '
                              '(need v5.12+ kernel with CONFIG_KVM_XEN)')
            raise

    def receive(self, connection):
        head, fds, _, _ = socket.recv_fds(connection, HEADER.size, 8)
        request, flags, size = HEADER.unpack(head)
        self.assertEqual(flags & 3, 1)
        payload = connection.recv(size) if size else b''
        return request, payload, fds

    def expect(self, connection, request, payload=b'', reply=None):
        got, its_payload, fds = self.receive(connection)
        self.assertEqual((got, its_payload), (request, payload))
        if reply is not None:
            connection.sendall(
                HEADER.pack(request, 1 | REPLY, len(reply)) + reply)
        return fds

    def test_greeting(self):
        self.launch()
        connection, _ = self.listener.accept()
        self.addCleanup(connection.close)
        connection.settimeout(30)
        hello = struct.pack('<IIQ', 1, 0, ABILITIES)
        self.expect(connection, HELLO, hello, reply=hello)
        self.expect(connection, GET_FEATURES, reply=struct.pack('<Q', 1))
        features = struct.pack('<Q', PROTOCOL_FEATURES)
        self.expect(connection, GET_PROTOCOL_FEATURES, reply=features)
        self.expect(connection, SET_PROTOCOL_FEATURES, features)
        fds = self.expect(connection, SET_BACKEND_REQ_FD)
        self.assertEqual(len(fds), 1)
        self.expect(connection, GET_LUNS, bytes(8), reply=bytes(8))
        os.close(fds[0])

    def assert_refused(self, text, **options):
        try:
            self.launch(**options)
        except machine.VMLaunchFailure as e:
            self.assertIn(text, e.output)
        else:
            self.fail('the device was created')

    def test_private_memory_is_refused(self):
        self.assert_refused("the guest's memory cannot be shared", share='off')

    def test_private_grant_table_is_refused(self):
        self.assert_refused('the grant table cannot be shared', aux='off')


if __name__ == '__main__':
    QemuSystemTest.main()
