//! How a command ended: service, status, sense, bytes moved.

/// How the delivery of a command ended (SAM-5 5.3.1); each ring maps it to codes of its own.
///
/// `vhost_pvscsi/scsi/request.py` has the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Service {
    /// A SCSI status was delivered.
    Complete = 0,
    /// Nothing is attached at that target.
    AbsentTarget = 1,
    /// Ended by ABORT TASK, ABORT TASK SET or CLEAR TASK SET.
    Aborted = 2,
    /// Ended by a reset of its unit or nexus.
    Reset = 3,
    /// Not taken now, try again.
    Busy = 4,
    /// The CDB asks for more data than the guest's buffers hold.
    Overrun = 5,
    /// The transport failed.
    Failure = 6,
}

impl Service {
    /// The service with that number; anything unknown is a failure.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        match number {
            0 => Service::Complete,
            1 => Service::AbsentTarget,
            2 => Service::Aborted,
            3 => Service::Reset,
            4 => Service::Busy,
            5 => Service::Overrun,
            _ => Service::Failure,
        }
    }
}

/// SCSI status GOOD (SAM-5 5.3.1).
pub const GOOD: u8 = 0x00;
/// SCSI status CHECK CONDITION.
pub const CHECK_CONDITION: u8 = 0x02;
/// SCSI status CONDITION MET.
pub const CONDITION_MET: u8 = 0x04;
/// SCSI status TASK SET FULL.
pub const TASK_SET_FULL: u8 = 0x28;

/// Both rings carry at most this many bytes of sense data.
pub const SENSE_MAX: usize = 96;

/// Sense key, additional sense code and qualifier (SPC-5 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense(pub u8, pub u8, pub u8);

/// 0h/00h/00h
pub const NO_ADDITIONAL_SENSE: Sense = Sense(0x0, 0x00, 0x00);
/// 0h/00h/01h
pub const FILEMARK_DETECTED: Sense = Sense(0x0, 0x00, 0x01);
/// 0h/00h/02h
pub const EARLY_WARNING: Sense = Sense(0x0, 0x00, 0x02);
/// 0h/00h/04h
pub const BEGINNING_OF_PARTITION: Sense = Sense(0x0, 0x00, 0x04);
/// 8h/00h/05h
pub const END_OF_DATA: Sense = Sense(0x8, 0x00, 0x05);
/// Dh/00h/02h
pub const VOLUME_OVERFLOW: Sense = Sense(0xd, 0x00, 0x02);
/// 3h/11h/00h
pub const UNRECOVERED_READ_ERROR: Sense = Sense(0x3, 0x11, 0x00);
/// 3h/0Ch/00h
pub const WRITE_ERROR: Sense = Sense(0x3, 0x0c, 0x00);
/// 4h/44h/00h
pub const INTERNAL_TARGET_FAILURE: Sense = Sense(0x4, 0x44, 0x00);
/// 2h/3Ah/00h
pub const MEDIUM_NOT_PRESENT: Sense = Sense(0x2, 0x3a, 0x00);
/// 5h/1Ah/00h
pub const PARAMETER_LIST_LENGTH_ERROR: Sense = Sense(0x5, 0x1a, 0x00);
/// 5h/20h/00h
pub const INVALID_OPERATION_CODE: Sense = Sense(0x5, 0x20, 0x00);
/// 5h/21h/00h
pub const LBA_OUT_OF_RANGE: Sense = Sense(0x5, 0x21, 0x00);
/// 5h/64h/00h
pub const ILLEGAL_MODE_FOR_THIS_TRACK: Sense = Sense(0x5, 0x64, 0x00);
/// 5h/24h/00h
pub const INVALID_FIELD_IN_CDB: Sense = Sense(0x5, 0x24, 0x00);
/// 5h/26h/00h
pub const INVALID_FIELD_IN_PARAMETER_LIST: Sense = Sense(0x5, 0x26, 0x00);
/// 6h/29h/00h
pub const POWER_ON_OR_RESET: Sense = Sense(0x6, 0x29, 0x00);
/// 7h/27h/00h
pub const WRITE_PROTECTED: Sense = Sense(0x7, 0x27, 0x00);
/// 7h/27h/07h
pub const SPACE_ALLOCATION_FAILED: Sense = Sense(0x7, 0x27, 0x07);
/// Eh/1Dh/00h
pub const MISCOMPARE: Sense = Sense(0xe, 0x1d, 0x00);

/// What a CHECK CONDITION says; its sense data has two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Condition {
    sense: Sense,
    /// The INFORMATION field.
    information: Option<u64>,
    /// What of a request was not done; instead of `information`, and below 0 where it was too much.
    residual: Option<i64>,
    /// Byte and bit of the CDB that is wrong.
    field: Option<(u16, u8)>,
    /// FILEMARK, EOM and ILI, of stream commands.
    stream: u8,
    /// It is another command's, which was answered before (SPC-5 4.4.5).
    deferred: bool,
}

