//! The structs of the Arrow C data and stream interfaces, owned, read and made: all that is `unsafe` about Arrow.
//!
//! After <https://arrow.apache.org/docs/format/CDataInterface.html> and `CStreamInterface.html`, whose layouts the three
//! structs have. Nothing here says how long a buffer is: a consumer has to believe the lengths that a producer gives.
//! What can be checked is checked before memory is read; the rest of this module sees slices and errors only.

mod export;
mod import;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use super::error::{Refused, malformed};

type Release<T> = Option<unsafe extern "C" fn(*mut T)>;

const NULLABLE: i64 = 2;

/// More bytes than any memory has, and more rows: what claims them is broken.
pub const MAX_BYTES: u64 = 1 << 48;

/// `struct ArrowSchema`: a type. Released when dropped, unless it was moved out of before.
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

/// `struct ArrowArray`: numbers of such a type. Released when dropped, unless it was moved out of before.
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

/// `struct ArrowArrayStream`: arrays of one type, one after the other. Released when dropped, as the others.
#[repr(C)]
pub struct Stream {
    get_schema: Option<unsafe extern "C" fn(*mut Stream, *mut Schema) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut Stream, *mut Array) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut Stream) -> *const c_char>,
    release: Release<Stream>,
    private_data: *mut c_void,
}

/// A struct that travels in a capsule.
pub trait Travels: Sized {
    /// The capsule's name.
    const CAPSULE: &'static CStr;
    /// The callback that frees what the struct refers to; none where it is no longer, or not yet, in use.
    fn release(&mut self) -> &mut Release<Self>;
}

macro_rules! travels {
    ($kind:ty, $name:literal) => {
        impl Travels for $kind {
            const CAPSULE: &'static CStr = $name;
            fn release(&mut self) -> &mut Release<Self> {
                &mut self.release
            }
        }

        impl Drop for $kind {
            fn drop(&mut self) {
                if let Some(release) = self.release {
                    // SAFETY: the producer has set it for this struct (or the one that it was moved from), which nobody
                    // else has released: they would have cleared it.
                    unsafe { release(self) }
                }
            }
        }

        // SAFETY: what the struct refers to belongs to it alone, is never written but by its callbacks, which need
        // `&mut` or the last use, and the interfaces leave the consumer free to use and release it on any thread.
        unsafe impl Send for $kind {}
        // SAFETY: likewise; behind `&` nothing is written and no callback called.
        unsafe impl Sync for $kind {}
    };
}

travels!(Schema, c"arrow_schema");
travels!(Array, c"arrow_array");
travels!(Stream, c"arrow_array_stream");

/// Moves a struct out of its capsule.
pub fn take<T: Travels>(capsule: &Bound<'_, PyAny>) -> Result<T, Refused> {
    let name = T::CAPSULE.to_string_lossy();
    let wrong = || Refused::Type(format!("expected a capsule named '{name}', got {}", capsule.get_type()));
    let capsule = capsule.cast::<PyCapsule>().map_err(|_| wrong())?;
    let pointer = capsule.pointer_checked(Some(T::CAPSULE)).map_err(|_| wrong())?.cast::<T>();
    if !pointer.is_aligned() {
        return Err(malformed(format!("'{name}' at an odd address")));
    }
    // SAFETY: the capsule's name says what it points to; it is alive, and so is the struct. The interface lets a
    // consumer move it: a copy of its bytes, after which the original is marked as released and not read again.
    let mut taken = unsafe {
        let taken = pointer.read();
        *(&mut *pointer.as_ptr()).release() = None;
        taken
    };
    if taken.release().is_none() {
        return Err(malformed(format!("'{name}' that was consumed before")));
    }
    Ok(taken)
}

impl Schema {
    /// One that is not in use, for a callback to fill.
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
    /// One that is not in use, for a callback to fill.
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
