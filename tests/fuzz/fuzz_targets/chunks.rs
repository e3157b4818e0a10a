//! Makes up a chunked body.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ploinky_server::fuzz::chunks(bytes));