/// Sense data of stream commands: a filemark was found (SSC-5; SPC-5 4.4.2.5).
pub const FILEMARK: u8 = 0x80;
/// Sense data of stream commands: the medium ends, or soon will; or its beginning was met.
pub const END_OF_MEDIUM: u8 = 0x40;
/// Sense data of stream commands: a block has another length than was asked for.
pub const INCORRECT_LENGTH: u8 = 0x20;

/// The end of one command.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How delivery ended.
    pub service: Service,
    /// SCSI status; meaningful where service is `Complete`.
    pub status: u8,
    /// Bytes moved to or from the guest's data buffers.
    pub transferred: u64,
    /// Bytes of `sense` in use.
    sense_len: u8,
    sense: [u8; SENSE_MAX],
    /// What the host said, where its I/O failed; 0: it did not.
    pub errno: i32,
    /// What `sense` was made of; None where it was given as bytes.
    condition: Option<Condition>,
}

impl Outcome {
    /// GOOD, with that many bytes moved.
    #[must_use]
    pub fn good(transferred: u64) -> Self {
        Outcome { transferred, ..Outcome::of(Service::Complete) }
    }

    /// An end by that service, with nothing moved.
    #[must_use]
    pub fn of(service: Service) -> Self {
        Outcome {
            service,
            status: GOOD,
            transferred: 0,
            sense_len: 0,
            sense: [0; SENSE_MAX],
            errno: 0,
            condition: None,
        }
    }

    /// The sense data.
    #[must_use]
    pub fn sense(&self) -> &[u8] {
        // sense_len is at most SENSE_MAX: `from_parts` and the two formats see to it.
        &self.sense[..usize::from(self.sense_len)]
    }

    /// The sense data, zeros up to the room that rings have for it.
    #[must_use]
    pub fn padded_sense(&self) -> &[u8; SENSE_MAX] {
        &self.sense
    }

    /// A status without sense.
    #[must_use]
    pub fn status(status: u8) -> Self {
        Outcome { status, ..Outcome::of(Service::Complete) }
    }

    /// CHECK CONDITION with sense in fixed format.
    #[must_use]
    pub fn check(sense: Sense) -> Self {
        let condition = Condition {
            sense,
            information: None,
            residual: None,
            field: None,
            stream: 0,
            deferred: false,
        };
        Outcome::status(CHECK_CONDITION).saying(condition)
    }

    /// The same with the INFORMATION field, where the format has room for it.
    #[must_use]
    pub fn with_information(self, information: u64) -> Self {
        match self.condition {
            Some(condition) => {
                self.saying(Condition { information: Some(information), ..condition })
            }
            None => self,
        }
    }

    /// The same with a field pointer to a bit of the CDB (SPC-5 4.4.2.4.2).
    #[must_use]
    pub fn with_field(self, byte: u16, bit: u8) -> Self {
        match self.condition {
            Some(condition) => self.saying(Condition { field: Some((byte, bit)), ..condition }),
            None => self,
        }
    }

    /// The same with what of a request was not done in the INFORMATION field (SSC-5), negative
    /// numbers as two's complement.
    #[must_use]
    pub fn with_residual(self, residual: i64) -> Self {
        match self.condition {
            Some(condition) => self.saying(Condition { residual: Some(residual), ..condition }),
            None => self,
        }
    }

    /// The same with flags of stream commands.
    #[must_use]
    pub fn with_stream(self, flags: u8) -> Self {
        match self.condition {
            Some(condition) => self.saying(Condition { stream: flags, ..condition }),
            None => self,
        }
    }

    /// The same as a deferred error: that of a command that was answered before it ended.
    #[must_use]
    pub fn deferred(self) -> Self {
        match self.condition {
            Some(condition) => self.saying(Condition { deferred: true, ..condition }),
            None => self,
        }
    }

    /// The same with that many bytes moved.
    #[must_use]
    pub fn having_moved(self, transferred: u64) -> Self {
        Outcome { transferred, ..self }
    }

    /// The same, because the host said so.
    #[must_use]
    pub fn because_of(self, errno: i32) -> Self {
        Outcome { errno, ..self }
    }

    fn saying(mut self, condition: Condition) -> Self {
        (self.sense, self.sense_len) = condition.fixed();
        self.condition = Some(condition);
        self
    }

    /// The same with sense data in descriptor format, if it is the executor's own.
    #[must_use]
    pub fn in_descriptors(mut self) -> Self {
        if let Some(condition) = self.condition {
            (self.sense, self.sense_len) = condition.descriptors();
        }
        self
    }

    /// Outcome with sense data given as bytes; what exceeds `SENSE_MAX` is cut.
    #[must_use]
    pub fn from_parts(service: Service, status: u8, sense: &[u8], transferred: u64) -> Self {
        let mut outcome = Outcome { status, transferred, ..Outcome::of(service) };
        let length = sense.len().min(SENSE_MAX);
        outcome.sense[..length].copy_from_slice(&sense[..length]);
        // `length` is at most 96.
        outcome.sense_len = length as u8;
        outcome
    }

