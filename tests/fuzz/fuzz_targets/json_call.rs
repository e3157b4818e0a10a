//! Makes up the body of a call.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ploinky_server::fuzz::json_call(bytes));
