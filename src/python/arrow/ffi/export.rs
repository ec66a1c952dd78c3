//! The structs that rgru exports: the data that they refer to, and the callbacks that free it.

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use pyo3::prelude::*;

use super::super::data::{Data, Field};
use super::{Array, NULLABLE, Schema, Stream};

/// The data that an exported [`Schema`] refers to.
struct SchemaParts {
    format: CString,
    name: CString,
    children: Vec<*mut Schema>,
}

impl Schema {
    /// Exports a type.
    pub fn new(field: &Field) -> Self {
        let format = CString::new(&*field.format).unwrap_or_default();
        let name = CString::new(field.name).unwrap_or_default();
        let children = field.children.iter().map(|child| Box::into_raw(Box::new(Self::new(child)))).collect();
        let mut parts = Box::new(SchemaParts { format, name, children });
        Self {
            format: parts.format.as_ptr(),
            name: parts.name.as_ptr(),
            flags: if field.nullable { NULLABLE } else { 0 },
            n_children: parts.children.len() as i64,
            children: parts.children.as_mut_ptr(),
            release: Some(release_schema),
            private_data: Box::into_raw(parts).cast(),
            ..Self::empty()
        }
    }
}

unsafe extern "C" fn release_schema(schema: *mut Schema) {
    // SAFETY: the interface calls this once, with a struct from `Schema::new`, which may have been moved; so the parts
    // are those that were stored there. The release callback of a child that was moved away is cleared.
    unsafe {
        let parts = Box::from_raw((*schema).private_data.cast::<SchemaParts>());
        for &child in &parts.children {
            drop(Box::from_raw(child));
        }
        (*schema).release = None;
    }
}

/// The data that an exported [`Array`] refers to.
struct ArrayParts {
    buffers: Vec<*const c_void>,
    children: Vec<*mut Array>,
    _data: Arc<Data>,
}

impl Array {
    /// Exports an array without a copy.
    pub fn new(data: &Arc<Data>) -> Self {
        let buffers = data.buffers.iter().map(|buffer| ptr::with_exposed_provenance(buffer.address())).collect();
        let children = data.children.iter().map(|child| Box::into_raw(Box::new(Self::new(child)))).collect();
        let mut parts = Box::new(ArrayParts { buffers, children, _data: Arc::clone(data) });
        Self {
            length: data.length as i64,
            null_count: data.null_count as i64,
            n_buffers: parts.buffers.len() as i64,
            n_children: parts.children.len() as i64,
            buffers: parts.buffers.as_mut_ptr(),
            children: parts.children.as_mut_ptr(),
            release: Some(release_array),
            private_data: Box::into_raw(parts).cast(),
            ..Self::empty()
        }
    }
}

unsafe extern "C" fn release_array(array: *mut Array) {
    // SAFETY: the interface calls this once, with a struct from `Array::new`, which may have been moved; so the parts
    // are those that were stored there. The release callback of a child that was moved away is cleared.
    let parts = unsafe {
        let parts = Box::from_raw((*array).private_data.cast::<ArrayParts>());
        for &child in &parts.children {
            drop(Box::from_raw(child));
        }
        (*array).release = None;
        parts
    };
    // The memory may belong to a NumPy array, so it is freed with the interpreter attached; never, if that has ended.
    let mut parts = Some(parts);
    Python::try_attach(|_| drop(parts.take()));
    std::mem::forget(parts);
}

/// The data that an exported [`Stream`] refers to.
struct StreamParts {
    field: Arc<Field>,
    /// The array, until `get_next` has returned it.
    data: Option<Arc<Data>>,
}

impl Stream {
    /// Exports a stream of one array.
    pub fn new(field: Arc<Field>, data: Arc<Data>) -> Self {
        Self {
            get_schema: Some(get_schema),
            get_next: Some(get_next),
            get_last_error: Some(get_last_error),
            release: Some(release_stream),
            private_data: Box::into_raw(Box::new(StreamParts { field, data: Some(data) })).cast(),
        }
    }
}

unsafe extern "C" fn get_schema(stream: *mut Stream, out: *mut Schema) -> c_int {
    // SAFETY: `stream` is from `Stream::new` and is not released; `out` is valid for writes and has no content.
    unsafe {
        let parts = &*(*stream).private_data.cast::<StreamParts>();
        out.write(Schema::new(&parts.field));
    }
    0
}

unsafe extern "C" fn get_next(stream: *mut Stream, out: *mut Array) -> c_int {
    // SAFETY: as in `get_schema`; the interface allows no concurrent calls.
    unsafe {
        let parts = &mut *(*stream).private_data.cast::<StreamParts>();
        out.write(parts.data.take().map_or_else(Array::empty, |data| Array::new(&data)));
    }
    0
}

unsafe extern "C" fn get_last_error(_stream: *mut Stream) -> *const c_char {
    ptr::null() // no callback ever fails
}

unsafe extern "C" fn release_stream(stream: *mut Stream) {
    // SAFETY: the interface calls this once, with a struct from `Stream::new`.
    let parts = unsafe {
        (*stream).release = None;
        Box::from_raw((*stream).private_data.cast::<StreamParts>())
    };
    let mut parts = Some(parts);
    Python::try_attach(|_| drop(parts.take()));
    std::mem::forget(parts); // as in `release_array`
}
