//! The data of an exported column, and the memory that it refers to.

use std::sync::Arc;

use numpy::{Element, PyArrayDyn};
use pyo3::prelude::*;

use crate::python::arrays::Input;

/// An Arrow type with a name.
pub struct Field {
    pub name: &'static str,
    pub format: String,
    pub nullable: bool,
    pub children: Vec<Field>,
}

/// An Arrow array.
pub struct Data {
    pub length: usize,
    pub null_count: usize,
    pub buffers: Vec<Buffer>,
    pub children: Vec<Arc<Data>>,
}

/// Memory, with its owner.
pub struct Buffer {
    address: usize,
    _owner: Option<Box<dyn Send + Sync>>,
}

impl Buffer {
    /// Returns a buffer without memory.
    pub fn none() -> Self {
        Self { address: 0, _owner: None }
    }

    /// Returns a buffer that owns `numbers`.
    pub fn of<T: Send + Sync + 'static>(numbers: Vec<T>) -> Self {
        let address = numbers.as_ptr().expose_provenance();
        Self { address, _owner: Some(Box::new(numbers)) }
    }

    /// Returns a buffer on the memory of an array, which it keeps alive.
    pub fn view<T: Element + Sync + 'static>(array: &Bound<'_, PyArrayDyn<T>>) -> PyResult<Self> {
        let address = Input::<T>::new("values", array.as_any())?.slice()?.as_ptr().expose_provenance();
        Ok(Self { address, _owner: Some(Box::new(array.clone().unbind())) })
    }

    /// Returns the address; 0 for no memory.
    pub fn address(&self) -> usize {
        self.address
    }
}
