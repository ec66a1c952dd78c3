//! The tables of product kernels, one for each instruction set and precision.

use std::ops::Range;

use crate::error::Error;
use crate::gemm::product::{self, MatmulArgs};
use crate::gemm::row_sum;
use crate::simd::float::Float;
use crate::simd::lanes::Lanes;
use crate::simd::{Isa, entries, instantiate, table_of};

/// The product kernels of one instruction set and precision.
pub struct ProductKernels<T> {
    /// The number of lanes in a register.
    pub lanes: usize,
    pub(crate) matmul: unsafe fn(&MatmulArgs<T>, Range<usize>),
    pub(crate) add_rows: unsafe fn(&[*const T], &mut [T]),
}

impl<T: ProductDispatch> ProductKernels<T> {
    /// Returns the kernels of an instruction set.
    ///
    /// # Errors
    /// [`Error::Value`] if this machine does not have it.
    pub fn of(isa: Isa) -> Result<&'static Self, Error> {
        T::product_kernels(isa)
    }
}

/// A number type that has product kernels.
pub trait ProductDispatch: Float {
    /// Returns the kernels of an instruction set.
    ///
    /// # Errors
    /// [`Error::Value`] if this machine does not have it.
    fn product_kernels(isa: Isa) -> Result<&'static ProductKernels<Self>, Error>;
}

macro_rules! table {
    ($isa:ident, $element:ident, $lanes:ty $(, $features:literal)?) => {
        pub(crate) mod $element {
            use super::super::*;

            type L = $lanes;

            pub static KERNELS: ProductKernels<$element> =
                ProductKernels { lanes: L::COUNT, matmul: entry_matmul, add_rows: entry_add_rows };

            entries! {
                [$($features)?]
                entry_matmul(args: &MatmulArgs<$element>, panels: Range<usize>) = product::run::<L>;
                entry_add_rows(starts: &[*const $element], out: &mut [$element]) = row_sum::add_block::<L>;
            }
        }
    };
}
instantiate!(table);

macro_rules! dispatch {
    ($element:ident) => {
        impl ProductDispatch for $element {
            fn product_kernels(isa: Isa) -> Result<&'static ProductKernels<Self>, Error> {
                Ok(table_of!(isa.check()?, $element))
            }
        }
    };
}
dispatch!(f32);
dispatch!(f64);