    /// The same as a failure of the host's, which its operator is told of; 0: it is none.
    #[must_use]
    pub fn with_errno(self, errno: i32) -> Self {
        Outcome { errno, ..self }
    }

    /// What an errno of the host means to the guest.
    #[must_use]
    pub fn host_error(errno: i32, writing: bool) -> Self {
        let outcome = match errno {
            libc::ENOSPC | libc::EDQUOT | libc::EFBIG => Outcome::check(SPACE_ALLOCATION_FAILED),
            libc::EPERM | libc::EACCES | libc::EROFS | libc::EBADF if writing => {
                Outcome::check(WRITE_PROTECTED)
            }
            libc::ENODEV | libc::ENXIO | libc::ENOMEDIUM => Outcome::check(MEDIUM_NOT_PRESENT),
            libc::ENOMEM | libc::EAGAIN => Outcome::status(TASK_SET_FULL),
            libc::ECANCELED => Outcome::of(Service::Aborted),
            // The guest's own pages are gone; the caller breaks the session.
            libc::EFAULT => Outcome::of(Service::Failure),
            libc::EIO | libc::EILSEQ | libc::EREMOTEIO if writing => Outcome::check(WRITE_ERROR),
            libc::EIO | libc::EILSEQ | libc::EREMOTEIO => Outcome::check(UNRECOVERED_READ_ERROR),
            _ => Outcome::check(INTERNAL_TARGET_FAILURE),
        };
        match errno {
            // Somebody's wish, the guest's own doing, or a moment's shortage: nothing is broken.
            libc::ECANCELED | libc::EFAULT | libc::ENOMEM | libc::EAGAIN => outcome,
            _ => Outcome { errno, ..outcome },
        }
    }
}

impl Condition {
    /// Fixed format (SPC-5 4.4.3).
    fn fixed(self) -> ([u8; SENSE_MAX], u8) {
        let mut bytes = [0; SENSE_MAX];
        bytes[0] = if self.deferred { 0x71 } else { 0x70 };
        if let Some(short) = self.information.and_then(|long| u32::try_from(long).ok()) {
            bytes[0] |= 0x80; // VALID
            bytes[3..7].copy_from_slice(&short.to_be_bytes());
        }
        if let Some(residual) = self.residual {
            // Four bytes, of a number without a sign or of one with it.
            if let Ok(short) = u32::try_from(residual) {
                bytes[0] |= 0x80;
                bytes[3..7].copy_from_slice(&short.to_be_bytes());
            } else if let Ok(short) = i32::try_from(residual) {
                bytes[0] |= 0x80;
                bytes[3..7].copy_from_slice(&short.to_be_bytes());
            }
        }
        bytes[2] = self.sense.0 | self.stream;
        bytes[7] = 10;
        bytes[12] = self.sense.1;
        bytes[13] = self.sense.2;
        if let Some(field) = self.field {
            bytes[15..18].copy_from_slice(&field_pointer(field));
        }
        (bytes, 18)
    }

    /// Descriptor format (SPC-5 4.4.2).
    fn descriptors(self) -> ([u8; SENSE_MAX], u8) {
        let mut bytes = [0; SENSE_MAX];
        let code = if self.deferred { 0x73 } else { 0x72 };
        bytes[..4].copy_from_slice(&[code, self.sense.0, self.sense.1, self.sense.2]);
        let mut end = 8;
        let residual = self.residual.map(|number| u64::from_be_bytes(number.to_be_bytes()));
        if let Some(information) = self.information.or(residual) {
            // Information descriptor: type 00h, VALID.
            bytes[end..end + 4].copy_from_slice(&[0x00, 0x0a, 0x80, 0]);
            bytes[end + 4..end + 12].copy_from_slice(&information.to_be_bytes());
            end += 12;
        }
        if let Some(field) = self.field {
            // Sense key specific descriptor: type 02h.
            bytes[end..end + 2].copy_from_slice(&[0x02, 0x06]);
            bytes[end + 4..end + 7].copy_from_slice(&field_pointer(field));
            end += 8;
        }
        if self.stream != 0 {
            // Stream commands descriptor: type 04h.
            bytes[end..end + 4].copy_from_slice(&[0x04, 0x02, 0, self.stream]);
            end += 4;
        }
        // At most 32 bytes in all.
        bytes[7] = end as u8 - 8;
        (bytes, end as u8)
    }
}

/// Sense key specific data for ILLEGAL REQUEST (SPC-5 4.4.2.4.2): SKSV, C/D, BPV, bit pointer;
/// field pointer.
fn field_pointer((byte, bit): (u16, u8)) -> [u8; 3] {
    let [high, low] = byte.to_be_bytes();
    [0x80 | 0x40 | 0x08 | (bit & 7), high, low]
}
