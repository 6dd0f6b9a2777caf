//! Content addresses: SHA-256 over bytes, files and canonical JSON.

use crate::error::{Error, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{fs::File, io::Read, path::Path};

/// Lower-case hexadecimal SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The first 128 bits of the SHA-256 of `bytes`: what tells documents apart in an index.
pub fn sha256_half(bytes: &[u8]) -> [u8; 16] {
    let digest = Sha256::digest(bytes);
    std::array::from_fn(|i| digest[i])
}

/// Lower-case hexadecimal SHA-256 of several pieces, one after the other.
pub fn sha256_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for piece in pieces {
        hasher.update(piece);
    }
    hex(&hasher.finalize())
}

/// Lower-case hexadecimal SHA-256 of a file, read in pieces. Errors when it can't be read.
pub fn sha256_file(path: &Path) -> Result<String> {
    sha256_watched(path, &mut |_| Ok(()))
}

/// The same; `progress` hears of every piece's bytes, and its error ends the reading.
pub fn sha256_watched(path: &Path, progress: &mut dyn FnMut(u64) -> Result<()>) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::io(path, "open", &e))?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        let n = file
            .read(&mut piece)
            .map_err(|e| Error::io(path, "read", &e))?;
        if n == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&piece[..n]);
        progress(n as u64)?;
    }
}

/// SHA-256 of a value's canonical JSON: keys sorted at every level, floats in shortest form.
pub fn sha256_json<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).expect("plain data has a JSON form");
    sha256(sorted(value).to_string().as_bytes())
}

/// The value with the keys of every object in alphabetical order.
pub fn sorted(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_abc_is_the_one_in_fips_180_4() {
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let half = 0xba78_16bf_8f01_cfea_4141_40de_5dae_2223u128;
        assert_eq!(sha256_half(b"abc"), half.to_be_bytes());
    }

    #[test]
    fn the_order_of_keys_does_not_change_a_digest() {
        let a: serde_json::Value = serde_json::from_str(r#"{"a":1,"b":{"c":2,"d":[3]}}"#).unwrap();
        let b: serde_json::Value = serde_json::from_str(r#"{"b":{"d":[3],"c":2},"a":1}"#).unwrap();
        assert_eq!(sha256_json(&a), sha256_json(&b));
    }
}
