//! The structs of the Arrow C data and stream interfaces, owned, read and made: all that is `unsafe` about Arrow.
//!
//! After <https://arrow.apache.org/docs/format/CDataInterface.html> and `CStreamInterface.html`, whose layouts the three
//! structs have. Nothing here says how long a buffer is: a consumer has to believe the lengths that a producer gives.
//! What can be checked is checked before memory is read; the rest of this module sees slices and errors only.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use super::export::{Data, Field};
use super::refused::{Refused, malformed};

type Release<T> = Option<unsafe extern "C" fn(*mut T)>;

const NULLABLE: i64 = 2;

/// More children than any table has columns.
const MAX_CHILDREN: usize = 1 << 16;

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

/// A text that a producer has given, or "" where there is none.
///
/// # Safety
/// `text` is null or ends with a zero byte, and lives as long as `'a`.
unsafe fn text<'a>(text: *const c_char) -> Cow<'a, str> {
    if text.is_null() {
        return Cow::Borrowed("");
    }
    // SAFETY: as promised by the caller.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

/// The children of a struct.
///
/// # Safety
/// `children` is null or points to `count` pointers, each null or to a struct that lives as long as `'a`.
unsafe fn children<'a, T>(count: i64, children: *mut *mut T) -> Result<Vec<&'a T>, Refused> {
    let count = size("number of children", count)?;
    if count == 0 {
        return Ok(Vec::new());
    }
    if count > MAX_CHILDREN || children.is_null() || !children.is_aligned() {
        return Err(malformed(format!("{count} children at {children:p}")));
    }
    // SAFETY: as promised by the caller, not null and aligned.
    let pointers = unsafe { std::slice::from_raw_parts(children, count) };
    let child = |pointer: &*mut T| {
        if !pointer.is_aligned() {
            return Err(malformed("a child at an odd address"));
        }
        // SAFETY: aligned, and as promised by the caller.
        unsafe { pointer.as_ref() }.ok_or_else(|| malformed("a child that is null"))
    };
    pointers.iter().map(child).collect()
}

fn size(what: &str, number: i64) -> Result<usize, Refused> {
    usize::try_from(number).map_err(|_| malformed(format!("{what} {number}")))
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

    /// What the type is, in the letters of the interface.
    pub fn format(&self) -> Cow<'_, str> {
        // SAFETY: the interface asks for a text that lives as long as the struct.
        unsafe { text(self.format) }
    }

    /// The name of the field.
    pub fn name(&self) -> Cow<'_, str> {
        // SAFETY: the interface asks for null or a text that lives as long as the struct.
        unsafe { text(self.name) }
    }

    /// Whether the field may have nulls.
    pub fn nullable(&self) -> bool {
        self.flags & NULLABLE != 0
    }

    /// Whether values are numbers of a dictionary's entries.
    pub fn has_dictionary(&self) -> bool {
        !self.dictionary.is_null()
    }

    /// The types of the children.
    pub fn children(&self) -> Result<Vec<&Schema>, Refused> {
        // SAFETY: the interface asks for just that.
        unsafe { children(self.n_children, self.children) }
    }

    /// The value of a key in the metadata, which are: the number of pairs, then for each the length and the bytes of the
    /// key, and of the value; all numbers are int32.
    pub fn metadata(&self, wanted: &str) -> Result<Option<String>, Refused> {
        let mut at: *const u8 = self.metadata.cast();
        if at.is_null() {
            return Ok(None);
        }
        let number = |at: &mut *const u8| {
            // SAFETY: the interface promises a number here, at any address; it is followed by as much as it says.
            let number = unsafe { at.cast::<i32>().read_unaligned() };
            // SAFETY: the number's four bytes are part of the same text.
            *at = unsafe { at.add(size_of::<i32>()) };
            size("length of metadata", number.into())
        };
        let bytes = |at: &mut *const u8, count: usize| {
            // SAFETY: `count` was read just before, and is not negative; so many bytes follow.
            let bytes = unsafe { std::slice::from_raw_parts(*at, count) };
            // SAFETY: likewise.
            *at = unsafe { at.add(count) };
            bytes
        };
        for _ in 0..number(&mut at)? {
            let count = number(&mut at)?;
            let key = bytes(&mut at, count);
            let count = number(&mut at)?;
            let value = bytes(&mut at, count);
            if key == wanted.as_bytes() {
                return Ok(Some(String::from_utf8_lossy(value).into_owned()));
            }
        }
        Ok(None)
    }
}

