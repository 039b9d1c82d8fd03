//! What stands behind an option: parsing and its errors.

use std::str::FromStr;
use std::time::Duration;

/// What is done to the LUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Addresses in random order.
    pub random: bool,
    /// Data goes to the device.
    pub write: bool,
}

impl Pattern {
    /// The name it has on the command line, as in fio.
    pub fn name(self) -> &'static str {
        match (self.random, self.write) {
            (true, false) => "randread",
            (true, true) => "randwrite",
            (false, false) => "read",
            (false, true) => "write",
        }
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "randread" => Ok(Self { random: true, write: false }),
            "randwrite" => Ok(Self { random: true, write: true }),
            "read" => Ok(Self { random: false, write: false }),
            "write" => Ok(Self { random: false, write: true }),
            _ => Err("give randread, randwrite, read or write".into()),
        }
    }
}

/// The kind of device behind the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// vhost-user-scsi, one LUN of it.
    Scsi,
    /// vhost-user-blk.
    Blk,
}

impl FromStr for DeviceKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "scsi" => Ok(Self::Scsi),
            "blk" => Ok(Self::Blk),
            _ => Err("give scsi or blk".into()),
        }
    }
}

/// The value of the option just read.
pub fn value<T: FromStr>(parser: &mut lexopt::Parser) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    let text = parser.value().map_err(|error| error.to_string())?;
    let text = text.to_str().ok_or("not UTF-8")?;
    text.parse().map_err(|error: T::Err| format!("{text}: {error}"))
}

/// A number with a suffix k, m or g.
pub struct Size(pub u64);

impl Size {
    /// As 32 bits.
    pub fn narrow(self) -> Result<u32, String> {
        u32::try_from(self.0).map_err(|_| format!("{}: too large", self.0))
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let (digits, shift) = match lower.strip_suffix(['k', 'm', 'g']) {
            Some(digits) if lower.ends_with('k') => (digits, 10),
            Some(digits) if lower.ends_with('m') => (digits, 20),
            Some(digits) => (digits, 30),
            None => (lower.as_str(), 0),
        };
        let number: u64 = digits.parse().map_err(|_| "give a number, perhaps with k, m or g")?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(|| "too large".into())
    }
}

/// A time in seconds, perhaps with a fraction.
pub struct Seconds(pub Duration);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number: f64 = text.parse().map_err(|_| "give a number of seconds")?;
        Duration::try_from_secs_f64(number).map(Self).map_err(|error| error.to_string())
    }
}
