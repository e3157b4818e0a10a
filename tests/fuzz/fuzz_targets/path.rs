//! Makes up the path of a URL.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ploinky_server::fuzz::path(bytes));