/// A type of numbers for which every pattern of bits is a value.
///
/// # Safety
/// It is.
pub unsafe trait Plain: Copy + Send + Sync + 'static {}
macro_rules! plain {
    ($($kind:ty),*) => {$(
        // SAFETY: a primitive number.
        unsafe impl Plain for $kind {}
    )*};
}
plain!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

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

    /// The number of rows.
    pub fn length(&self) -> Result<usize, Refused> {
        size("length", self.length)
    }

    /// Where they start in the buffers.
    pub fn offset(&self) -> Result<usize, Refused> {
        size("offset", self.offset)
    }

    /// The number of nulls, if the producer knows it.
    pub fn null_count(&self) -> Result<Option<usize>, Refused> {
        if self.null_count == -1 { Ok(None) } else { size("null count", self.null_count).map(Some) }
    }

    /// The arrays below.
    pub fn children(&self) -> Result<Vec<&Array>, Refused> {
        // SAFETY: the interface asks for just that.
        unsafe { children(self.n_children, self.children) }
    }

    /// Checks how many buffers there are.
    pub fn expect_buffers(&self, expected: usize) -> Result<(), Refused> {
        if usize::try_from(self.n_buffers) != Ok(expected) {
            return Err(malformed(format!("{} buffers instead of {expected}", self.n_buffers)));
        }
        if expected > 0 && (self.buffers.is_null() || !self.buffers.is_aligned()) {
            return Err(malformed(format!("{expected} buffers at {:p}", self.buffers)));
        }
        Ok(())
    }

    /// Whether there is a buffer at this place, below the number that [`Array::expect_buffers`] has checked.
    pub fn has_buffer(&self, index: usize) -> bool {
        !self.pointer(index).is_null()
    }

    fn pointer(&self, index: usize) -> *const c_void {
        assert!(index < self.n_buffers as usize && !self.buffers.is_null(), "expect_buffers comes first");
        // SAFETY: the interface asks for `n_buffers` pointers, and `index` is below that.
        unsafe { *self.buffers.add(index) }
    }

    /// The first `count` numbers of a buffer: in place, or copied from an odd address.
    pub fn buffer<T: Plain>(&self, index: usize, count: usize) -> Result<Cow<'_, [T]>, Refused> {
        let pointer = self.pointer(index).cast::<T>();
        let bytes = count.checked_mul(size_of::<T>()).filter(|&bytes| isize::try_from(bytes).is_ok());
        let Some(bytes) = bytes else {
            return Err(malformed(format!("{count} numbers, more than memory has")));
        };
        if count == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        if pointer.is_null() {
            return Err(malformed(format!("{count} numbers at a null pointer")));
        }
        if pointer.addr().checked_add(bytes).is_none() {
            return Err(malformed(format!("{count} numbers at {pointer:p}, past the end of memory")));
        }
        if pointer.is_aligned() {
            // SAFETY: not null and aligned, any bits are a `T`, and the interface asks the producer for as many numbers
            // as its lengths imply, from which `count` was computed; unchanged until the array is released.
            return Ok(Cow::Borrowed(unsafe { std::slice::from_raw_parts(pointer, count) }));
        }
        let mut numbers = Vec::new();
        numbers.try_reserve_exact(count).map_err(|_| Refused::Memory(bytes))?;
        // SAFETY: as above, each read from wherever it is.
        numbers.extend((0..count).map(|i| unsafe { pointer.add(i).read_unaligned() }));
        Ok(Cow::Owned(numbers))
    }
}

impl Stream {
    /// The type of the arrays.
    pub fn schema(&mut self) -> Result<Schema, Refused> {
        let mut schema = Schema::empty();
        let get_schema = self.get_schema.ok_or_else(|| malformed("a stream without get_schema"))?;
        // SAFETY: the stream is not released, and `schema` is there to be written.
        let code = unsafe { get_schema(self, &raw mut schema) };
        self.check(code)?;
        if schema.release.is_none() { Err(malformed("a stream without a type")) } else { Ok(schema) }
    }

    /// The next array, until there is none.
    pub fn next(&mut self) -> Result<Option<Array>, Refused> {
        let mut array = Array::empty();
        let get_next = self.get_next.ok_or_else(|| malformed("a stream without get_next"))?;
        // SAFETY: the stream is not released, and `array` is there to be written.
        let code = unsafe { get_next(self, &raw mut array) };
        self.check(code)?;
        Ok(array.release.is_some().then_some(array))
    }

    fn check(&mut self, code: c_int) -> Result<(), Refused> {
        if code == 0 {
            return Ok(());
        }
        let message = match self.get_last_error {
            // SAFETY: the stream is not released, and its last call has failed; the text lives until the next call.
            Some(get_last_error) => unsafe { text(get_last_error(self)) }.into_owned(),
            None => String::new(),
        };
        Err(Refused::Source(code, message))
    }
}

// -- the other way: what rgru gives ----------------------------------------------------------------------------------

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
