//! Makes up the head of a request.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ploinky_server::fuzz::head(bytes));
