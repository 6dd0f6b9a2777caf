//! The bytes of an event file: records with masked CRC-32C sums, each a protobuf `Event`.
//!
//! Formats: TensorFlow's "TFRecords format details", and `event.proto`, `summary.proto` and
//! `tensor.proto` of TensorBoard. Only what is written here is known here, so a few lines of
//! protobuf's wire format take the place of a code generator.

/// The reflected Castagnoli polynomial.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// CRC-32C (RFC 3720, appendix B.4).
pub fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
    !bytes.iter().fold(!0, step)
}

/// A sum as it stands in files: rotated and moved, so that a sum over data that holds sums is none.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A record: length, its sum, data, its sum.
pub fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let sums = [masked(&length), masked(data)].map(u32::to_le_bytes);
    [&length[..], &sums[0], data, &sums[1]].concat()
}

/// The data of every whole record, up to the first that is cut short or damaged.
pub fn unframe(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some((data, rest)) = first_record(bytes) {
        all.push(data);
        bytes = rest;
    }
    all
}

fn first_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (length_sum, rest) = rest.split_first_chunk::<4>()?;
    let (data, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let (data_sum, rest) = rest.split_first_chunk::<4>()?;
    let whole = u32::from_le_bytes(*length_sum) == masked(length)
        && u32::from_le_bytes(*data_sum) == masked(data);
    whole.then_some((data, rest))
}

/// What one event says.
pub enum What<'a> {
    /// The first event of a file.
    Version,
    /// Readers drop what they saw before of this step and later ones.
    Start,
    /// (tag, Markdown).
    Text(&'a str, &'a str),
    Scalars(&'a [(String, f64)]),
}

/// An `Event` message: `at` in seconds since 1970.
pub fn event(at: f64, step: u64, what: &What) -> Vec<u8> {
    let mut event = Message::default();
    event.fixed64(1, at);
    event.integer(2, step);
    match what {
        What::Version => event.bytes(3, b"brain.Event:2"),
        What::Start => event.message(7, |session| session.integer(1, 1)),
        What::Text(tag, text) => event.message(5, |summary| {
            summary.message(1, |value| text_value(value, tag, text));
        }),
        What::Scalars(scalars) => event.message(5, |summary| {
            for (tag, scalar) in *scalars {
                summary.message(1, |value| {
                    value.bytes(1, tag.as_bytes());
                    value.fixed32(2, *scalar as f32);
                });
            }
        }),
    }
    event.0
}

/// A `Summary.Value` of the text dashboard: a tensor of one string.
fn text_value(value: &mut Message, tag: &str, text: &str) {
    const STRING: u64 = 7;
    value.bytes(1, tag.as_bytes());
    value.message(8, |tensor| {
        tensor.integer(1, STRING);
        tensor.message(2, |shape| shape.message(2, |dim| dim.integer(1, 1)));
        tensor.bytes(8, text.as_bytes());
    });
    value.message(9, |metadata| {
        metadata.message(1, |plugin| plugin.bytes(1, b"text"));
    });
}

/// (seconds since 1970, step) of an event that [`event`] wrote.
pub fn time_and_step(event: &[u8]) -> Option<(f64, u64)> {
    let (at, rest) = event.strip_prefix(&[1 << 3 | 1])?.split_first_chunk()?;
    let mut step = 0;
    for (i, byte) in rest.strip_prefix(&[2 << 3])?.iter().enumerate().take(10) {
        step |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if byte & 0x80 == 0 {
            return Some((f64::from_le_bytes(*at), step));
        }
    }
    None
}

/// A protobuf message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn fixed64(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn fixed32(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn message(&mut self, field: u64, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_rfc_3720() {
        let count_up: Vec<u8> = (0..32).collect();
        let count_down: Vec<u8> = (0..32).rev().collect();
        for (bytes, sum) in [
            (&[0; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&count_up, 0x46dd_794e),
            (&count_down, 0x113f_db5c),
            (b"123456789", 0xe306_9283),
            (b"", 0),
        ] {
            assert_eq!(crc32c(bytes), sum, "{bytes:?}");
        }
        // By TensorBoard 2.21's `masked_crc32c`.
        assert_eq!(masked(b"123456789"), 0xc78a_b0e5);
        assert_eq!(masked(&[]), 0xa282_ead8);
    }

    #[test]
    fn a_file_cut_or_changed_anywhere_gives_the_records_before() {
        let records = [&b"one"[..], b"", &[7; 300]];
        let whole: Vec<u8> = records.iter().flat_map(|data| frame(data)).collect();
        let ends: Vec<usize> = records
            .iter()
            .scan(0, |end, data| {
                *end += data.len() + 16;
                Some(*end)
            })
            .collect();
        assert_eq!(unframe(&whole), records);
        for at in 0..whole.len() {
            let before = ends.iter().filter(|end| **end <= at).count();
            assert_eq!(unframe(&whole[..at]), records[..before], "cut at {at}");
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            assert_eq!(unframe(&changed), records[..before], "changed at {at}");
        }
    }

    #[test]
    fn time_and_step_come_back() {
        for step in [0, 1, 127, 128, 300, 1 << 35, u64::MAX] {
            for what in [What::Version, What::Scalars(&[("a".into(), 1.0)])] {
                let event = event(1.5e9, step, &what);
                assert_eq!(time_and_step(&event), Some((1.5e9, step)));
                assert_eq!(time_and_step(&event[..9]), None);
            }
        }
    }
}
