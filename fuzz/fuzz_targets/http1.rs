#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    agentry_fuzz::run("http1", data);
});
