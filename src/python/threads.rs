//! The number of threads, instruction sets, and calls that Ctrl-C can interrupt.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

use crate::error::Error;
use crate::simd::Isa;
use crate::threads::runtime::{self, Stop};

/// Calls `work` detached from the interpreter. If a signal handler raises an exception, the work is stopped and the
/// exception is returned.
pub fn detached<R: Send>(py: Python<'_>, work: impl Send + FnOnce(Stop) -> Result<R, Error>) -> PyResult<R> {
    let raised = Mutex::new(None);
    #[allow(clippy::redundant_closure_for_method_calls)] // the method alone is tied to one lifetime
    let stop = || match Python::attach(|py| py.check_signals()) {
        Ok(()) => false,
        Err(error) => {
            *raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            true
        }
    };
    let result = py.detach(|| work(&stop));
    match raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(result?),
    }
}

#[pyfunction]
#[pyo3(signature = (n))]
pub fn set_num_threads(n: Option<usize>) -> PyResult<()> {
    Ok(runtime::set_num_threads(n)?)
}

#[pyfunction]
pub fn get_num_threads() -> PyResult<usize> {
    Ok(runtime::num_threads()?)
}

#[pyfunction]
pub fn isa() -> PyResult<&'static str> {
    Ok(Isa::active()?.name())
}

#[pyfunction]
pub fn available_isas() -> Vec<&'static str> {
    Isa::available().into_iter().map(Isa::name).collect()
}
