//! Devices of the host: opened, forwarded to, closed.

use std::convert::Infallible;
use std::sync::{mpsc, Arc};
use std::time::Duration;

use super::{next_id, Engine};
use crate::error::{Error, Result};
use crate::mailbox::{Forward, Order};
use crate::sg::{Device, DeviceSpec};
use crate::slot::{Token, CDB_MAX};

/// How long threads may take to let go of a device.
const PATIENCE: Duration = Duration::from_secs(1);

impl Engine {
    /// Have a device of the host, for all threads.
    ///
    /// # Errors
    /// It cannot be opened again, or its limits make no sense.
    pub fn add_device(&self, spec: &DeviceSpec) -> Result<Arc<Device>> {
        let id = next_id(&mut self.state());
        Device::new(id, spec, self.mailboxes.len()).map(Arc::new)
    }

    /// Let go of a device; its commands have ended. When this returns no thread has it any more, so
    /// that it can be opened exclusively again; a thread that does not obey in a second is not
    /// waited for.
    pub fn remove_device(&self, device: &Device) {
        let (tell, told) = mpsc::channel();
        for mailbox in &self.mailboxes {
            mailbox.post(Order::ForgetDevice(device.id, tell.clone()));
        }
        drop(tell);
        // Nothing is ever sent: it ends when the last thread has dropped its sender.
        let _: std::result::Result<Infallible, _> = told.recv_timeout(PATIENCE);
    }

    /// Send a held request to a device as `cdb` says. Its data is the guest's, but where Python
    /// sends it (`send`) or wants up to so many bytes of it (`fetch`).
    ///
    /// # Errors
    /// The CDB is empty or too long.
    pub fn forward(
        &self,
        token: u64,
        device: Arc<Device>,
        cdb: &[u8],
        send: Option<Vec<u8>>,
        fetch: Option<usize>,
    ) -> Result<()> {
        if cdb.is_empty() || cdb.len() > CDB_MAX {
            let length = cdb.len();
            return Err(Error::Setup(format!("a CDB has 1 to {CDB_MAX} bytes, not {length}")));
        }
        let mut padded = [0; CDB_MAX];
        padded[..cdb.len()].copy_from_slice(cdb);
        let write = send.is_some();
        let bounce = send.or_else(|| fetch.map(|room| vec![0; room])).map(Vec::into_boxed_slice);
        let forward = Forward { device, cdb: padded, bounce, write };
        self.post(Token::unpack(token).thread, Order::Forward(token, Box::new(forward)));
        Ok(())
    }
}
