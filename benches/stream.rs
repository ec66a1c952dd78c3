//! Benchmark of one step of one sequence: `cargo bench --bench stream`.

use divan::{Bencher, black_box};
use rgru::{Dims, Gru, Options};

fn main() {
    divan::main();
}

#[divan::bench(args = [(4, 4), (8, 8), (16, 64), (64, 64), (256, 256), (64, 1024)])]
fn step(bencher: Bencher, (input_size, hidden_size): (usize, usize)) {
    let dims = Dims { reset_after: true, ..Dims::new(input_size, hidden_size) };
    let mut stream = Gru::<f32>::seeded(dims, 0).unwrap().stream(1).unwrap();
    let options = Options { threads: Some(2), stop: None };
    let (x, mut y) = (vec![0.1; input_size], vec![0.0; hidden_size]);
    bencher.bench_local(|| stream.step_with(black_box(&x), &mut y, options).unwrap());
}
