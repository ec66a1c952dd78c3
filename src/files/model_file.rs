//! The format of a model's file: safetensors, with the kind and the configuration of the model in the metadata.
//!
//! `python/rgru/_files/model_file.py` writes it. Every error names the file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, SafeTensorError, TensorView};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::memory::try_alloc::try_reserve;
use crate::shape::{expect_shape, tuple};
use crate::simd::float::Float;

/// The tensors of a file that nobody has taken yet, by name.
pub struct Tensors<'a>(BTreeMap<String, TensorView<'a>>);

impl Tensors<'_> {
    /// Returns whether there is a tensor of a name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Takes a tensor and appends its numbers to `numbers`. Nothing is allocated unless it has the expected shape.
    ///
    /// # Errors
    /// [`Error::Value`] if there is no such tensor, or it has another shape or type; [`Error::Memory`].
    pub fn take<T: Float>(&mut self, name: &str, shape: &[usize], numbers: &mut Vec<T>) -> Result<(), Error> {
        let missing = || Error::value("tensors", name, "none of this name");
        let tensor = self.0.remove(name).ok_or_else(missing)?;
        expect_shape(name, shape, tensor.shape())?;
        let dtype = numpy_name(tensor.dtype())?;
        if dtype != T::NAME {
            return Err(Error::value(name, T::NAME, dtype));
        }
        try_reserve(numbers, shape.iter().product())?;
        let bytes = tensor.data();
        match tensor.dtype() {
            Dtype::F32 => numbers.extend(values(bytes).map(|number| T::from_f64(f32::from_le_bytes(number).into()))),
            _ => numbers.extend(values(bytes).map(|number| T::from_f64(f64::from_le_bytes(number)))),
        }
        Ok(())
    }

    /// As [`Tensors::take`], in a new vector.
    ///
    /// # Errors
    /// As [`Tensors::take`].
    pub fn vector<T: Float>(&mut self, name: &str, shape: &[usize]) -> Result<Vec<T>, Error> {
        let mut numbers = Vec::new();
        self.take(name, shape, &mut numbers)?;
        Ok(numbers)
    }

    /// Returns the digest of a file with these tensors.
    fn digest(&self, kind: &str, config: &str) -> Result<String, Error> {
        let mut digest = Sha256::new_with_prefix(format!("{kind}\n{config}\n"));
        for (name, tensor) in &self.0 {
            digest.update(format!("{name} {} {}\n", numpy_name(tensor.dtype())?, tuple(tensor.shape())));
            digest.update(tensor.data());
        }
        let digits: Vec<String> = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(digits.concat())
    }
}

fn values<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// Returns the name of a type in NumPy, of those that files may have.
fn numpy_name(dtype: Dtype) -> Result<&'static str, Error> {
    Ok(match dtype {
        Dtype::F16 => "float16",
        Dtype::F32 => "float32",
        Dtype::F64 => "float64",
        Dtype::I64 => "int64",
        Dtype::U8 => "uint8",
        _ => return Err(Error::value("tensors", "types of rgru's files", format!("{dtype:?}"))),
    })
}

/// Reads a file, checks its digest, and restores a model of its kind, its configuration and its tensors, all of which
/// must be taken.
///
/// # Errors
/// [`Error::Value`], which names the file, if it cannot be read, is not of this format, or is damaged; those of `model`
/// likewise.
pub fn restore<R>(path: &Path, model: impl FnOnce(&str, &str, &mut Tensors) -> Result<R, Error>) -> Result<R, Error> {
    let file = path.display().to_string();
    let fail = |expected: &str, got: String| Error::value(&*file, expected, got);
    let bytes = contents(path).map_err(|error| fail("a file that can be read", error.to_string()))?;
    let damaged = |error: SafeTensorError| fail("a safetensors file", error.to_string());
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
    let texts = header.metadata().clone().unwrap_or_default();
    let text = |name: &str| texts.get(name).map_or("", String::as_str);
    for (name, expected) in [("format", "rgru"), ("version", "1")] {
        if text(name) != expected {
            return Err(fail(&format!("{name} '{expected}' in the metadata"), format!("'{}'", text(name))));
        }
    }
    let mut tensors = Tensors(SafeTensors::deserialize(&bytes).map_err(damaged)?.tensors().into_iter().collect());
    let (kind, config) = (text("kind"), text("config"));
    let whole = |error| match error {
        Error::Value { .. } => fail(&format!("a whole {kind}"), error.to_string()),
        other => other,
    };
    // The first files lack the digest.
    if let Some(expected) = texts.get("digest") {
        let got = tensors.digest(kind, config).map_err(whole)?;
        if got != *expected {
            return Err(fail(&format!("contents of the digest {expected}"), format!("{got}: it is damaged")));
        }
    }
    let restored = model(kind, config, &mut tensors).map_err(whole)?;
    match tensors.0.keys().next() {
        Some(name) => Err(fail(&format!("the tensors of a {kind}"), format!("{name}, too"))),
        None => Ok(restored),
    }
}

/// Reads a file whose first bytes are those of a safetensors file.
fn contents(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("no regular file")); // a pipe or a device may have no end
    }
    let mut first = Vec::new();
    File::open(path)?.take(8).read_to_end(&mut first)?;
    match SafeTensors::read_metadata(&first) {
        Err(error @ (SafeTensorError::HeaderTooSmall | SafeTensorError::HeaderTooLarge)) => {
            Err(io::Error::other(error))
        }
        _ => fs::read(path),
    }
}
