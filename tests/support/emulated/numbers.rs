//! Numbers of either type in the emulated device's memory, which is the process's own.

use std::slice;
use windtunnel::device::gpu::{At, Dtype};

/// The nearest bf16, ties to even; NaN stays NaN.
pub fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return 0x7fff;
    }
    (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

pub fn of_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// As bytes, rounded to the type.
pub fn to_bytes(dtype: Dtype, numbers: &[f32]) -> Vec<u8> {
    match dtype {
        Dtype::F32 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Dtype::Bf16 => numbers
            .iter()
            .flat_map(|&x| to_bf16(x).to_le_bytes())
            .collect(),
    }
}

pub fn of_bytes(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    match dtype {
        Dtype::F32 => {
            let words = bytes.chunks_exact(4);
            words
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect()
        }
        Dtype::Bf16 => {
            let words = bytes.chunks_exact(2);
            words
                .map(|b| of_bf16(u16::from_le_bytes([b[0], b[1]])))
                .collect()
        }
    }
}

/// Reads as many as there is room for. The caller has checked that they lie in an allocation.
pub fn read(dtype: Dtype, at: At, numbers: &mut [f32]) {
    // SAFETY: inside of an allocation, which nobody else writes: the device does one thing at a time.
    unsafe {
        match dtype {
            Dtype::F32 => {
                let from = slice::from_raw_parts(at as *const [u8; 4], numbers.len());
                numbers
                    .iter_mut()
                    .zip(from)
                    .for_each(|(x, &b)| *x = f32::from_le_bytes(b));
            }
            Dtype::Bf16 => {
                let from = slice::from_raw_parts(at as *const [u8; 2], numbers.len());
                let of = |b| of_bf16(u16::from_le_bytes(b));
                numbers.iter_mut().zip(from).for_each(|(x, &b)| *x = of(b));
            }
        }
    }
}

/// Writes them, rounded to the type. The caller has checked that they lie in an allocation.
pub fn write(dtype: Dtype, at: At, numbers: &[f32]) {
    // SAFETY: as above.
    unsafe {
        match dtype {
            Dtype::F32 => {
                let to = slice::from_raw_parts_mut(at as *mut [u8; 4], numbers.len());
                to.iter_mut()
                    .zip(numbers)
                    .for_each(|(b, x)| *b = x.to_le_bytes());
            }
            Dtype::Bf16 => {
                let to = slice::from_raw_parts_mut(at as *mut [u8; 2], numbers.len());
                to.iter_mut()
                    .zip(numbers)
                    .for_each(|(b, &x)| *b = to_bf16(x).to_le_bytes());
            }
        }
    }
}
