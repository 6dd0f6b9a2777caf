//! A reader of TensorBoard's event files that shares no code with the writer.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A field of a protobuf message.
#[derive(Debug, PartialEq)]
pub enum Field<'a> {
    Integer(u64),
    Eight(f64),
    Four(f32),
    Bytes(&'a [u8]),
}

fn integer(bytes: &mut &[u8]) -> u64 {
    let end = bytes.iter().position(|byte| *byte < 128).unwrap();
    let (number, rest) = bytes.split_at(end + 1);
    *bytes = rest;
    let low_first = number.iter().rev();
    low_first.fold(0, |sum, byte| sum * 128 + u64::from(byte % 128))
}

pub fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = integer(&mut bytes);
        let field = match key % 8 {
            0 => Field::Integer(integer(&mut bytes)),
            1 => Field::Eight(f64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let length = integer(&mut bytes);
                Field::Bytes(take(&mut bytes, length as usize))
            }
            5 => Field::Four(f32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap())),
            kind => panic!("wire type {kind}"),
        };
        fields.push((key / 8, field));
    }
    fields
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(n);
    *bytes = rest;
    taken
}

/// CRC-32C bit by bit, highest first, by its definition.
fn slow_sum(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(byte.reverse_bits()) << 24;
        for _ in 0..8 {
            crc = (crc << 1) ^ if crc >> 31 == 1 { 0x1edc_6f41 } else { 0 };
        }
    }
    (!crc)
        .reverse_bits()
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

pub fn messages(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let length = take(&mut bytes, 8);
        let sum = u32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap());
        assert_eq!(sum, slow_sum(length));
        let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
        let message = take(&mut bytes, length);
        let sum = u32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap());
        assert_eq!(sum, slow_sum(message));
        messages.push(message);
    }
    messages
}

/// Events before the first record's.
const HEAD: usize = 3;

/// (seconds since 1970, step, tag, value) of every scalar in the one event file of a folder.
pub fn read(folder: &Path) -> Vec<(f64, u64, String, f32)> {
    let paths = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let files: Vec<PathBuf> = paths
        .filter(|p| p.to_string_lossy().contains("tfevents"))
        .collect();
    let [path] = &files[..] else {
        panic!("{files:?}")
    };
    let bytes = fs::read(path).unwrap();
    let mut all = Vec::new();
    for message in messages(&bytes).into_iter().skip(HEAD) {
        let fields_of = fields(message);
        let [
            (1, Field::Eight(at)),
            (2, Field::Integer(step)),
            (5, Field::Bytes(summary)),
        ] = fields_of[..]
        else {
            panic!("{fields_of:?}")
        };
        for (_, value) in fields(summary) {
            let Field::Bytes(value) = value else { panic!() };
            let value = fields(value);
            let [(1, Field::Bytes(tag)), (2, Field::Four(scalar))] = value[..] else {
                panic!("{value:?}")
            };
            all.push((at, step, String::from_utf8(tag.into()).unwrap(), scalar));
        }
    }
    all
}
