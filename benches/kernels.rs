//! Benchmarks of single kernels: `cargo bench`. Items are multiply-adds (of two FLOP each) or elements.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use rgru::__internals::cell::functions::Function;
use rgru::__internals::cell::kernels::CellKernels;
use rgru::__internals::gemm::matmul::{Start, matmul};
use rgru::__internals::gemm::pack::{PackedMatrix, WIDTH};
use rgru::__internals::gemm::weight_grad::{BLOCK, OuterSum};
use rgru::__internals::simd::Isa;
use rgru::__internals::threads::team::{Engine, Team};
use rgru::Activation;

fn main() {
    divan::main();
}

fn kernels() -> &'static CellKernels<f32> {
    CellKernels::of(Isa::active().unwrap()).unwrap()
}

/// C = A B of [rows, depth] and [depth, depth]. The first case stays in the first-level cache and comes close to the
/// peak of one core, with which the others can be compared.
#[divan::bench(args = [(64, 96), (1, 64), (1, 512), (2, 512), (8, 512), (64, 64), (64, 512), (64, 1024), (50, 300)])]
fn matrix_product(bencher: Bencher, (rows, depth): (usize, usize)) {
    product(bencher, rows, depth, depth);
}

fn product(bencher: Bencher, rows: usize, depth: usize, columns: usize) {
    let kernels = kernels();
    let a = vec![0.5; rows * depth];
    let mut b = PackedMatrix::new(kernels.products.lanes, WIDTH);
    b.pack_rows(depth, columns, |_| &a[..columns.min(a.len())]).expect("enough memory");
    let mut c = vec![0.0; rows * columns];
    bencher.counter(ItemsCount::new(rows * depth * columns)).bench_local(|| {
        let engine = Engine { kernels: kernels.products, team: &Team::alone() };
        matmul(engine, rows, |r| &a[r * depth..], &b, Start::Continue, black_box(&mut c), columns);
    });
}

/// A block of a weight's gradient.
#[divan::bench(args = [64, 300, 512])]
fn outer_sum(bencher: Bencher, size: usize) {
    let rows = vec![0.5; BLOCK * size];
    let (mut sum, mut out) = (OuterSum::new(kernels().products), vec![0.0; size * size]);
    let row = |k: usize| &rows[k * size..][..size];
    bencher
        .counter(ItemsCount::new(BLOCK * size * size))
        .bench_local(|| sum.add(BLOCK, row, row, size, black_box(&mut out)));
}

/// Elements that stay in the first-level cache.
const ELEMENTS: usize = 4096;

#[divan::bench]
fn sigmoid(bencher: Bencher) {
    let mut x = vec![0.5; ELEMENTS];
    bencher
        .counter(ItemsCount::new(ELEMENTS))
        .bench_local(|| kernels().activate(&Function::new(Activation::Sigmoid), black_box(&mut x)));
}

#[divan::bench]
fn tanh(bencher: Bencher) {
    let mut x = vec![0.5; ELEMENTS];
    bencher
        .counter(ItemsCount::new(ELEMENTS))
        .bench_local(|| kernels().activate(&Function::new(Activation::Tanh), black_box(&mut x)));
}
