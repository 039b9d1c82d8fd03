//! The two kinds of device: how a request is written down, and how its end is read.

use crate::values::DeviceKind;

/// Longest request header of both kinds.
pub const HEADER_BYTES: u32 = 51;
/// Longest response of both kinds.
pub const RESPONSE_BYTES: u32 = 108;
/// Written where the device's verdict will be, so that a missing one is seen.
const UNANSWERED: u8 = 0xff;

/// virtio-scsi: queues 0 (control) and 1 (event) come before the request queues.
const SCSI_FIRST_REQUEST_QUEUE: u32 = 2;

const READ_10: u8 = 0x28;
const WRITE_10: u8 = 0x2a;
const READ_16: u8 = 0x88;
const WRITE_16: u8 = 0x8a;

/// A transfer of whole blocks.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// First byte on the LUN.
    pub offset: u64,
    /// Bytes.
    pub len: u32,
    /// Towards the device.
    pub write: bool,
}

/// A device to which requests can be written.
#[derive(Clone, Copy, Debug)]
pub enum Device {
    /// One LUN of a virtio-scsi host (virtio 1.2, 5.6.6.1).
    Scsi {
        /// In the single level LUN structure of virtio.
        address: [u8; 8],
        /// Logical block size; 0 until it is known.
        block: u32,
    },
    /// A virtio-blk device (virtio 1.2, 5.2.6), always in units of 512 bytes.
    Blk,
}

impl Device {
    /// The device an operator named.
    pub fn new(kind: DeviceKind, target: u8, lun: u16) -> Self {
        let [high, low] = lun.to_be_bytes();
        match kind {
            DeviceKind::Scsi => {
                Self::Scsi { address: [1, target, 0x40 | high, low, 0, 0, 0, 0], block: 0 }
            }
            DeviceKind::Blk => Self::Blk,
        }
    }

    /// Index of the first queue that takes requests.
    pub fn first_request_queue(&self) -> u32 {
        match self {
            Self::Scsi { .. } => SCSI_FIRST_REQUEST_QUEUE,
            Self::Blk => 0,
        }
    }

    /// Bytes of a request's header and of its response.
    pub fn sizes(&self) -> (u32, u32) {
        match self {
            Self::Scsi { .. } => (HEADER_BYTES, RESPONSE_BYTES),
            Self::Blk => (16, 1),
        }
    }

    /// The smallest unit of a transfer, in bytes.
    pub fn block_size(&self) -> u32 {
        match *self {
            Self::Scsi { block, .. } => block.max(1),
            Self::Blk => 512,
        }
    }

    /// The header of a transfer; what is returned is as long as `sizes` says.
    pub fn transfer(&self, tag: u64, transfer: Transfer) -> [u8; HEADER_BYTES as usize] {
        match self {
            Self::Scsi { .. } => self.scsi_header(tag, &self.scsi_cdb(transfer)),
            Self::Blk => {
                let mut header = [0; HEADER_BYTES as usize];
                header[0] = u8::from(transfer.write); // VIRTIO_BLK_T_IN 0, _OUT 1
                header[8..16].copy_from_slice(&(transfer.offset / 512).to_le_bytes());
                header
            }
        }
    }

    /// The header of any SCSI command.
    pub fn scsi_header(&self, tag: u64, cdb: &[u8]) -> [u8; HEADER_BYTES as usize] {
        let mut header = [0; HEADER_BYTES as usize];
        if let Self::Scsi { address, .. } = self {
            header[..8].copy_from_slice(address);
        }
        header[8..16].copy_from_slice(&tag.to_le_bytes());
        header[19..19 + cdb.len()].copy_from_slice(cdb);
        header
    }

