//! A product of matrices that lie row by row, in the words of cuBLASLt, for which they lie column by
//! column: what is D = A·B here is Dᵀ = Bᵀ·Aᵀ there, so the factors change places and nothing is
//! transposed that was not before.

use super::gpu::{Dtype, Epilogue, Matrix, Product};
use crate::error::{Error, Result};

/// A matrix as it lies: `rows` numbers down each of `cols` columns, `column` elements from one column
/// to the next, `each` from one matrix of the batch to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    pub dtype: Dtype,
    pub rows: usize,
    pub cols: usize,
    pub column: usize,
    pub each: usize,
    /// Of the address, in bytes: a power of two of at most 256. Algorithms ask for different ones.
    pub alignment: u32,
    /// What is meant is the transpose of what lies there.
    pub transposed: bool,
}

/// What follows the product, without addresses. Strides are in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum After {
    Nothing,
    Bias(Bias),
    Gelu {
        bias: Option<Bias>,
        before_alignment: u32,
    },
    GeluBack {
        before_alignment: u32,
    },
}

/// A number for each row of the target as the library sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bias {
    pub each: usize,
    pub alignment: u32,
}

/// All that decides which algorithm computes a product: everything but addresses and α. Equal plans
/// are computed alike, to the last bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Plan {
    pub count: usize,
    pub left: Layout,
    pub right: Layout,
    pub target: Layout,
    pub add: bool,
    pub after: After,
    pub tf32: bool,
}

impl Plan {
    /// Errors for what the trait does not promise: factors of two number types, a rounded target of
    /// f32 factors, rows that overlap, an epilogue of a sum, sums of nothing.
    pub fn of(product: &Product) -> Result<Self> {
        let p = product;
        if p.a.dtype != p.b.dtype {
            return Err(refused(p, "its factors are of two number types"));
        }
        if p.a.dtype == Dtype::F32 && p.d.dtype == Dtype::Bf16 {
            return Err(refused(p, "a product of f32 numbers is stored in f32"));
        }
        if p.add && p.epilogue != Epilogue::Plain {
            return Err(refused(p, "a sum has no epilogue"));
        }
        if p.d.transposed {
            return Err(refused(p, "its target is transposed"));
        }
        if p.depth == 0 {
            return Err(refused(p, "there is nothing to add up"));
        }
        Ok(Self {
            count: p.count,
            left: layout(p, &p.b, (p.depth, p.cols))?,
            right: layout(p, &p.a, (p.rows, p.depth))?,
            target: layout(p, &p.d, (p.rows, p.cols))?,
            add: p.add,
            after: after(&p.epilogue),
            tf32: p.tf32 && p.a.dtype == Dtype::F32,
        })
    }

    /// The same product with nothing after it.
    pub fn bare(self) -> Self {
        Self {
            after: After::Nothing,
            ..self
        }
    }

    /// Whether the library may be asked to do what follows: the matrix beside the target must begin
    /// at 16 bytes and have columns and strides that are multiples of 8 elements.
    pub fn may_fuse(&self) -> bool {
        match self.after {
            After::Nothing | After::Bias(_) => true,
            After::Gelu {
                before_alignment, ..
            }
            | After::GeluBack { before_alignment } => {
                let strides_fit = self.count == 1 || self.target.each.is_multiple_of(8);
                before_alignment >= 16 && self.target.column.is_multiple_of(8) && strides_fit
            }
        }
    }
}

/// Of a matrix of which `(rows, cols)` are meant, row by row: its rows are the library's columns.
fn layout(product: &Product, m: &Matrix, (rows, cols): (usize, usize)) -> Result<Layout> {
    let (n_rows, row_len) = match m.transposed {
        false => (rows, cols),
        true => (cols, rows),
    };
    // Nobody steps from a single row to the next, so any distance is right; the library wants room.
    let column = match n_rows {
        1 => m.row.max(row_len),
        _ => m.row,
    };
    if column < row_len {
        return Err(refused(
            product,
            &format!("rows of {row_len} lie {column} apart"),
        ));
    }
    Ok(Layout {
        dtype: m.dtype,
        rows: row_len,
        cols: n_rows,
        column,
        // Likewise of a single matrix.
        each: if product.count == 1 { 0 } else { m.each },
        alignment: alignment(m.at),
        transposed: m.transposed,
    })
}

fn after(epilogue: &Epilogue) -> After {
    let of_bias = |(at, each)| Bias {
        each,
        alignment: alignment(at),
    };
    match *epilogue {
        Epilogue::Plain => After::Nothing,
        Epilogue::Bias { at, each } => After::Bias(of_bias((at, each))),
        Epilogue::Gelu { before, bias } => After::Gelu {
            bias: bias.map(of_bias),
            before_alignment: alignment(before),
        },
        Epilogue::GeluBack { before } => After::GeluBack {
            before_alignment: alignment(before),
        },
    }
}

/// The largest power of two that divides an address, up to the 256 that allocations have.
fn alignment(at: u64) -> u32 {
    1 << at.trailing_zeros().min(8)
}

fn refused(p: &Product, problem: &str) -> Error {
    Error::failed(
        "a product on the device",
        format!(
            "{} of {}×{} by {}×{}: {problem}",
            p.count, p.rows, p.depth, p.depth, p.cols
        ),
        "report this: an op asks for what no device is made to do",
    )
}

#[cfg(test)]
mod tests;
