//! Products of matrices by cuBLASLt.
//!
//! For each [`Plan`] the first algorithm that its heuristic names is kept. No timing decides: two runs
//! would choose differently and round differently, and a resumed run would not be the same run. The
//! library gives the same bits in each run of one version on devices of one architecture and number of
//! multiprocessors; those are the device's class.

use super::{errors, stream::Stream};
use crate::{
    device::{
        column_major::{After, Bias, Layout, Plan},
        gpu::{At, Dtype, Epilogue, Product},
    },
    error::{Error, Result},
};
use cudarc::{
    cublaslt::{
        result::{self, CublasError},
        sys,
    },
    driver::result as driver,
};
use std::{
    collections::HashMap,
    ffi::c_void,
    ptr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// NVIDIA's advice for Hopper; older devices ask for less.
const WORKSPACE_BYTES: usize = 32 << 20;

#[derive(Debug)]
pub struct Products {
    handle: sys::cublasLtHandle_t,
    workspace: At,
    /// `None`: the library does not do what follows the product.
    known: Mutex<HashMap<Plan, Option<Chosen>>>,
    stream: Arc<Stream>,
}

// SAFETY: the library's handle and descriptors may be used from any thread, one at a time, which the
// lock sees to.
unsafe impl Send for Products {}
// SAFETY: as above.
unsafe impl Sync for Products {}

impl Products {
    pub fn new(stream: &Arc<Stream>) -> Result<Self> {
        stream.bind()?;
        let handle =
            result::create_handle().map_err(|e| errors::products(stream.index, "starting", e))?;
        // SAFETY: stream and context are held by `stream`.
        let workspace = unsafe { driver::malloc_async(stream.raw, WORKSPACE_BYTES) };
        let workspace = stream.done("taking a workspace for products", workspace);
        if workspace.is_err() {
            // SAFETY: the handle is ours and of no more use.
            let _ = unsafe { result::destroy_handle(handle) };
        }
        Ok(Self {
            handle,
            workspace: workspace?,
            known: Mutex::default(),
            stream: stream.clone(),
        })
    }

    /// As the library says it: 130100 is 13.1.0.
    pub fn version() -> usize {
        // SAFETY: the library is open and the function takes nothing.
        unsafe { sys::cublasLtGetVersion() }
    }

    /// Asks for a product. `false` where the library does not do what follows it; then nothing was done.
    pub fn multiply(&self, product: &Product, plan: &Plan) -> Result<bool> {
        if !plan.may_fuse() {
            return Ok(false);
        }
        let _turn = self.stream.turn("multiplying")?;
        let mut known = self.known();
        if !known.contains_key(plan) {
            let chosen = self.choose(product, plan)?;
            known.insert(*plan, chosen);
        }
        let Some(Some(chosen)) = known.get(plan) else {
            return Ok(false);
        };
        self.failed("looking up", chosen.point(&product.epilogue))?;
        let (alpha, beta) = (product.alpha, if product.add { 1.0_f32 } else { 0.0 });
        // SAFETY: descriptors and algorithm are of this plan, whose addresses hold what it says; the
        // workspace is used by one product after the other, as the stream orders them; α and β are read
        // before the call returns.
        let asked = unsafe {
            result::matmul(
                self.handle,
                chosen.operation,
                ptr::from_ref(&alpha).cast(),
                ptr::from_ref(&beta).cast(),
                product.b.at as *const c_void,
                chosen.left,
                product.a.at as *const c_void,
                chosen.right,
                product.d.at as *const c_void,
                chosen.target,
                product.d.at as *mut c_void,
                chosen.target,
                &chosen.algorithm,
                self.workspace as *mut c_void,
                WORKSPACE_BYTES,
                self.stream.raw.cast(),
            )
        };
        self.failed("multiplying", asked)?;
        Ok(true)
    }

    /// Descriptors and the algorithm of a plan. Errors when the library knows none for a product that
    /// nothing follows.
    fn choose(&self, product: &Product, plan: &Plan) -> Result<Option<Chosen>> {
        match self.described(product, plan) {
            Ok(chosen) => Ok(Some(chosen)),
            Err(_) if plan.after != After::Nothing => Ok(None),
            Err(CublasError(sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED)) => {
                Err(Error::failed(
                    format!("cuda:{}", self.stream.index),
                    format!("cuBLASLt has no algorithm for {plan:?}"),
                    "report this with the output of `windtunnel doctor --device cuda`",
                ))
            }
            Err(error) => {
                let doing = format!("choosing an algorithm for {plan:?}");
                Err(errors::products(self.stream.index, &doing, error))
            }
        }
    }

    fn described(
        &self,
        product: &Product,
        plan: &Plan,
    ) -> std::result::Result<Chosen, CublasError> {
        let mut chosen = Chosen::described(plan)?;
        // The heuristic reads how these addresses are aligned.
        chosen.point(&product.epilogue)?;
        let preference = Preference::of(plan)?;
        // SAFETY: all descriptors are whole.
        let found = unsafe {
            result::get_matmul_algo_heuristic(
                self.handle,
                chosen.operation,
                chosen.left,
                chosen.right,
                chosen.target,
                chosen.target,
                preference.0,
            )
        }?;
        chosen.algorithm = found.algo;
        Ok(chosen)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Plan, Option<Chosen>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, doing: &str, answer: std::result::Result<(), CublasError>) -> Result<()> {
        answer.or_else(|error| {
            // When the device has failed before, the driver says why, and the library does not.
            self.stream.health(doing)?;
            Err(errors::products(self.stream.index, doing, error))
        })
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        self.known().clear();
        if self.stream.wait().is_ok() {
            // SAFETY: both are ours, and nothing computes with them any more.
            unsafe {
                let _ = driver::free_async(self.workspace, self.stream.raw);
                let _ = result::destroy_handle(self.handle);
            }
        }
    }
}

/// How a plan is computed, in the library's descriptors; a null one is not there yet.
#[derive(Debug)]
struct Chosen {
    operation: sys::cublasLtMatmulDesc_t,
    left: sys::cublasLtMatrixLayout_t,
    right: sys::cublasLtMatrixLayout_t,
    target: sys::cublasLtMatrixLayout_t,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

impl Chosen {
    /// All but the algorithm.
    fn described(plan: &Plan) -> std::result::Result<Self, CublasError> {
        use sys::cublasComputeType_t as Compute;
        let compute = match plan.tf32 {
            true => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
            false => Compute::CUBLAS_COMPUTE_32F,
        };
        let mut chosen = Self {
            operation: result::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F)?,
            left: ptr::null_mut(),
            right: ptr::null_mut(),
            target: ptr::null_mut(),
            algorithm: sys::cublasLtMatmulAlgo_t { data: [0; 8] },
        };
        chosen.left = layout(&plan.left, plan.count)?;
        chosen.right = layout(&plan.right, plan.count)?;
        chosen.target = layout(&plan.target, plan.count)?;
        use sys::cublasLtMatmulDescAttributes_t as A;
        chosen.set(A::CUBLASLT_MATMUL_DESC_TRANSA, transposition(&plan.left))?;
        chosen.set(A::CUBLASLT_MATMUL_DESC_TRANSB, transposition(&plan.right))?;
        chosen.set(
            A::CUBLASLT_MATMUL_DESC_EPILOGUE,
            epilogue(&plan.after) as u32,
        )?;
        if let After::Bias(bias)
        | After::Gelu {
            bias: Some(bias), ..
        } = plan.after
        {
            let Bias { each, .. } = bias;
            chosen.set(A::CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, each as i64)?;
        }
        if let After::Gelu { .. } | After::GeluBack { .. } = plan.after {
            let Layout { column, each, .. } = plan.target;
            chosen.set(A::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, column as i64)?;
            chosen.set(
                A::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE,
                each as i64,
            )?;
        }
        Ok(chosen)
    }

    /// Names the addresses of what follows the product.
    fn point(&self, epilogue: &Epilogue) -> std::result::Result<(), CublasError> {
        use sys::cublasLtMatmulDescAttributes_t as A;
        let (bias, beside) = match *epilogue {
            Epilogue::Plain => (None, None),
            Epilogue::Bias { at, .. } => (Some(at), None),
            Epilogue::Gelu { before, bias } => (bias.map(|(at, _)| at), Some(before)),
            Epilogue::GeluBack { before } => (None, Some(before)),
        };
        if let Some(at) = bias {
            self.set::<At>(A::CUBLASLT_MATMUL_DESC_BIAS_POINTER, at)?;
        }
        if let Some(at) = beside {
            self.set::<At>(A::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, at)?;
        }
        Ok(())
    }

    /// `T` is the attribute's own type: i32 and u32 for choices, i64 for strides, an address for
    /// pointers, which are as wide.
    fn set<T>(
        &self,
        attribute: sys::cublasLtMatmulDescAttributes_t,
        value: T,
    ) -> std::result::Result<(), CublasError> {
        // SAFETY: the descriptor is ours, and the value is read before the call returns.
        unsafe {
            result::set_matmul_desc_attribute(
                self.operation,
                attribute,
                ptr::from_ref(&value).cast(),
                size_of::<T>(),
            )
        }
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        // SAFETY: what is not null is ours and is destroyed once.
        unsafe {
            let _ = result::destroy_matmul_desc(self.operation);
            for layout in [self.left, self.right, self.target] {
                if !layout.is_null() {
                    let _ = result::destroy_matrix_layout(layout);
                }
            }
        }
    }
}

/// `CUBLAS_OP_N` or `CUBLAS_OP_T` of `cublas_api.h`, which the bindings of cuBLASLt leave out.
fn transposition(layout: &Layout) -> i32 {
    i32::from(layout.transposed)
}

fn epilogue(after: &After) -> sys::cublasLtEpilogue_t {
    use sys::cublasLtEpilogue_t as E;
    match after {
        After::Nothing => E::CUBLASLT_EPILOGUE_DEFAULT,
        After::Bias(_) => E::CUBLASLT_EPILOGUE_BIAS,
        After::Gelu { bias: None, .. } => E::CUBLASLT_EPILOGUE_GELU_AUX,
        After::Gelu { bias: Some(_), .. } => E::CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
        After::GeluBack { .. } => E::CUBLASLT_EPILOGUE_DGELU,
    }
}

fn layout(
    layout: &Layout,
    count: usize,
) -> std::result::Result<sys::cublasLtMatrixLayout_t, CublasError> {
    use sys::cublasLtMatrixLayoutAttribute_t as A;
    let dtype = match layout.dtype {
        Dtype::F32 => sys::cudaDataType::CUDA_R_32F,
        Dtype::Bf16 => sys::cudaDataType::CUDA_R_16BF,
    };
    let (rows, cols) = (layout.rows as u64, layout.cols as u64);
    let made = result::create_matrix_layout(dtype, rows, cols, layout.column as i64)?;
    let (count, each) = (count as i32, layout.each as i64);
    // SAFETY: the layout was just made, and the values are read before the calls return. The count is
    // an i32 to the library, the stride an i64.
    let set = unsafe {
        result::set_matrix_layout_attribute(
            made,
            A::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
            ptr::from_ref(&count).cast(),
            size_of::<i32>(),
        )
        .and_then(|()| {
            result::set_matrix_layout_attribute(
                made,
                A::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                ptr::from_ref(&each).cast(),
                size_of::<i64>(),
            )
        })
    };
    if set.is_err() {
        // SAFETY: the layout is ours and of no more use.
        let _ = unsafe { result::destroy_matrix_layout(made) };
    }
    set.map(|()| made)
}

/// What an algorithm may use.
struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn of(plan: &Plan) -> std::result::Result<Self, CublasError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as A;
        let preference = Self(result::create_matmul_pref()?);
        preference.set(
            A::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            WORKSPACE_BYTES as u64,
        )?;
        // A dot product may be cut into parts whose sums are added in f32 by a kernel of its own; not
        // in the target's number type, where a sum of bf16 parts would be rounded in between.
        let in_f32 = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
        preference.set(A::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, in_f32 as u32)?;
        // Where none is given the library expects 256 bytes of all.
        for (attribute, layout) in [
            (A::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, plan.left),
            (A::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, plan.right),
            (A::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, plan.target),
            (A::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, plan.target),
        ] {
            preference.set(attribute, layout.alignment)?;
        }
        Ok(preference)
    }

    fn set<T>(
        &self,
        attribute: sys::cublasLtMatmulPreferenceAttributes_t,
        value: T,
    ) -> std::result::Result<(), CublasError> {
        // SAFETY: the descriptor is ours, and the value is read before the call returns.
        unsafe {
            result::set_matmul_pref_attribute(
                self.0,
                attribute,
                ptr::from_ref(&value).cast(),
                size_of::<T>(),
            )
        }
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: it is ours and is destroyed once.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}