    /// READ or WRITE (10), or (16) where the address or the length needs it, as Linux does.
    fn scsi_cdb(&self, transfer: Transfer) -> [u8; 16] {
        let block = u64::from(self.block_size());
        let lba = transfer.offset / block;
        let blocks = (u64::from(transfer.len) / block) as u32;
        let mut cdb = [0; 16];
        match (u32::try_from(lba), u16::try_from(blocks)) {
            (Ok(lba), Ok(blocks)) => {
                cdb[0] = if transfer.write { WRITE_10 } else { READ_10 };
                cdb[2..6].copy_from_slice(&lba.to_be_bytes());
                cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
            }
            _ => {
                cdb[0] = if transfer.write { WRITE_16 } else { READ_16 };
                cdb[2..10].copy_from_slice(&lba.to_be_bytes());
                cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
            }
        }
        cdb
    }

    /// Where in a response the device's verdict is, and what to put there before.
    pub fn poison(&self) -> (u64, u8) {
        match self {
            Self::Scsi { .. } => (11, UNANSWERED),
            Self::Blk => (0, UNANSWERED),
        }
    }

    /// Read a response; an error says what the device reported.
    pub fn verdict(&self, response: &[u8]) -> Result<(), String> {
        match self {
            Self::Scsi { .. } => ScsiResponse::parse(response)?.verdict(),
            Self::Blk => match response.first() {
                Some(0) => Ok(()),
                other => Err(format!("virtio-blk status {other:?}")),
            },
        }
    }
}

/// A response of virtio-scsi (virtio 1.2, 5.6.6.1).
#[derive(Clone, Copy, Debug)]
pub struct ScsiResponse {
    residual: u32,
    status: u8,
    response: u8,
    sense: [u8; 3], // key, ASC, ASCQ of fixed format
}

impl ScsiResponse {
    /// Read it from memory.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let head: [u8; 26] = bytes
            .get(..26)
            .and_then(|head| head.try_into().ok())
            .ok_or_else(|| format!("a response of {} bytes", bytes.len()))?;
        let [_, _, _, _, r0, r1, r2, r3, _, _, status, response, sense @ ..] = head;
        Ok(Self {
            residual: u32::from_le_bytes([r0, r1, r2, r3]),
            status,
            response,
            sense: [sense[2] & 0x0f, sense[12], sense[13]],
        })
    }

    /// True where a CHECK CONDITION asks for another try: UNIT ATTENTION.
    pub fn is_unit_attention(&self) -> bool {
        self.response == 0 && self.status == 2 && self.sense[0] == 6
    }

    /// Good, or a sentence about what it was.
    pub fn verdict(&self) -> Result<(), String> {
        if (self.response, self.status, self.residual) == (0, 0, 0) {
            return Ok(());
        }
        let [key, asc, ascq] = self.sense;
        Err(format!(
            "response {}, status {:#04x}, sense {key:x}/{asc:02x}/{ascq:02x}, residual {}",
            self.response, self.status, self.residual
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_becomes_the_ten_byte_form() {
        let device = Device::Scsi { address: [1, 3, 0x40, 7, 0, 0, 0, 0], block: 512 };
        let header = device.transfer(9, Transfer { offset: 4096, len: 8192, write: false });
        assert_eq!(header[..8], [1, 3, 0x40, 7, 0, 0, 0, 0]);
        assert_eq!(header[8..16], 9u64.to_le_bytes());
        assert_eq!(header[19..29], [0x28, 0, 0, 0, 0, 8, 0, 0, 16, 0]);
    }

    #[test]
    fn a_far_write_becomes_the_sixteen_byte_form() {
        let device = Device::Scsi { address: [0; 8], block: 512 };
        let header = device.transfer(0, Transfer { offset: 1 << 42, len: 512, write: true });
        assert_eq!(header[19..33], [0x8a, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn verdicts_tell_good_from_bad() {
        let device = Device::new(DeviceKind::Scsi, 0, 0);
        let mut response = [0u8; RESPONSE_BYTES as usize];
        assert_eq!(device.verdict(&response), Ok(()));
        response[10] = 2;
        response[14] = 6;
        response[24] = 0x29;
        let error = device.verdict(&response).err().unwrap_or_default();
        assert!(error.contains("sense 6/29/00"), "{error}");
        response[10] = 0;
        response[4] = 1;
        assert!(device.verdict(&response).is_err(), "a residual went unseen");
    }
}
