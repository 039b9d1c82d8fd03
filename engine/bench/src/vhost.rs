//! The front-end's end of a vhost-user socket (vhost-user.rst, "Communication").

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use vhost_pvscsi_core::mock::{Layout, SharedMemory};
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

use crate::error::{Context, Error};
use crate::signals::Signals;

/// `VIRTIO_F_VERSION_1`
pub const VERSION_1: u64 = 1 << 32;
/// `VIRTIO_RING_F_INDIRECT_DESC`
pub const INDIRECT: u64 = 1 << 28;
/// `VIRTIO_RING_F_EVENT_IDX`
pub const EVENT_IDX: u64 = 1 << 29;
/// `VHOST_USER_F_PROTOCOL_FEATURES`
const PROTOCOL_FEATURES: u64 = 1 << 30;

const PROTOCOL_MQ: u64 = 1 << 0;
const PROTOCOL_REPLY_ACK: u64 = 1 << 3;
const PROTOCOL_CONFIG: u64 = 1 << 9;

const VERSION: u32 = 1;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// A reply of ours is never longer: GET_CONFIG's header and eight bytes.
const LONGEST_REPLY: usize = 64;

/// Requests of the front-end (vhost-user.rst, "Front-end message types").
#[derive(Clone, Copy, Debug)]
enum Message {
    GetFeatures = 1,
    SetFeatures = 2,
    SetOwner = 3,
    SetMemTable = 5,
    SetVringNum = 8,
    SetVringAddr = 9,
    SetVringBase = 10,
    GetVringBase = 11,
    SetVringKick = 12,
    SetVringCall = 13,
    GetProtocolFeatures = 15,
    SetProtocolFeatures = 16,
    GetQueueNum = 17,
    SetVringEnable = 18,
    GetConfig = 24,
}

/// A connected back-end.
#[derive(Debug)]
pub struct BackEnd {
    stream: UnixStream,
    features: u64,
    protocol: u64,
}

impl AsFd for BackEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl BackEnd {
    /// Connect and negotiate `wanted`; what the back-end does not offer is an error.
    pub fn connect(path: &Path, wanted: u64) -> Result<Self, Error> {
        let stream = UnixStream::connect(path).context(format!("connect {}", path.display()))?;
        let mut back_end = Self { stream, features: 0, protocol: 0 };
        let offered = back_end.ask(Message::GetFeatures, &[])?;
        let missing = (wanted | VERSION_1) & !offered;
        if missing != 0 {
            return Err(Error::BackEnd(format!("lacks virtio feature bits {missing:#x}")));
        }
        back_end.tell(Message::SetOwner, &[], &[])?;
        if offered & PROTOCOL_FEATURES != 0 {
            let known = PROTOCOL_MQ | PROTOCOL_REPLY_ACK | PROTOCOL_CONFIG;
            back_end.protocol = back_end.ask(Message::GetProtocolFeatures, &[])? & known;
            let acknowledged = back_end.protocol.to_le_bytes();
            back_end.tell(Message::SetProtocolFeatures, &acknowledged, &[])?;
        }
        back_end.features = wanted | VERSION_1 | offered & PROTOCOL_FEATURES;
        let acknowledged = back_end.features.to_le_bytes();
        back_end.tell(Message::SetFeatures, &acknowledged, &[])?;
        Ok(back_end)
    }

    /// How many queues it has; None where it does not say.
    pub fn queues(&mut self) -> Result<Option<u64>, Error> {
        if self.protocol & PROTOCOL_MQ == 0 {
            return Ok(None);
        }
        self.ask(Message::GetQueueNum, &[]).map(Some)
    }

    /// The first eight bytes of the device's configuration space.
    pub fn configuration(&mut self) -> Result<u64, Error> {
        if self.protocol & PROTOCOL_CONFIG == 0 {
            return Err(Error::BackEnd("does not offer VHOST_USER_PROTOCOL_F_CONFIG".into()));
        }
        let mut payload = [0u8; 20]; // offset, size, flags: u32 each; then the bytes asked for
        payload[4..8].copy_from_slice(&8u32.to_le_bytes());
        self.send(Message::GetConfig, &payload, &[], 0)?;
        let reply = self.receive(Message::GetConfig)?;
        let bytes: Option<[u8; 8]> = reply.get(12..20).and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(u64::from_le_bytes)
            .ok_or_else(|| Error::BackEnd(format!("GET_CONFIG returned {} bytes", reply.len())))
    }

