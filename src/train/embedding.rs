//! The gradient of an embedding.

/// Adds the first `size` numbers of each row to the row of its id in `sums`, `[V, size]`, row by row: the sums depend on
/// the order of the rows alone. A row whose id is outside 0..V is left out.
pub fn add_by_id<T: Copy + std::ops::AddAssign>(ids: &[i64], rows: &[T], width: usize, size: usize, sums: &mut [T]) {
    let count = sums.len() / size;
    for (&id, row) in ids.iter().zip(rows.chunks_exact(width)) {
        let Some(id) = usize::try_from(id).ok().filter(|&id| id < count) else { continue };
        for (sum, &value) in sums[id * size..][..size].iter_mut().zip(row) {
            *sum += value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::add_by_id;

    #[test]
    fn rows_of_one_id_are_added_and_others_left_out() {
        let rows = [1.0, 2.0, 9.0, 10.0, 20.0, 9.0, 100.0, 200.0, 9.0, 5.0, 6.0, 9.0];
        let mut sums = [0.5; 4];
        add_by_id(&[1, 2, 1, -1], &rows, 3, 2, &mut sums);
        assert_eq!(sums, [0.5, 0.5, 101.5, 202.5]);
    }
}
