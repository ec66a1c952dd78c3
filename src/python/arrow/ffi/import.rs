//! Checked access to the structs of a producer.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int, c_void};

use bytemuck::AnyBitPattern;

use super::super::error::{ArrowError, malformed};
use super::{Array, MAX_BYTES, NULLABLE, Schema, Stream};

/// More children than any table has columns.
const MAX_CHILDREN: usize = 1 << 16;

/// Returns a text of a producer, or "" for a null pointer.
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
pub struct Children<'a, T>(&'a [*mut T]);

impl<'a, T> Children<'a, T> {
    /// Checks the number of children and the pointer to them.
    ///
    /// # Safety
    /// `children` is null or points to `count` pointers, each null or to a struct, all of which live as long as `'a`.
    unsafe fn new(count: i64, children: *mut *mut T) -> Result<Self, ArrowError> {
        let count = size("number of children", count)?;
        if count == 0 {
            return Ok(Self(&[]));
        }
        if count > MAX_CHILDREN || children.is_null() || !children.is_aligned() {
            return Err(malformed(format!("{count} children at {children:p}")));
        }
        // SAFETY: as promised by the caller, not null and aligned.
        Ok(Self(unsafe { std::slice::from_raw_parts(children, count) }))
    }

    /// Returns the number of children.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns a child.
    pub fn get(&self, index: usize) -> Result<&'a T, ArrowError> {
        let pointer = *self.0.get(index).ok_or_else(|| malformed(format!("{} children", self.len())))?;
        if !pointer.is_aligned() {
            return Err(malformed("a child at an unaligned address"));
        }
        // SAFETY: aligned, and as promised to `new`.
        unsafe { pointer.as_ref() }.ok_or_else(|| malformed("a child that is null"))
    }

    /// Returns all children.
    pub fn all(&self) -> Result<Vec<&'a T>, ArrowError> {
        (0..self.len()).map(|index| self.get(index)).collect()
    }
}

fn size(what: &str, number: i64) -> Result<usize, ArrowError> {
    usize::try_from(number).map_err(|_| malformed(format!("{what} {number}")))
}

