//! READ and WRITE in pieces, where one is longer than what the host carries at a time; and the
//! length of a CDB.

use crate::cdb;

/// Operation codes that may be cut: READ and WRITE (6), (10), (12), (16).
fn can_be_cut(opcode: u8) -> bool {
    matches!(opcode, 0x08 | 0x28 | 0xa8 | 0x88 | 0x0a | 0x2a | 0xaa | 0x8a)
}

/// A part of a READ or WRITE of `total` bytes: the CDB and the length of what begins `done` bytes
/// in and has at most `limit` bytes. None where the command cannot be cut: it is another, or its
/// data is not that of its blocks.
#[must_use]
pub fn piece(
    whole: &[u8; 32],
    block: u64,
    total: u64,
    done: u64,
    limit: u64,
) -> Option<([u8; 32], u64)> {
    if !can_be_cut(whole[0]) || block == 0 || limit < block || done >= total {
        return None;
    }
    let (lba, blocks) = cdb::extent(whole);
    if u64::from(blocks).checked_mul(block) != Some(total) || done % block != 0 {
        return None;
    }
    let count = ((total - done) / block).min(limit / block);
    let mut part = *whole;
    // lba and blocks are of a CDB: no sum of them wraps; count is at most `blocks`.
    put(&mut part, lba.wrapping_add(done / block), count as u32);
    Some((part, count * block))
}

fn put(cdb: &mut [u8; 32], lba: u64, blocks: u32) {
    let [.., a, b, c, d] = lba.to_be_bytes();
    match cdb[0] >> 5 {
        0 => {
            cdb[1] = cdb[1] & 0xe0 | b & 0x1f;
            cdb[2] = c;
            cdb[3] = d;
            // 256 is 0 here (SBC-4 5.13).
            cdb[4] = blocks as u8;
        }
        1 => {
            cdb[2..6].copy_from_slice(&[a, b, c, d]);
            cdb[7..9].copy_from_slice(&(blocks as u16).to_be_bytes());
        }
        4 => {
            cdb[2..10].copy_from_slice(&lba.to_be_bytes());
            cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
        }
        _ => {
            cdb[2..6].copy_from_slice(&[a, b, c, d]);
            cdb[6..10].copy_from_slice(&blocks.to_be_bytes());
        }
    }
}

/// Bytes of a CDB, of which a ring has carried `carried` (SPC-5 4.2.5.1; a ring of virtio pads all
/// to 32). None where it says itself that it is longer than that.
#[must_use]
pub fn cdb_length(cdb: &[u8; 32], carried: u8) -> Option<usize> {
    let length = match cdb[0] >> 5 {
        0 => 6,
        1 | 2 => 10,
        4 => 16,
        5 => 12,
        // Variable length: ADDITIONAL CDB LENGTH.
        3 if cdb[0] == 0x7f => 8 + usize::from(cdb[7]),
        // Vendor specific, or extended: as far as anything is said.
        _ => cdb.iter().rposition(|byte| *byte != 0).map_or(10, |last| (last + 1).max(10)),
    };
    (length <= usize::from(carried).min(cdb.len())).then_some(length)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn cdb(bytes: &[u8]) -> [u8; 32] {
        let mut cdb = [0; 32];
        cdb[..bytes.len()].copy_from_slice(bytes);
        cdb
    }

    #[test]
    fn pieces_make_the_whole() {
        let whole = [
            cdb(&[0x08, 0x12, 0x34, 0x56, 0, 0]), // 256 blocks
            cdb(&[0x2a, 0x08, 0xff, 0xff, 0xfe, 0, 0, 0x01, 0x00, 0]),
            cdb(&[0xa8, 0, 0, 0x12, 0, 0, 0, 0, 1, 0, 0, 0]),
            cdb(&[0x8a, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
        ];
        for whole in whole {
            let (first, blocks) = cdb::extent(&whole);
            let total = u64::from(blocks) * 512;
            let (mut done, mut next) = (0, first);
            while done < total {
                let (part, length) = piece(&whole, 512, total, done, 70_000).unwrap();
                let (lba, count) = cdb::extent(&part);
                assert_eq!((lba, u64::from(count) * 512), (next, length));
                assert_eq!((part[0], part[1] & 0xe0), (whole[0], whole[1] & 0xe0));
                assert!(length <= 70_000);
                next += u64::from(count);
                done += length;
            }
            assert_eq!(done, total);
        }
    }

    #[test]
    fn what_is_not_plain_blocks_is_not_cut() {
        let read = cdb(&[0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0]);
        assert!(piece(&read, 512, 4096, 0, 1024).is_some());
        // More data than the blocks have, blocks of unknown size or larger than the limit.
        assert!(piece(&read, 512, 8192, 0, 1024).is_none());
        assert!(piece(&read, 0, 4096, 0, 1024).is_none());
        assert!(piece(&read, 512, 4096, 0, 511).is_none());
        assert!(piece(&cdb(&[0x41, 0, 0, 0, 0, 0, 0, 0, 8, 0]), 512, 4096, 0, 1024).is_none());
    }

    #[test]
    fn a_cdb_is_as_long_as_its_code_says() {
        assert_eq!(cdb_length(&cdb(&[0x12]), 32), Some(6));
        assert_eq!(cdb_length(&cdb(&[0x28]), 32), Some(10));
        assert_eq!(cdb_length(&cdb(&[0x88]), 16), Some(16));
        assert_eq!(cdb_length(&cdb(&[0xa8]), 32), Some(12));
        assert_eq!(cdb_length(&cdb(&[0x7f, 0, 0, 0, 0, 0, 0, 0x18]), 32), Some(32));
        assert_eq!(cdb_length(&cdb(&[0x7f, 0, 0, 0, 0, 0, 0, 0x18]), 16), None);
        assert_eq!(cdb_length(&cdb(&[0x7f, 0, 0, 0, 0, 0, 0, 0xff]), 32), None);
        assert_eq!(cdb_length(&cdb(&[0xc0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]), 32), Some(12));
        assert_eq!(cdb_length(&cdb(&[0xc0, 1]), 16), Some(10));
        assert_eq!(cdb_length(&cdb(&[0x28]), 6), None);
    }
}
