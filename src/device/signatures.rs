//! What kernels take, read from their preprocessed sources: a launch with other arguments is found before
//! it makes a device read past its memory.

use super::gpu::{Arg, Launch};
use crate::error::{Error, Result};
use std::collections::HashMap;

/// The type of a kernel's parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    At,
    U32,
    U64,
    F32,
}

/// Kernels by name.
#[derive(Debug, Default)]
pub struct Signatures(HashMap<String, Vec<Parameter>>);

impl Signatures {
    /// Of every `SIGNATURE name (parameters)` in the text, which is what `prelude.cuh` makes of kernels
    /// when `WINDTUNNEL_SIGNATURES` is defined. Errors for a parameter of another type than launches can
    /// carry, and for two kernels of one name.
    pub fn read(text: &str) -> Result<Self> {
        let mut found = HashMap::new();
        for (at, mark) in text.match_indices("SIGNATURE ") {
            let Some((name, rest)) = text[at + mark.len()..].split_once('(') else {
                continue;
            };
            let name = name.trim();
            let parameters = rest.split(')').next().unwrap_or_default().split(',');
            let parameters = parameters
                .map(str::trim)
                .filter(|parameter| !parameter.is_empty())
                .map(|parameter| kind(name, parameter))
                .collect::<Result<Vec<_>>>()?;
            if found.insert(name.to_string(), parameters).is_some() {
                return Err(wrong(name, "is there twice", "rename one of the two"));
            }
        }
        Ok(Self(found))
    }

    pub fn of(&self, kernel: &str) -> Option<&[Parameter]> {
        self.0.get(kernel).map(Vec::as_slice)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Errors when the kernel does not exist, or takes other arguments than these.
    pub fn check(&self, launch: &Launch) -> Result<()> {
        let name = launch.kernel;
        let Some(parameters) = self.of(name) else {
            return Err(wrong(
                name,
                "is in none of src/ops/cuda/*.cu",
                "build again from whole sources",
            ));
        };
        let given = launch.args.iter().map(|arg| match arg {
            Arg::At(_) => Parameter::At,
            Arg::U32(_) => Parameter::U32,
            Arg::U64(_) => Parameter::U64,
            Arg::F32(_) => Parameter::F32,
        });
        if given.clone().eq(parameters.iter().copied()) {
            return Ok(());
        }
        let given: Vec<_> = given.collect();
        Err(wrong(
            name,
            &format!("takes {parameters:?} and is given {given:?}"),
            "make the launch fit the kernel",
        ))
    }
}

fn kind(kernel: &str, parameter: &str) -> Result<Parameter> {
    if parameter.contains('*') {
        return Ok(Parameter::At);
    }
    let words = parameter.split_whitespace().filter(|word| *word != "const");
    match words.collect::<Vec<_>>()[..] {
        ["uint32_t", _] => Ok(Parameter::U32),
        ["uint64_t" | "size_t", _] => Ok(Parameter::U64),
        ["float", _] => Ok(Parameter::F32),
        _ => Err(wrong(
            kernel,
            &format!("has the parameter \"{parameter}\""),
            "use pointers, uint32_t, uint64_t and float",
        )),
    }
}

fn wrong(kernel: &str, problem: &str, remedy: &str) -> Error {
    Error::failed(format!("kernel {kernel}"), problem, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
        typedef unsigned int uint32_t;
        SIGNATURE scale_f32 (float* x, const uint32_t* __restrict__ ids,
                             uint64_t n, float by) { }
        SIGNATURE nothing () { }";

    fn launch<'a>(kernel: &'static str, args: &'a [Arg]) -> Launch<'a> {
        Launch {
            kernel,
            grid: [1, 1, 1],
            threads: 32,
            shared: 0,
            args,
        }
    }

    #[test]
    fn a_launch_with_other_arguments_than_its_kernel_takes_is_refused() {
        let signatures = Signatures::read(TEXT).unwrap();
        let mut names: Vec<_> = signatures.names().collect();
        names.sort_unstable();
        assert_eq!(names, ["nothing", "scale_f32"]);
        let right = [Arg::At(0), Arg::At(0), Arg::U64(1), Arg::F32(2.0)];
        assert_eq!(signatures.check(&launch("scale_f32", &right)), Ok(()));
        assert_eq!(signatures.check(&launch("nothing", &[])), Ok(()));
        let narrow = [Arg::At(0), Arg::At(0), Arg::U32(1), Arg::F32(2.0)];
        let error = signatures.check(&launch("scale_f32", &narrow)).unwrap_err();
        assert!(
            error
                .problem
                .contains("[At, At, U64, F32] and is given [At, At, U32, F32]")
        );
        assert!(signatures.check(&launch("scale_f32", &right[..3])).is_err());
        assert!(signatures.check(&launch("missing", &[])).is_err());
    }

    #[test]
    fn kernels_take_what_launches_carry_and_have_one_name_each() {
        let other = Signatures::read("SIGNATURE a (double x) {}").unwrap_err();
        assert!(other.problem.contains("double x"));
        let twice = "SIGNATURE a (float x) {} SIGNATURE a (float x) {}";
        assert!(Signatures::read(twice).is_err());
    }
}
