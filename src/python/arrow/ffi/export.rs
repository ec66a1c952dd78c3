//! rgru's own structs for others to consume: what they refer to, and the callbacks that free it.

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use pyo3::prelude::*;

use super::super::data::{Data, Field};
use super::{Array, NULLABLE, Schema, Stream};

/// What an exported [`Schema`] refers to.
struct SchemaParts {
    format: CString,
    name: CString,
    children: Vec<*mut Schema>,
}

impl Schema {
    /// A type as others read it.
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
    // SAFETY: called once, by the interface, with a struct that `Schema::new` has made, wherever it was moved since; so
    // the parts are those that were put there. A child that was moved away has no release of its own any more.
    unsafe {
        let parts = Box::from_raw((*schema).private_data.cast::<SchemaParts>());
        for &child in &parts.children {
            drop(Box::from_raw(child));
        }
        (*schema).release = None;
    }
}

/// What an exported [`Array`] refers to.
struct ArrayParts {
    buffers: Vec<*const c_void>,
    children: Vec<*mut Array>,
    _data: Arc<Data>,
}

impl Array {
    /// Data as others read them, which stay where they are.
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
    // SAFETY: called once, by the interface, with a struct that `Array::new` has made, wherever it was moved since; so
    // the parts are those that were put there. A child that was moved away has no release of its own any more.
    let parts = unsafe {
        let parts = Box::from_raw((*array).private_data.cast::<ArrayParts>());
        for &child in &parts.children {
            drop(Box::from_raw(child));
        }
        (*array).release = None;
        parts
    };
    // Within the interpreter, which the memory of an array of NumPy's belongs to; or never, once there is none.
    let mut parts = Some(parts);
    Python::try_attach(|_| drop(parts.take()));
    std::mem::forget(parts);
}

/// What an exported [`Stream`] refers to.
struct StreamParts {
    field: Arc<Field>,
    /// Until it was given.
    data: Option<Arc<Data>>,
}

impl Stream {
    /// A stream of one array.
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
    // SAFETY: `stream` was made by `Stream::new` and is not released; `out` is there to be written, its content none.
    unsafe {
        let parts = &*(*stream).private_data.cast::<StreamParts>();
        out.write(Schema::new(&parts.field));
    }
    0
}

unsafe extern "C" fn get_next(stream: *mut Stream, out: *mut Array) -> c_int {
    // SAFETY: as in `get_schema`, and nobody else calls at the same time.
    unsafe {
        let parts = &mut *(*stream).private_data.cast::<StreamParts>();
        out.write(parts.data.take().map_or_else(Array::empty, |data| Array::new(&data)));
    }
    0
}

unsafe extern "C" fn get_last_error(_stream: *mut Stream) -> *const c_char {
    ptr::null() // nothing ever fails
}

unsafe extern "C" fn release_stream(stream: *mut Stream) {
    // SAFETY: called once, by the interface, with a struct that `Stream::new` has made.
    let parts = unsafe {
        (*stream).release = None;
        Box::from_raw((*stream).private_data.cast::<StreamParts>())
    };
    let mut parts = Some(parts);
    Python::try_attach(|_| drop(parts.take()));
    std::mem::forget(parts); // as in `release_array`
}