    /// Share one region of memory.
    pub fn set_memory(&mut self, memory: &SharedMemory) -> Result<(), Error> {
        let fields = [
            1, // number of regions (u32) and padding (u32)
            memory.guest_address(),
            memory.size() as u64,
            memory.user_address(),
            0, // offset in the file
        ];
        let payload: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
        self.tell(Message::SetMemTable, &payload, &[memory.file().as_raw_fd()])
    }

    /// Describe a ring and start it.
    pub fn start_ring(
        &mut self,
        index: u32,
        layout: Layout,
        memory: &SharedMemory,
        signals: &Signals,
    ) -> Result<(), Error> {
        let user = |guest: u64| guest - memory.guest_address() + memory.user_address();
        self.tell(Message::SetVringNum, &pair(index, layout.size.into()), &[])?;
        self.tell(Message::SetVringBase, &pair(index, 0), &[])?;
        let addresses =
            [index.into(), user(layout.descriptors), user(layout.used), user(layout.available), 0];
        let payload: Vec<u8> = addresses.iter().flat_map(|field| field.to_le_bytes()).collect();
        self.tell(Message::SetVringAddr, &payload, &[])?;
        let plain = u64::from(index).to_le_bytes();
        self.tell(Message::SetVringCall, &plain, &[signals.call.as_raw_fd()])?;
        self.tell(Message::SetVringKick, &plain, &[signals.kick.as_raw_fd()])?;
        if self.features & PROTOCOL_FEATURES != 0 {
            self.tell(Message::SetVringEnable, &pair(index, 1), &[])?;
        }
        Ok(())
    }

    /// Stop a ring; the next index the back-end would have taken.
    pub fn stop_ring(&mut self, index: u32) -> Result<u16, Error> {
        let state = self.ask(Message::GetVringBase, &pair(index, 0))?;
        Ok((state >> 32) as u16)
    }

    /// Send a message that has no reply of its own, and wait until it is carried out if possible.
    fn tell(&mut self, message: Message, payload: &[u8], fds: &[RawFd]) -> Result<(), Error> {
        if self.protocol & PROTOCOL_REPLY_ACK == 0 || self.features == 0 {
            return self.send(message, payload, fds, 0);
        }
        self.send(message, payload, fds, NEED_REPLY)?;
        match word(&self.receive(message)?) {
            Some(0) => Ok(()),
            other => Err(Error::BackEnd(format!("refused {message:?} with {other:?}"))),
        }
    }

    /// Send a message that is answered with eight bytes.
    fn ask(&mut self, message: Message, payload: &[u8]) -> Result<u64, Error> {
        self.send(message, payload, &[], 0)?;
        let reply = self.receive(message)?;
        word(&reply).ok_or_else(|| {
            Error::BackEnd(format!("answered {message:?} with {} bytes", reply.len()))
        })
    }

    fn send(
        &mut self,
        message: Message,
        payload: &[u8],
        fds: &[RawFd],
        flags: u32,
    ) -> Result<(), Error> {
        let header = [message as u32, VERSION | flags, payload.len() as u32];
        let mut bytes: Vec<u8> = header.iter().flat_map(|field| field.to_le_bytes()).collect();
        bytes.extend_from_slice(payload);
        let sent = self
            .stream
            .send_with_fds(&[bytes.as_slice()], fds)
            .context(format!("send {message:?}"))?;
        if sent == bytes.len() {
            return Ok(());
        }
        Err(Error::BackEnd(format!("took only {sent} bytes of {message:?}")))
    }

    fn receive(&mut self, message: Message) -> Result<Vec<u8>, Error> {
        let what = format!("the answer to {message:?}");
        let mut header = [0u32; 3];
        for field in &mut header {
            let mut bytes = [0; 4];
            self.stream.read_exact(&mut bytes).context(what.as_str())?;
            *field = u32::from_le_bytes(bytes);
        }
        let [request, flags, size] = header;
        if request != message as u32 || flags & REPLY == 0 || size as usize > LONGEST_REPLY {
            return Err(Error::BackEnd(format!("{what} has the header {header:x?}")));
        }
        let mut payload = vec![0; size as usize];
        self.stream.read_exact(&mut payload).context(what)?;
        Ok(payload)
    }
}

/// The payload `struct vhost_vring_state`.
fn pair(index: u32, value: u32) -> [u8; 8] {
    (u64::from(index) | u64::from(value) << 32).to_le_bytes()
}

fn word(payload: &[u8]) -> Option<u64> {
    payload.try_into().ok().map(u64::from_le_bytes)
}
