//! Makes up a cookie or an Authorization header.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ploinky_server::fuzz::credential(bytes));