impl Schema {
    /// Returns the format string of the type.
    pub fn format(&self) -> Cow<'_, str> {
        // SAFETY: the interface requires a text that lives as long as the struct.
        unsafe { text(self.format) }
    }

    /// Returns the name of the field.
    pub fn name(&self) -> Cow<'_, str> {
        // SAFETY: the interface requires null or a text that lives as long as the struct.
        unsafe { text(self.name) }
    }

    /// Returns whether the field may have nulls.
    pub fn nullable(&self) -> bool {
        self.flags & NULLABLE != 0
    }

    /// Returns whether values are indices into a dictionary.
    pub fn has_dictionary(&self) -> bool {
        !self.dictionary.is_null()
    }

    /// Returns the types of the children.
    pub fn children(&self) -> Result<Children<'_, Schema>, ArrowError> {
        // SAFETY: the interface requires exactly this.
        unsafe { Children::new(self.n_children, self.children) }
    }

    /// Returns the value of a key in the metadata. The metadata are the number of pairs, then for each pair the length
    /// and the bytes of the key, and the length and the bytes of the value; all numbers are int32.
    pub fn metadata(&self, wanted: &str) -> Result<Option<String>, ArrowError> {
        let mut at: *const u8 = self.metadata.cast();
        if at.is_null() {
            return Ok(None);
        }
        let number = |at: &mut *const u8| {
            // SAFETY: the interface promises a number here, possibly unaligned.
            let number = unsafe { at.cast::<i32>().read_unaligned() };
            // SAFETY: the four bytes of the number are part of the metadata.
            *at = unsafe { at.add(size_of::<i32>()) };
            size("length of metadata", number.into())
        };
        let bytes = |at: &mut *const u8, count: usize| {
            // SAFETY: `count` was read just before and is not negative; the interface promises as many bytes.
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

impl Array {
    /// Returns the number of rows.
    pub fn length(&self) -> Result<usize, ArrowError> {
        size("length", self.length)
    }

    /// Returns the position of the first row in the buffers.
    pub fn offset(&self) -> Result<usize, ArrowError> {
        size("offset", self.offset)
    }

    /// Returns the number of nulls, if the producer knows it.
    pub fn null_count(&self) -> Result<Option<usize>, ArrowError> {
        if self.null_count == -1 { Ok(None) } else { size("null count", self.null_count).map(Some) }
    }

    /// Returns the child arrays.
    pub fn children(&self) -> Result<Children<'_, Array>, ArrowError> {
        // SAFETY: the interface requires exactly this.
        unsafe { Children::new(self.n_children, self.children) }
    }

    /// Checks the number of buffers.
    pub fn expect_buffers(&self, expected: usize) -> Result<(), ArrowError> {
        if usize::try_from(self.n_buffers) != Ok(expected) {
            return Err(malformed(format!("{} buffers instead of {expected}", self.n_buffers)));
        }
        if expected > 0 && (self.buffers.is_null() || !self.buffers.is_aligned()) {
            return Err(malformed(format!("{expected} buffers at {:p}", self.buffers)));
        }
        Ok(())
    }

    /// Returns whether a buffer exists. `index` must be below the number that [`Array::expect_buffers`] has checked.
    pub fn has_buffer(&self, index: usize) -> bool {
        !self.pointer(index).is_null()
    }

    fn pointer(&self, index: usize) -> *const c_void {
        assert!(index < self.n_buffers as usize && !self.buffers.is_null(), "expect_buffers was not called");
        // SAFETY: the interface requires `n_buffers` pointers, and `index` is below that.
        unsafe { *self.buffers.add(index) }
    }

    /// Returns the first `count` numbers of a buffer: in place, or copied if they are unaligned.
    pub fn buffer<T: AnyBitPattern>(&self, index: usize, count: usize) -> Result<Cow<'_, [T]>, ArrowError> {
        let pointer = self.pointer(index).cast::<T>();
        let bytes = count.checked_mul(size_of::<T>());
        let bytes = bytes.filter(|&bytes| isize::try_from(bytes).is_ok() && bytes as u64 <= MAX_BYTES);
        let Some(bytes) = bytes else {
            return Err(malformed(format!("{count} numbers, more than fit into memory")));
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
            // SAFETY: not null and aligned; any bits are a valid `T`; the interface requires as many numbers as the
            // producer's lengths imply, from which `count` was computed, unchanged until the array is released.
            return Ok(Cow::Borrowed(unsafe { std::slice::from_raw_parts(pointer, count) }));
        }
        let mut numbers = Vec::new();
        numbers.try_reserve_exact(count).map_err(|_| ArrowError::Memory(bytes))?;
        // SAFETY: as above, with unaligned reads.
        numbers.extend((0..count).map(|i| unsafe { pointer.add(i).read_unaligned() }));
        Ok(Cow::Owned(numbers))
    }
}

impl Stream {
    /// Returns the type of the arrays.
    pub fn schema(&mut self) -> Result<Schema, ArrowError> {
        let mut schema = Schema::empty();
        let get_schema = self.get_schema.ok_or_else(|| malformed("a stream without get_schema"))?;
        // SAFETY: the stream is not released, and `schema` is valid for writes.
        let code = unsafe { get_schema(self, &raw mut schema) };
        self.check(code)?;
        if schema.release.is_none() { Err(malformed("a stream without a type")) } else { Ok(schema) }
    }

    /// Returns the next array, or `None` at the end.
    pub fn next(&mut self) -> Result<Option<Array>, ArrowError> {
        let mut array = Array::empty();
        let get_next = self.get_next.ok_or_else(|| malformed("a stream without get_next"))?;
        // SAFETY: the stream is not released, and `array` is valid for writes.
        let code = unsafe { get_next(self, &raw mut array) };
        self.check(code)?;
        Ok(array.release.is_some().then_some(array))
    }

    fn check(&mut self, code: c_int) -> Result<(), ArrowError> {
        if code == 0 {
            return Ok(());
        }
        let message = match self.get_last_error {
            // SAFETY: the stream is not released, and its last call has failed; the text lives until the next call.
            Some(get_last_error) => unsafe { text(get_last_error(self)) }.into_owned(),
            None => String::new(),
        };
        Err(ArrowError::Source(code, message))
    }
}
