//! The structs of the Arrow C data and stream interfaces: ownership, import and export. This is the only `unsafe` code
//! for Arrow.
//!
//! The three structs have the layouts of <https://arrow.apache.org/docs/format/CDataInterface.html> and
//! `CStreamInterface.html`. They do not state the sizes of buffers, so a consumer has to trust the producer's lengths.
//! Everything that can be checked is checked before memory is read; the other Arrow modules see only slices and errors.

mod export;
mod import;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use super::error::{ArrowError, malformed};

type Release<T> = Option<unsafe extern "C" fn(*mut T)>;

const NULLABLE: i64 = 2;

/// More bytes, or rows, than any memory has. Larger numbers mean that the data are malformed.
pub const MAX_BYTES: u64 = 1 << 48;

/// `struct ArrowSchema`: a type. It is released when dropped, unless it has been moved out.
#[repr(C)]
pub struct Schema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut Schema,
    dictionary: *mut Schema,
    release: Release<Schema>,
    private_data: *mut c_void,
}

/// `struct ArrowArray`: the values of a type. It is released when dropped, unless it has been moved out.
#[repr(C)]
pub struct Array {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut Array,
    dictionary: *mut Array,
    release: Release<Array>,
    private_data: *mut c_void,
}

/// `struct ArrowArrayStream`: a stream of arrays of one type. It is released when dropped, unless it has been moved
/// out.
#[repr(C)]
pub struct Stream {
    get_schema: Option<unsafe extern "C" fn(*mut Stream, *mut Schema) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut Stream, *mut Array) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut Stream) -> *const c_char>,
    release: Release<Stream>,
    private_data: *mut c_void,
}

/// A struct that is passed in a capsule.
pub trait InCapsule: Sized {
    /// The name of the capsule.
    const CAPSULE: &'static CStr;
    /// The callback that frees the data of the struct; `None` if the struct is empty or was released.
    fn release(&mut self) -> &mut Release<Self>;
}

macro_rules! in_capsule {
    ($kind:ty, $name:literal) => {
        impl InCapsule for $kind {
            const CAPSULE: &'static CStr = $name;
            fn release(&mut self) -> &mut Release<Self> {
                &mut self.release
            }
        }

        impl Drop for $kind {
            fn drop(&mut self) {
                if let Some(release) = self.release {
                    // SAFETY: the producer has set the callback for this struct (or the one that it was moved from),
                    // and the struct is not released: that would have cleared the callback.
                    unsafe { release(self) }
                }
            }
        }

        // SAFETY: the struct owns its data, which only its callbacks write; these need `&mut` or are called on drop.
        // The interfaces allow the consumer to use and release the struct on any thread.
        unsafe impl Send for $kind {}
        // SAFETY: as above; through `&` nothing is written and no callback is called.
        unsafe impl Sync for $kind {}
    };
}

in_capsule!(Schema, c"arrow_schema");
in_capsule!(Array, c"arrow_array");
in_capsule!(Stream, c"arrow_array_stream");

/// Moves a struct out of its capsule.
pub fn take<T: InCapsule>(capsule: &Bound<'_, PyAny>) -> Result<T, ArrowError> {
    let name = T::CAPSULE.to_string_lossy();
    let wrong = || ArrowError::Type(format!("expected a capsule named '{name}', got {}", capsule.get_type()));
    let capsule = capsule.cast::<PyCapsule>().map_err(|_| wrong())?;
    let pointer = capsule.pointer_checked(Some(T::CAPSULE)).map_err(|_| wrong())?.cast::<T>();
    if !pointer.is_aligned() {
        return Err(malformed(format!("'{name}' at an unaligned address")));
    }
    // SAFETY: the name of the capsule identifies the struct, and both are alive. The interface allows a consumer to
    // move the struct: to copy its bytes, mark the original as released and not read it again.
    let mut taken = unsafe {
        let taken = pointer.read();
        *(&mut *pointer.as_ptr()).release() = None;
        taken
    };
    if taken.release().is_none() {
        return Err(malformed(format!("'{name}' that has already been consumed")));
    }
    Ok(taken)
}

impl Schema {
    /// Returns an empty struct, for a callback to fill.
    fn empty() -> Self {
        Self {
            format: ptr::null(),
            name: ptr::null(),
            metadata: ptr::null(),
            flags: 0,
            n_children: 0,
            children: ptr::null_mut(),
            dictionary: ptr::null_mut(),
            release: None,
            private_data: ptr::null_mut(),
        }
    }
}

impl Array {
    /// Returns an empty struct, for a callback to fill.
    fn empty() -> Self {
        Self {
            length: 0,
            null_count: 0,
            offset: 0,
            n_buffers: 0,
            n_children: 0,
            buffers: ptr::null_mut(),
            children: ptr::null_mut(),
            dictionary: ptr::null_mut(),
            release: None,
            private_data: ptr::null_mut(),
        }
    }
}
