# Small verbs; CI and the pre-commit hooks call the same ones. `make` lists them.
.DEFAULT_GOAL := help
.PHONY: help develop test test-rust test-python test-neon loom miri tsan lint lint-rust lint-python format docs bench ulp

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

develop: ## build the core into python/rgru of the active virtual environment
	maturin develop --release --extras dev

test: test-rust test-python ## all tests

test-rust: ## the crate's tests
	cargo nextest run --features files

test-python: ## the package's tests, on what `make develop` built; `pytest -m ''` has all variants of the GPU's kernels
	pytest

# Not what has no vector code: files, sockets, the layers of the source, and differences of the plain loops, which the
# gradients on NEON are compared with directly. Two threads are enough here: `golden_bits` and `reference` use them.
test-neon: ## the crate's integration tests on AArch64, in qemu's emulator, after `rustup target add`
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld \
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER=qemu-aarch64 \
	CARGO_PROFILE_TEST_DEBUG=false cargo test --features files --target aarch64-unknown-linux-musl --test integration \
	-- --skip damaged_files:: --skip serve:: --skip layers:: --skip central_differences --skip same_bits::threads_

loom: ## the threads in every order, by loom: seconds
	cargo run --quiet --manifest-path tests/loom/Cargo.toml --target-dir target/loom

miri: ## undefined behaviour in memory and sessions, after `rustup component add --toolchain nightly miri rust-src`
	MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --target-dir target/miri --no-default-features --lib -- \
	memory:: sessions::lru

tsan: ## data races in threads and memory, by ThreadSanitizer, after the same
	RUSTFLAGS=-Zsanitizer=thread CARGO_PROFILE_TEST_OPT_LEVEL=1 cargo +nightly test -Zbuild-std \
	--target x86_64-unknown-linux-gnu --target-dir target/tsan --no-default-features --lib -- memory:: threads::

lint: lint-rust lint-python ## all linters

lint-rust: ## rustfmt and clippy
	cargo fmt --check
	cargo clippy --all-targets --features files,python -- -D warnings

lint-python: ## ruff, mypy and stubtest
	ruff check .
	ruff format --check .
	mypy
	python -m mypy.stubtest rgru._core

format: ## rewrite the layout of all code
	cargo fmt
	ruff check --fix .
	ruff format .

docs: ## the documentation into site/, after `pip install '.[docs]'`; a broken link is an error
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --features files --target-dir target
	cp -r target/doc site/rustdoc
	test -f site/rustdoc/rgru/index.html

bench: ## the kernels by themselves, and one step from Rust
	cargo bench

ulp: ## every float through sigmoid and tanh: some minutes
	cargo test --release --test integration -- --ignored --nocapture
